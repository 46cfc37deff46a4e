"""Train, val and test: as the data say it, else drawn by hashes of ids, never by positions.

What belongs together (near duplicates, a group) forms a unit, and a unit is never cut.
"""

from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pydantic import Field, model_validator
from scipy.sparse import csr_array

from picturebook.data.counter import counter_uniforms
from picturebook.data.findings import first_names, quantity
from picturebook.data.units import count_classes, deal_folds, number_units, unit_keys
from picturebook.errors import DataError, unknown_name
from picturebook.options import Options
from picturebook.types import UNLABELLED

SPLITS = ("train", "val", "test")
_STREAM = 101
"""Keeps the numbers of splits apart from those of views."""

Rows = dict[str, Int64[np.ndarray, " _"]]


class SplitOptions(Options):
    """How pictures are split. What the data say (a split column, split folders) goes before; missing parts are cut from train."""

    test: float = Field(default=0.2, ge=0, lt=1)
    """Share of the labelled pictures for the test."""
    val: float = Field(default=0.1, ge=0, lt=1)
    """Share of the labelled pictures for validation."""
    by: Literal["stratified", "group", "hash"] = "stratified"
    """stratified: every class in these shares; group: so too, with each value of the group column in one split; hash: each
    picture by its own hash alone, so that new files leave the old ones where they are."""
    seed: int = 0
    """Another seed is another split."""
    near_duplicates: bool = True
    """Keep near duplicates in one split."""
    folds: int | None = Field(default=None, ge=2)
    """k-fold: the test is one of so many folds of all labelled pictures, dealt anew whatever split the data name, with each
    group (where there is a group column) in one fold; `val` is the share of the rest, `test` plays no part."""
    fold: int = Field(default=0, ge=0)
    """Which of the folds is the test, from 0."""
    held_out: list[str] = Field(default_factory=list)
    """Values of the domain column (columns.domain) that are met in the test alone: they leave train and val, and everything
    else leaves the test."""

    @model_validator(mode="after")
    def _train_keeps_something(self) -> "SplitOptions":
        if self.test + self.val >= 1:
            raise ValueError(f"test + val: need < 1, so that train keeps something, got {self.test + self.val:g}: lower one")
        return self

    @model_validator(mode="after")
    def _the_fold_is_one_of_the_folds(self) -> "SplitOptions":
        if self.folds is None and self.fold:
            raise ValueError(f"fold = {self.fold} needs folds, the number of folds: set both, or neither")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold: need 0 to {self.folds - 1} (folds = {self.folds}), got {self.fold}")
        if self.folds is not None and self.by == "hash":
            raise ValueError('by = "hash" and folds exclude each other, since folds are balanced: take one of the two away')
        return self


def split_rows(
    *,
    ids: Int64[np.ndarray, " rows"],
    labels: Int64[np.ndarray, " rows"],
    classes: tuple[str, ...],
    splits: tuple[str, ...] | None,
    groups: tuple[str, ...] | None,
    clusters: Int64[np.ndarray, " rows"] | None,
    options: SplitOptions,
    domains: tuple[str, ...] | None = None,
) -> Rows:
    """Say which rows are train, val and test.

    An unlabelled row is in train; where it belongs together with a val or test row, or the data put it there, it is in no
    split, since a student could see a test picture that way.

    Args:
        ids: sample ids.
        labels: class indices, or UNLABELLED.
        classes: class names, for messages.
        splits: what the data say, "train", "val", "test" or "" a row; None: nothing.
        groups: the group column; "" is a group of its own.
        clusters: number of the near-duplicate cluster of each row; None keeps none together.
        options: shares, way and seed.
        domains: the domain column, for `options.held_out`.

    Returns:
        "train", "val", "test" to ascending row positions.

    Raises:
        DataError: no group column for by="group"; only part of the rows have a given split; fewer units than folds; no domain
            column, or none of its values, for held_out; a class without training pictures; no test picture though there
            should be some.
    """
    if options.by == "group" and groups is None:
        raise DataError(
            'data.split.by is "group", but there is no group column: name it in data.columns.group, or split otherwise.'
        )
    units = number_units(ids, groups if options.by == "group" or options.folds else None, clusters)
    if options.folds is None:
        given = _given(labels, splits)
    else:
        given = _given_by_fold(ids, labels, units, len(classes), options.folds, options)
    shares = {name: share for name, share in (("val", options.val), ("test", options.test)) if not (given == name).any()}
    free = np.flatnonzero(given == "train")
    drawn = given.copy()
    drawn[free] = _draw(ids[free], labels[free], units[free], len(classes), shares, options)
    drawn[(labels == UNLABELLED) & (drawn != "train")] = ""
    if options.held_out:
        drawn = _held_out(drawn, domains, options.held_out)
    rows = {name: np.flatnonzero(drawn == name).astype(np.int64) for name in SPLITS}
    _check(rows, labels, classes, options)
    return rows


def _given_by_fold(
    ids: Int64[np.ndarray, " rows"],
    labels: Int64[np.ndarray, " rows"],
    units: Int64[np.ndarray, " rows"],
    num_classes: int,
    num: int,
    options: SplitOptions,
) -> np.ndarray:
    """Put one fold into the test; a unit without any label is no test and stays free."""
    labelled_units = np.unique(units[labels != UNLABELLED])
    if len(labelled_units) < num:
        raise DataError(
            f"data.split.folds = {num}, but groups and near duplicates, which are never parted, leave "
            f"{quantity(len(labelled_units), 'unit')} with a label: lower it, or add pictures."
        )
    folds = deal_folds(ids, labels, units, num_classes, num=num, seed=options.seed)
    return np.where((folds == options.fold) & np.isin(units, labelled_units), "test", "train").astype("<U5")


def _held_out(drawn: np.ndarray, domains: tuple[str, ...] | None, held_out: list[str]) -> np.ndarray:
    """Leave the held-out domains in the test alone, and nothing else there; what leaves a split is in none."""
    if domains is None:
        raise DataError(
            f"data.split.held_out names {', '.join(held_out)}, but there is no domain column: name it in data.columns.domain."
        )
    known = set(domains) - {""}
    for name in held_out:
        if name not in known:
            raise DataError(f"data.split.held_out: {unknown_name('domain', name, known)}")
    if known <= set(held_out):
        raise DataError("data.split.held_out names every domain of the data: leave out one at least, to learn from.")
    held = np.isin(np.array(domains), held_out)
    return np.where(held == (drawn == "test"), drawn, "")


def _draw(
    ids: Int64[np.ndarray, " free"],
    labels: Int64[np.ndarray, " free"],
    units: Int64[np.ndarray, " free"],
    num_classes: int,
    shares: dict[str, float],
    options: SplitOptions,
) -> np.ndarray:
    """Draw a split for each row that the data leave free."""
    number, keys = unit_keys(ids, units)
    uniforms = counter_uniforms(options.seed, keys, np.zeros_like(keys), 1, stream=_STREAM)[:, 0]
    if options.by == "hash":
        assigned = _by_hash(uniforms, shares)
    else:
        assigned = _balanced(count_classes(number, labels, len(keys), num_classes), uniforms, shares)
    drawn: np.ndarray = assigned[number]
    return drawn


def _given(labels: Int64[np.ndarray, " rows"], splits: tuple[str, ...] | None) -> np.ndarray:
    """Give what the data say; all of it "train" where they say nothing."""
    if splits is None:
        return np.full(len(labels), "train")
    given = np.array(splits, dtype="<U5")
    without = (given == "") & (labels != UNLABELLED)
    if without.any():
        raise DataError(
            f"{quantity(int(without.sum()), 'labelled picture')} of {len(given):,} have no split while others have one: "
            "fill in the split of every picture, or of none."
        )
    given[given == ""] = "train"
    if not (given == "train").any():
        raise DataError(
            f"The data put every picture in {' or '.join(sorted(set(given)))}, none in train: there is nothing to learn from."
        )
    return given


def _by_hash(uniforms: Float64[np.ndarray, " units"], shares: dict[str, float]) -> np.ndarray:
    assigned = np.full(len(uniforms), "train")
    low = 0.0
    for name in ("test", "val"):
        high = low + shares.get(name, 0.0)
        assigned[(uniforms >= low) & (uniforms < high)] = name
        low = high
    return assigned


def _balanced(counts: csr_array, uniforms: Float64[np.ndarray, " units"], shares: dict[str, float]) -> np.ndarray:
    """Fill each class's targets: units of several pictures first, large ones before small ones, then the single ones.

    Within one size the order is that of the hashes. A class always keeps a unit in train.
    """
    portions = np.array([shares.get("test", 0.0), shares.get("val", 0.0), 1 - sum(shares.values())])
    sizes = counts.sum(axis=1)
    lacking = _class_targets(counts.sum(axis=0), portions)
    order = np.lexsort((uniforms, -sizes))
    several, singles = order[sizes[order] > 1], order[sizes[order] == 1]
    assigned = np.full(counts.shape[0], "train")
    assigned[several], learned = _assign_several(counts[several], np.bincount(counts.indices), lacking, portions)
    labels = counts[singles].indices
    for label in np.unique(labels).tolist():
        members = singles[labels == label]
        most = len(members) - (not learned[label])
        num_test, num_val = np.maximum(lacking[:2, label], 0)
        assigned[members[: min(num_test + num_val, most)]] = "val"
        assigned[members[: min(num_test, most)]] = "test"
    return assigned


def _assign_several(
    counts: csr_array,
    num_units: Int64[np.ndarray, " some_classes"],
    lacking: Int64[np.ndarray, "3 classes"],
    portions: Float64[np.ndarray, "3"],
) -> tuple[np.ndarray, Bool[np.ndarray, " classes"]]:
    """Give each unit in turn to the split that lacks its classes most, as shares of the classes; ties go to test, then val.

    Counts `lacking` down in place. Also says which classes are in train now.
    """
    num_left = num_units.copy()
    class_sizes = lacking.sum(axis=0)
    learned = np.zeros(len(class_sizes), dtype=bool)
    assigned = np.full(counts.shape[0], "train")
    for unit, (start, end) in enumerate(pairwise(counts.indptr.tolist())):
        classes, taken = counts.indices[start:end], counts.data[start:end]
        need = (lacking[:, classes] * (taken / class_sizes[classes])).sum(axis=1)
        need[portions == 0] = -np.inf
        is_last_chance = (~learned[classes] & (num_left[classes] == 1)).any()
        # Rounding must not decide ties, or equal classes would be split unequally.
        best = 2 if is_last_chance else int(np.argmax(np.round(need, 9)))
        assigned[unit] = ("test", "val", "train")[best]
        lacking[best, classes] -= taken
        num_left[classes] -= 1
        learned[classes] |= best == 2
    return assigned, learned


def _class_targets(
    class_sizes: Int64[np.ndarray, " classes"], portions: Float64[np.ndarray, " splits"]
) -> Int64[np.ndarray, "splits classes"]:
    """Cut each class into whole pictures, train (last) keeping one at least.

    What rounding takes from a split in one class it gets back in the next, one picture at most, so that classes too small to
    be cut finely still give all their shares.
    """
    targets = np.zeros((len(portions), len(class_sizes)), dtype=np.int64)
    carry = np.zeros(len(portions))
    for index, size in enumerate(class_sizes.tolist()):
        want = portions * size + carry
        target = np.maximum(np.floor(np.round(want, 9)).astype(np.int64), 0)
        while target.sum() != size:
            step = 1 if target.sum() < size else -1
            gap = np.where(portions > 0, step * np.round(want - target, 9), -np.inf)
            gap[(target == 0) & (step < 0)] = -np.inf
            target[int(np.argmax(gap))] += step
        if target[-1] == 0 and size > 0:
            target[int(np.argmax(target))] -= 1
            target[-1] = 1
        targets[:, index] = target
        carry = np.clip(want - target, -1, 1)
    return targets


def _check(rows: Rows, labels: Int64[np.ndarray, " rows"], classes: tuple[str, ...], options: SplitOptions) -> None:
    present = set(labels[rows["train"]].tolist())
    empty = [name for index, name in enumerate(classes) if index not in present]
    if empty:
        raise DataError(
            f"{quantity(len(empty), 'class')} without a training picture ({first_names(empty)}): add pictures, or lower "
            "data.split.test and data.split.val; groups and near duplicates are never parted, held-out domains never learnt from."
        )
    if options.test > 0 and not len(rows["test"]):
        raise DataError(
            f"No picture is left for the test: {quantity(len(labels), 'picture')} in {quantity(len(classes), 'class')} are too "
            "few to be split, or too many belong together. Add pictures, raise data.split.test, or set it to 0."
        )
