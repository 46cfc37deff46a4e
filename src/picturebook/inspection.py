"""What is in a data root, before anything is trained; and whether a run's files are whole."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from picturebook.data.duplicates import duplicate_groups
from picturebook.data.findings import Finding
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.errors import RunError
from picturebook.models.artefact import load_student
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.runs import RunFolder
from picturebook.types import LABEL_PRIVILEGED, UNLABELLED, Progress, no_progress
from picturebook.writing import read_json


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Labelled pictures of one class by split."""

    name: str
    train: int
    val: int
    test: int


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Heights or widths of the originals, in pixels."""

    minimum: int
    median: float
    maximum: int


@dataclass(frozen=True, slots=True)
class TextCoverage:
    """How many words stand beside the pictures."""

    num_rows: int
    """Pictures with a text."""
    num_distinct: int
    mean_words: float
    """Words, parted by blanks, a text; over the pictures with one."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Near duplicates, exact ones among them."""

    num_clusters: int
    """Clusters of two pictures or more."""
    num_pictures: int
    """Pictures in them."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the training pictures say of their classes, as data.supervision leaves it."""

    num_rows: int
    num_labelled: int
    """With a label, right or wrong; `classes` counts these."""
    num_unlabelled: int
    """Without one, withheld labels among them."""


@dataclass(frozen=True, slots=True)
class DataInspection:
    """What reading a data root gave."""

    root: str
    num_rows: int
    """Pictures that decoded."""
    num_unlabelled: int
    """Pictures without a label, or whose label is withheld, in whatever split."""
    num_groups: int | None
    """Groups that stay in one split; None where the data name none."""
    domains: dict[str, int] | None
    """Pictures by what the domain column says; None where there is none."""
    training: Training
    classes: tuple[ClassCounts, ...]
    heights: SizeRange
    widths: SizeRange
    texts: TextCoverage | None
    """None where there are no texts."""
    duplicates: Duplicates
    findings: tuple[Finding, ...]
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """Give plain dicts, lists, numbers and strings, for JSON."""
        return asdict(self)


def inspect_data(options: DataOptions, *, cache: Path, progress: Progress = no_progress) -> DataInspection:
    """Read and decode a data root and say what is in it. Broken files are listed, however many they are.

    Args:
        options: the data.
        cache: folder of canvas stores.
        progress: called with (pictures decoded, pictures in all).

    Raises:
        DataError: the data cannot be used, but for `max_broken_share`.
        TextError: a text column was named and is missing or empty.
    """
    pictures = load_pictures(options.model_copy(update={"max_broken_share": 1.0}), cache=cache, progress=progress)
    return DataInspection(
        root=options.root,
        num_rows=len(pictures),
        num_unlabelled=int((pictures.labels == UNLABELLED).sum()),
        num_groups=None if pictures.groups is None else len(set(pictures.groups)),
        domains=None if pictures.domains is None else dict(sorted(Counter(pictures.domains).items())),
        training=_training(pictures),
        classes=_class_counts(pictures),
        heights=_size_range(pictures.sizes[:, 0]),
        widths=_size_range(pictures.sizes[:, 1]),
        texts=_text_coverage(pictures.texts),
        duplicates=_duplicates(pictures),
        findings=pictures.findings,
        fingerprint=pictures.fingerprint,
    )


def inspect_run(run: RunFolder) -> dict[str, Any]:
    """What a finished run holds; its files are read and its student is loaded, so that a broken file is found.

    Raises:
        RunError, ModelError: a file is missing or broken, or the student's classes are not the run's.
    """
    if wrong := run.damage():
        raise RunError(f"{run.path} is damaged: {wrong}. `picturebook train {run.settings} --resume` makes it again.")
    if wrong := run.export_damage():
        raise RunError(f"{run.path} is whole, but {wrong}")
    encoder, classes = load_student(run.student)
    if list(classes) != read_json(run.classes):
        raise RunError(f"{run.student} has other class names than {run.classes}: one of the two was exchanged.")
    try:
        return _told(run, encoder, classes, provenance=read_json(run.provenance), results=read_json(run.results))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{run.path} has files that no run writes ({type(error).__name__}: {error}): train again.") from error


def _told(
    run: RunFolder, encoder: ImageEncoder, classes: tuple[str, ...], *, provenance: dict[str, Any], results: dict[str, Any]
) -> dict[str, Any]:
    if weights_fingerprint(encoder) != provenance["student"]["weights"]:
        raise RunError(f"{run.student} does not hold the weights that this run trained: they were changed or exchanged.")
    accuracies = {
        f"{name}, {split}": _accuracy(name, numbers)
        for name, splits in results["models"].items()
        for split, numbers in splits.items()
    }
    return {
        "run": str(run.path),
        "student": f"{_architecture(encoder)}, {encoder.image_size} px, {len(classes)} classes",
        "student weights": weights_fingerprint(encoder),
        "accuracy": accuracies,
        "seed": provenance["seed"],
        "rows": provenance["rows"],
        "fingerprints": provenance["fingerprints"],
        "versions": provenance["versions"],
        "seconds": {stage: round(seconds, 1) for stage, seconds in provenance["seconds"].items()},
        "epochs logged": len(run.read_metrics()),
        "files verified": run.num_checksums or "none: the run is from before there were checksums",
    }


def _accuracy(name: str, numbers: dict[str, Any]) -> str:
    return "not shown" if name.endswith(LABEL_PRIVILEGED) else f"{100 * numbers['accuracy']:.1f} % of {numbers['num']}"


def _architecture(encoder: ImageEncoder) -> str:
    arguments = f" {json.dumps(encoder.model_args)}" if encoder.model_args else ""
    return f"{encoder.architecture}{arguments}"


def _class_counts(pictures: Pictures) -> tuple[ClassCounts, ...]:
    num = len(pictures.classes)
    labels = {split: pictures.labels[rows] for split, rows in pictures.rows.items()}
    counts = {split: np.bincount(values[values != UNLABELLED], minlength=num).tolist() for split, values in labels.items()}
    return tuple(
        ClassCounts(name, counts["train"][index], counts["val"][index], counts["test"][index])
        for index, name in enumerate(pictures.classes)
    )


def _training(pictures: Pictures) -> Training:
    labelled = pictures.labels[pictures.rows["train"]] != UNLABELLED
    return Training(len(labelled), int(labelled.sum()), int((~labelled).sum()))


def _size_range(values: np.ndarray) -> SizeRange:
    return SizeRange(int(values.min()), float(np.median(values)), int(values.max()))


def _text_coverage(texts: tuple[str, ...] | None) -> TextCoverage | None:
    if texts is None:
        return None
    filled = [text for text in texts if text]
    words = sum(len(text.split()) for text in filled)
    return TextCoverage(len(filled), len(set(filled)), words / max(len(filled), 1))


def _duplicates(pictures: Pictures) -> Duplicates:
    counts = np.bincount(duplicate_groups(pictures.canvases))
    return Duplicates(int((counts > 1).sum()), int(counts[counts > 1].sum()))
