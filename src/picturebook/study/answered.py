"""What a finished run's student answered on the labelled test pictures, as small as tables and pages need it."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import softmax

from picturebook.calibration import fit_temperature
from picturebook.errors import RunError
from picturebook.runs import RunFolder
from picturebook.types import UNLABELLED
from picturebook.writing import read_json, read_npz

_STEPS = 255
"""In which certainty is kept: a byte a picture is enough for a reliability diagram."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The labelled test pictures, by ascending id, and the classes."""

    classes: tuple[str, ...]
    ids: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    groups: np.ndarray | None
    """Group names [n], where the data have groups."""

    @property
    def units(self) -> np.ndarray:
        """What a bootstrap draws, by name: groups, or single pictures where the data have none."""
        return self.ids if self.groups is None else self.groups

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        groups = None if self.groups is None else self.groups.tolist()
        return {"classes": list(self.classes), "ids": self.ids.tolist(), "labels": self.labels.tolist(), "groups": groups}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "Asked":
        groups = None if plain["groups"] is None else np.array(plain["groups"])
        ids, labels = (np.array(plain[name], dtype=np.int64) for name in ("ids", "labels"))
        return cls(tuple(plain["classes"]), ids, labels, groups)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What the student said of them."""

    predictions: Int64[np.ndarray, " n"]
    certainty: Float64[np.ndarray, " n"]
    """Probability of the prediction, in [0, 1], rounded to 1/255."""
    calibrated: Float64[np.ndarray, " n"] | None
    """The same with the temperature that was fitted on the validation pictures; None where there were none with a label."""
    temperature: float | None

    def plain(self) -> dict[str, Any]:
        """As JSON has it: a byte a certainty, four a prediction, packed."""
        return {
            "predictions": _packed(self.predictions.astype("<u4")),
            "certainty": _packed(_bytes(self.certainty)),
            "calibrated": None if self.calibrated is None else _packed(_bytes(self.calibrated)),
            "temperature": self.temperature,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "Answered":
        calibrated = None if plain["calibrated"] is None else _unpacked(plain["calibrated"], "u1") / _STEPS
        predictions = _unpacked(plain["predictions"], "<u4").astype(np.int64)
        return cls(predictions, _unpacked(plain["certainty"], "u1") / _STEPS, calibrated, plain["temperature"])


def answered(run: RunFolder) -> tuple[Asked, Answered] | None:
    """Read a finished run's predictions; None where there were no labelled test pictures.

    Raises:
        RunError: they are missing or broken.
    """
    path = run.predictions
    if not path.is_file():
        raise RunError(f"{path} is missing, so pictures cannot be paired: remove {run.path} and compare again.")
    stored = read_npz(path)
    if "test_ids" not in stored:
        return None
    labelled = np.flatnonzero(stored["test_labels"] != UNLABELLED)
    order = labelled[np.argsort(stored["test_ids"][labelled], kind="stable")]
    groups = stored["test_groups"][order] if "test_groups" in stored else None
    asked = Asked(tuple(read_json(run.classes)), stored["test_ids"][order], stored["test_labels"][order], groups)
    logits = stored["test_logits"][order].astype(np.float64)
    temperature = _temperature(stored)
    calibrated = None if temperature is None else _certainty(logits / temperature)
    return asked, Answered(logits.argmax(axis=1), _certainty(logits), calibrated, temperature)


def _temperature(stored: Mapping[str, Any]) -> float | None:
    labels = stored.get("val_labels", np.empty(0, np.int64))
    inside = labels != UNLABELLED
    return fit_temperature(stored["val_logits"][inside], labels[inside]) if inside.any() else None


def _certainty(logits: Float64[np.ndarray, "n classes"]) -> Float64[np.ndarray, " n"]:
    certainty: np.ndarray = _bytes(softmax(logits, axis=1).max(axis=1)) / _STEPS
    return certainty


def _bytes(shares: Float64[np.ndarray, " n"]) -> np.ndarray:
    steps: np.ndarray = np.rint(shares * _STEPS).astype(np.uint8)
    return steps


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def _unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)
