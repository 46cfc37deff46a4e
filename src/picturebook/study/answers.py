"""What a finished cell answered: the test pictures that its student named rightly, and the numbers beside."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from picturebook.errors import RunError
from picturebook.study.answered import Answered, Asked
from picturebook.study.cells import Cell
from picturebook.study.records import STUDENT, read_record

_BADNESS = {"PASS": 0, "WARN": 1, "FAIL": 3}


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One student on the labelled test pictures."""

    asked: Asked
    answered: Answered
    nll: float
    ece: float
    seconds: dict[str, float]
    """By stage."""
    validations: list[list[float]]
    """[epoch, accuracy in [0, 1]] on validation pictures."""
    teachers: dict[str, tuple[float, float]]
    """Each teacher's accuracy, and how often the student's likeliest class is its, in points, 0 to 100."""
    commit: str
    """Of picturebook, when it was trained."""

    @property
    def right(self) -> Bool[np.ndarray, " n"]:
        """Whether each was named rightly."""
        right: np.ndarray = self.answered.predictions == self.asked.labels
        return right

    @property
    def accuracy(self) -> float:
        """In points, 0 to 100."""
        return 100.0 * float(self.right.mean())

    def same_pictures(self, other: "Answers") -> bool:
        """Whether the two were asked the same, so that pictures can be paired."""
        ours, theirs = self.asked, other.asked
        return np.array_equal(ours.ids, theirs.ids) and np.array_equal(ours.labels, theirs.labels)


def read_answers(cell: Cell) -> Answers:
    """Read a finished cell.

    Raises:
        RunError: its predictions are missing or broken, or there were no labelled test pictures.
    """
    record = read_record(cell)
    asked, answered = record.asked, record.answered
    if asked is None or answered is None or "test" not in record.models[STUDENT]:
        raise RunError(f"{cell.folder} has no labelled test pictures, and arms are compared on these: raise data.split.test.")
    test = record.models[STUDENT]["test"]
    return Answers(
        asked=asked,
        answered=answered,
        nll=test["nll"],
        ece=100.0 * test["ece"],
        seconds=record.seconds,
        validations=record.validations,
        teachers=_teachers(record.models),
        commit=record.commit,
    )


def _teachers(models: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    asked = {name: splits.get("test", {}) for name, splits in models.items()}
    return {name: (100.0 * one["accuracy"], 100.0 * one["agreement"]) for name, one in asked.items() if "agreement" in one}


def worst_verdict(verdicts: Iterable[str | None]) -> str | None:
    """The worst of some audits' verdicts; None where there was none. A word for "no verdict" is worse than WARN."""
    return max((verdict for verdict in verdicts if verdict is not None), key=lambda word: _BADNESS.get(word, 2), default=None)
