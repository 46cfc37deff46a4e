"""Fewer labels, or wrong ones: what the training pictures keep of theirs. Validation and test keep everything."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pydantic import Field
from scipy.sparse import csr_array

from picturebook.data.counter import counter_uniforms
from picturebook.data.findings import Finding, first_names, quantity
from picturebook.data.units import count_classes, unit_keys
from picturebook.errors import DataError
from picturebook.options import Options
from picturebook.types import UNLABELLED

_LABEL_STREAM = 102
_NOISE_STREAM = 103
"""Keep these numbers apart from each other and from those of other parts."""
_LARGE = 0.1
"""Share of its class from which on a unit is labelled after all smaller ones."""


class SupervisionOptions(Options):
    """How much of the training pictures' labels is used, and how right they are. Validation and test keep their labels."""

    labelled_share: float = Field(default=1.0, gt=0, le=1)
    """Share of each class's training pictures that keep their label, whole groups and near duplicates at a time and one of them
    at least; what is kept at 0.1 is kept at 0.25 too."""
    unlabelled: Literal["keep", "drop"] = "keep"
    """keep: training pictures without a label stay, for a teacher to label; drop: they are left out."""
    label_noise: float = Field(default=0.0, ge=0, le=1)
    """Share of the kept training labels that are replaced by another class; a label that is wrong at 0.2 is wrong at 0.4 too."""
    noise_kind: Literal["symmetric", "pair"] = "symmetric"
    """symmetric: any other class, all equally likely; pair: always the next class by name (pair flipping,
    arXiv:1804.06872)."""
    seed: int = 0
    """Another seed keeps and replaces other labels."""

    def knows_no_more_than(self, other: "SupervisionOptions") -> bool:
        """Whether every label that these settings give is given by the others too, right or wrong alike."""
        if self.labelled_share > other.labelled_share:
            return False
        same = ("label_noise", "noise_kind", "seed")
        plain = self.labelled_share == other.labelled_share == 1.0 and not self.label_noise and not other.label_noise
        return plain or all(getattr(self, name) == getattr(other, name) for name in same)


@dataclass(frozen=True, slots=True, eq=False)
class Supervision:
    """What a run may know of its training pictures' labels."""

    labels: Int64[np.ndarray, " pictures"]
    """Class indices, or UNLABELLED also where the label is withheld; as they were outside of train."""
    train: Int64[np.ndarray, " train"]
    """Ascending positions of the training pictures."""
    findings: tuple[Finding, ...]


def supervise(
    options: SupervisionOptions,
    *,
    ids: Int64[np.ndarray, " pictures"],
    labels: Int64[np.ndarray, " pictures"],
    units: Int64[np.ndarray, " pictures"],
    train: Int64[np.ndarray, " _"],
    names: tuple[str, ...],
    classes: tuple[str, ...],
) -> Supervision:
    """Withhold and replace training labels, as hashes of (seed, id) say: the order of rows plays no part.

    Args:
        options: how much, and how.
        ids: sample ids.
        labels: true class indices, or UNLABELLED.
        units: number of the unit that a picture belongs to (its group, its near duplicates).
        train: positions of the training pictures.
        names: of the pictures, for findings.
        classes: their names, for messages.

    Raises:
        DataError: noise leaves a class without a training label.
    """
    kept = _keep(options, ids[train], labels[train], units[train], len(classes))
    shown = np.where(kept, labels[train], UNLABELLED)
    noisy = _flip(options, ids[train], shown, len(classes))
    changed = labels.copy()
    changed[train] = noisy
    share = f"data.supervision.labelled_share = {options.labelled_share:g}"
    noise = _finding(
        f"training label replaced (data.supervision.label_noise = {options.label_noise:g})", names, train[noisy != shown]
    )
    if options.unlabelled == "keep":
        findings = [_finding(f"training label withheld ({share})", names, train[(labels[train] != UNLABELLED) & ~kept]), noise]
    else:
        findings = [_finding(f'no training label ({share}, unlabelled = "drop")', names, train[~kept], skipped=True), noise]
        train = train[kept]
    _check(changed[train], labels[train], classes, options)
    return Supervision(changed, train, tuple(finding for finding in findings if finding.names))


def _keep(
    options: SupervisionOptions,
    ids: Int64[np.ndarray, " train"],
    labels: Int64[np.ndarray, " train"],
    units: Int64[np.ndarray, " train"],
    num_classes: int,
) -> Bool[np.ndarray, " train"]:
    """Say which rows keep their label.

    Every unit has a share from which on it is labelled, whatever else is asked, so that smaller shares are parts of larger ones.
    """
    labelled: np.ndarray = labels != UNLABELLED
    if options.labelled_share == 1:
        return labelled
    number, keys = unit_keys(ids, units)
    counts = count_classes(number, labels, len(keys), num_classes)
    uniforms = counter_uniforms(options.seed, keys, np.zeros_like(keys), 1, stream=_LABEL_STREAM)[:, 0]
    chosen: np.ndarray = labelled & (_thresholds(counts, uniforms) <= options.labelled_share)[number]
    return chosen


def _thresholds(counts: csr_array, uniforms: Float64[np.ndarray, " units"]) -> Float64[np.ndarray, " units"]:
    """Say from which labelled share on each unit is labelled: 0 for the first one of each class, since every class needs one.

    A unit counts for the class that most of it has, and stands there where its middle falls when the class is laid out in the
    order of hashes; the units that are more than a tenth of their class come last, small ones first, since wherever one of
    them stands, shares near it are missed by up to half its size, and a small share can bear that least.
    """
    sizes = counts.sum(axis=1)
    main_class = counts.argmax(axis=1)
    thresholds = np.full(len(sizes), np.inf)
    by_class = counts.tocsc()
    for index in range(counts.shape[1]):
        members = np.flatnonzero((main_class == index) & (sizes > 0))
        total = sizes[members].sum()
        bulk = np.where(sizes[members] > _LARGE * total, sizes[members], 0)
        members = members[np.lexsort((uniforms[members], bulk))]
        middles = np.cumsum(sizes[members]) - sizes[members] / 2
        thresholds[members] = np.minimum(thresholds[members], np.round(middles / max(total, 1), 12))
        holders = by_class.indices[by_class.indptr[index] : by_class.indptr[index + 1]]
        if len(holders):
            thresholds[_first(holders, members, uniforms)] = 0
    return thresholds


def _first(
    holders: Int64[np.ndarray, " some"], members: Int64[np.ndarray, " others"], uniforms: Float64[np.ndarray, " units"]
) -> int:
    """Give the first unit of a class: of those that count for it, else of those that hold one of its pictures at all."""
    return int(members[0] if len(members) else holders[np.argmin(uniforms[holders])])


def _flip(
    options: SupervisionOptions, ids: Int64[np.ndarray, " train"], labels: Int64[np.ndarray, " train"], num_classes: int
) -> Int64[np.ndarray, " train"]:
    """Replace labels by another class; each row by its own hash, so that no other setting moves its noise."""
    uniforms = counter_uniforms(options.seed, ids, np.zeros_like(ids), 2, stream=_NOISE_STREAM)
    flipped = (uniforms[:, 0] < options.label_noise) & (labels != UNLABELLED)
    step = 1 if options.noise_kind == "pair" else 1 + (uniforms[:, 1] * (num_classes - 1)).astype(np.int64)
    return np.where(flipped, (labels + step) % num_classes, labels)


def _finding(kind: str, names: tuple[str, ...], rows: Int64[np.ndarray, " _"], *, skipped: bool = False) -> Finding:
    return Finding("skipped" if skipped else "warned", kind, tuple(names[row] for row in rows.tolist()))


def _check(
    labels: Int64[np.ndarray, " train"],
    true_labels: Int64[np.ndarray, " train"],
    classes: tuple[str, ...],
    options: SupervisionOptions,
) -> None:
    lost = sorted(set(true_labels.tolist()) - set(labels.tolist()) - {UNLABELLED})
    if lost:
        raise DataError(
            f"data.supervision.label_noise = {options.label_noise:g} leaves {quantity(len(lost), 'class')} without a training "
            f"label ({first_names(classes[index] for index in lost)}): lower it, raise labelled_share, or take another seed."
        )
