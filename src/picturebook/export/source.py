"""What is exported: a finished run, its student, and the numbers that go with it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from picturebook.evaluate import Classifier, open_classifier, stored_predictions
from picturebook.metrics import Evaluation, evaluate_logits
from picturebook.runs import RunFolder
from picturebook.writing import read_json


@dataclass(frozen=True)
class Source:
    """A finished run and its student."""

    run: RunFolder
    classifier: Classifier

    @classmethod
    def open(cls, path: Path) -> "Source":
        """A run whose student can be exported.

        Raises:
            RunError, ModelError: there is no run, or it is half written or broken.
        """
        run = RunFolder.open(path)
        return cls(run, open_classifier(path))

    @property
    def temperature(self) -> float:
        """By which logits are divided; 1 where nothing was fitted."""
        return self.classifier.temperature or 1.0

    @property
    def is_calibrated(self) -> bool:
        return self.classifier.temperature is not None

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """The student's logits and labels on validation and test, as the run kept them."""
        return stored_predictions(self.run)

    @cached_property
    def results(self) -> dict[str, Any]:
        results: dict[str, Any] = read_json(self.run.results)
        return results

    @property
    def split(self) -> str | None:
        """The pictures that numbers are told of: test, else validation; None where none has a label."""
        return next((split for split in ("test", "val") if f"{split}_logits" in self.predictions), None)

    def numbers(self) -> dict[str, Any]:
        """What the student reaches on `split` before and after calibration; empty where none has a label."""
        if self.split is None:
            return {}
        before, after = (self._evaluate(temperature) for temperature in (1.0, self.temperature))
        constant = self._constant()
        return {
            "split": self.split,
            "num": after.num,
            "accuracy": after.accuracy,
            "low": after.low,
            "high": after.high,
            "interval": after.interval,
            "majority": {"accuracy": constant.accuracy, "low": constant.low, "high": constant.high},
            "nll": {"before": before.nll, "after": after.nll},
            "ece": {"before": before.ece, "after": after.ece},
        }

    def calibration(self) -> dict[str, Any]:
        """The temperature, and what it was fitted on."""
        return {"temperature": self.temperature, "validation_pictures": len(self.predictions.get("val_labels", ()))}

    def _evaluate(self, temperature: float) -> Evaluation:
        stored, split = self.predictions, self.split
        logits = stored[f"{split}_logits"].astype(np.float64) / temperature
        return evaluate_logits(logits, stored[f"{split}_labels"], groups=stored.get(f"{split}_groups"))

    def _constant(self) -> Evaluation:
        """What always saying the most common label would reach."""
        stored, split = self.predictions, self.split
        labels = stored[f"{split}_labels"]
        logits = np.zeros((len(labels), len(self.classifier.classes)))
        logits[:, np.bincount(labels).argmax()] = 1.0
        return evaluate_logits(logits, labels, groups=stored.get(f"{split}_groups"))
