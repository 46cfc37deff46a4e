"""What a finished cell answered: the test pictures that its student named rightly, and the numbers beside."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import softmax

from picturebook.calibration import fit_temperature
from picturebook.errors import RunError
from picturebook.runs import read_json
from picturebook.study.cells import Cell
from picturebook.types import UNLABELLED
from picturebook.writing import read_npz

_BADNESS = {"PASS": 0, "WARN": 1, "FAIL": 3}


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One student on the labelled test pictures, by ascending id."""

    ids: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    predictions: Int64[np.ndarray, " n"]
    certainty: Float64[np.ndarray, " n"]
    """Probability of the prediction, in [0, 1]."""
    calibrated: Float64[np.ndarray, " n"] | None
    """The same with the temperature that was fitted on the validation pictures; None where there were none with a label."""
    temperature: float | None
    right: Bool[np.ndarray, " n"]
    groups: np.ndarray | None
    """Group names [n], where the data have groups."""
    nll: float
    ece: float
    seconds: dict[str, float]
    """By stage."""
    audit: str | None
    """The teacher's verdict, where there was an audit."""

    @property
    def accuracy(self) -> float:
        """In points, 0 to 100."""
        return 100.0 * float(self.right.mean())

    def same_pictures(self, other: "Answers") -> bool:
        """Whether the two were asked the same, so that pictures can be paired."""
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.labels, other.labels)


def read_answers(cell: Cell) -> Answers:
    """Read a finished cell.

    Raises:
        RunError: its predictions are missing or broken, or there were no labelled test pictures.
    """
    results = read_json(cell.run.results)
    stored = _predictions(cell)
    if "test" not in results["models"]["student"] or "test_ids" not in stored:
        raise RunError(f"{cell.folder} has no labelled test pictures, and arms are compared on these: raise data.split.test.")
    labelled = np.flatnonzero(stored["test_labels"] != UNLABELLED)
    order = labelled[np.argsort(stored["test_ids"][labelled], kind="stable")]
    labels = stored["test_labels"][order]
    test = results["models"]["student"]["test"]
    logits = stored["test_logits"][order].astype(np.float64)
    predictions, temperature = logits.argmax(axis=1), _temperature(stored)
    return Answers(
        ids=stored["test_ids"][order],
        labels=labels,
        predictions=predictions,
        certainty=softmax(logits, axis=1).max(axis=1),
        calibrated=None if temperature is None else softmax(logits / temperature, axis=1).max(axis=1),
        temperature=temperature,
        right=predictions == labels,
        groups=stored["test_groups"][order] if "test_groups" in stored else None,
        nll=test["nll"],
        ece=100.0 * test["ece"],
        seconds=results["seconds"],
        audit=_verdict(cell),
    )


def _predictions(cell: Cell) -> dict[str, Any]:
    path = cell.run.predictions
    if not path.is_file():
        raise RunError(f"{path} is missing, so pictures cannot be paired: remove {cell.folder} and compare again.")
    return read_npz(path)


def _temperature(stored: dict[str, Any]) -> float | None:
    labels = stored.get("val_labels", np.empty(0, np.int64))
    inside = labels != UNLABELLED
    return fit_temperature(stored["val_logits"][inside], labels[inside]) if inside.any() else None


def _verdict(cell: Cell) -> str | None:
    path = cell.run.audit
    return str(read_json(path)["verdict"]) if path.is_file() else None


def worst_verdict(verdicts: Iterable[str | None]) -> str | None:
    """The worst of some audits' verdicts; None where there was none. A word for "no verdict" is worse than WARN."""
    return max((verdict for verdict in verdicts if verdict is not None), key=lambda word: _BADNESS.get(word, 2), default=None)
