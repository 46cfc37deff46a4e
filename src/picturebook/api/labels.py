"""Labels from Python: the names by which a run knows them, and what they were."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from picturebook.errors import DataError
from picturebook.models.sources import CONFIG_FILE, read_model_folder
from picturebook.writing import write_json

_KINDS = {"U": "text", "i": "integer", "u": "integer", "b": "boolean"}
_ENTRY = "label_kind"


@dataclass(frozen=True, slots=True)
class LabelNames:
    """The labels of some pictures as texts."""

    rows: tuple[str, ...]
    """One a picture."""
    kind: str
    """What they were: text, integer or boolean."""

    @classmethod
    def of(cls, y: Sequence[object] | np.ndarray, num_pictures: int) -> "LabelNames":
        """Check labels.

        Raises:
            DataError: they are not one text or whole number a picture, or of fewer than two classes.
        """
        labels = np.asarray(y)
        if labels.ndim != 1 or len(labels) != num_pictures:
            raise DataError(f"y: expected one label for each of {num_pictures} pictures, got shape {list(labels.shape)}.")
        if labels.dtype.kind in "OT":
            wrong = [label for label in labels.tolist() if not isinstance(label, str)]
            if wrong:
                raise DataError(f"y: expected texts, or whole numbers throughout, got {wrong[0]!r} among others.")
            labels = labels.astype(str)
        if labels.dtype.kind not in _KINDS:
            raise DataError(f"y: expected texts or whole numbers as labels, got {labels.dtype}.")
        rows = tuple(str(label) for label in labels.tolist())
        classes = sorted(set(rows))
        if bad := [name for name in classes if not name.strip() or name != name.strip()]:
            raise DataError(f"y: a label has no name, or blanks at its ends: {bad[0]!r}.")
        if len(classes) < 2:
            raise DataError(f"y has one class, {', '.join(classes) or 'none'}: a classifier needs two at least.")
        return cls(rows, _KINDS[labels.dtype.kind])


def to_labels(names: Sequence[str], kind: str) -> np.ndarray:
    """Names as the labels that they stand for."""
    if kind == "boolean":
        return np.array([name == "True" for name in names])
    return np.array([int(name) for name in names] if kind == "integer" else list(names))


def note_kind(student: Path, kind: str) -> None:
    """Keep what labels were in a student's config.json, where timm passes it over."""
    write_json(student / CONFIG_FILE, read_model_folder(student) | {_ENTRY: kind})


def read_kind(student: Path) -> str:
    """What a student's labels were; texts where nobody noted it."""
    return str(read_model_folder(student).get(_ENTRY, "text"))
