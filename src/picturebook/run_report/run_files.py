"""What a finished run keeps, read once."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from picturebook.errors import RunError
from picturebook.evaluate import stored_predictions
from picturebook.runs import RunFolder
from picturebook.writing import read_json

SPLITS = {"test": "test", "val": "validation"}
"""The pictures that numbers are told of, the first that has any → its word."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The student's stored answers on one split."""

    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    groups: np.ndarray | None
    """None where the data have none."""

    @property
    def right(self) -> np.ndarray:
        """Whether each picture is named rightly."""
        return np.asarray(self.logits.argmax(axis=1) == self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class RunFiles:
    """A finished run."""

    folder: RunFolder
    settings: dict[str, Any]
    results: dict[str, Any]
    provenance: dict[str, Any]
    classes: tuple[str, ...]
    answers: dict[str, Answers]
    """By split; empty for runs from before they were kept."""

    @classmethod
    def open(cls, path: Path) -> "RunFiles":
        """Read a run.

        Raises:
            RunError: there is none, it is half written, or a file of it is missing or broken.
        """
        folder = RunFolder.open(path)
        try:
            settings = tomllib.loads(folder.settings.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{folder.settings} is not whole ({error}): train again, or take another run folder.") from None
        results, provenance, classes = map(read_json, (folder.results, folder.provenance, folder.classes))
        if "student" not in results.get("models", {}):
            raise RunError(f"{path} has no labelled validation or test pictures: there is nothing to report.")
        stored = stored_predictions(folder)
        answers = {
            split: Answers(
                ids=stored[f"{split}_ids"],
                labels=stored[f"{split}_labels"],
                logits=stored[f"{split}_logits"],
                groups=stored.get(f"{split}_groups"),
            )
            for split in SPLITS
            if f"{split}_logits" in stored
        }
        return cls(folder, settings, results, provenance, tuple(classes), answers)

    @property
    def name(self) -> str:
        return self.folder.path.resolve().name

    @property
    def split(self) -> str:
        """test, or val where there are no labelled test pictures."""
        return next(split for split in SPLITS if split in self.results["models"]["student"])

    @property
    def student(self) -> dict[str, Any]:
        """The student's numbers on `split`."""
        numbers: dict[str, Any] = self.results["models"]["student"][self.split]
        return numbers

    @property
    def data(self) -> str:
        """Name of the data, without the folders that lead there."""
        return Path(self.settings["data"]["root"]).name
