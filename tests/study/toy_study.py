"""A study's settings at toy size, and runners that train nothing or train in this process."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from picturebook.config import dump_options, load_options, run_recipe
from picturebook.errors import PicturebookError
from picturebook.study.cells import Cell, Plan
from picturebook.study.settings import parse_study
from picturebook.writing import npz, write_json

NUM_PICTURES = 120
CLASSES = ("apple", "leaf", "sky")
Settings = dict[str, Any]


def study(out: Path | str = "study", **changes: Any) -> Settings:
    """Two arms on two seeds."""
    settings: Settings = {
        "out": str(out),
        "seeds": [0, 1],
        "run": {
            "data": {"root": "birds", "canvas_size": 32},
            "student": {"model": "resnet10t", "model_args": {"channels": [8, 8, 8, 8]}, "image_size": 16},
            "train": {"epochs": 2, "batch_size": 16},
        },
        "arms": {"supervised": {"recipe": "supervised"}, "again": {"recipe": "born_again"}},
    }
    return copy.deepcopy(settings) | changes


def plan(settings: Settings | None = None) -> Plan:
    return Plan(parse_study(settings or study(), source="STUDY.toml"), "STUDY.toml")


class Pretending:
    """Leaves behind what a training would, with accuracies by arm and seed; keeps count of what it was asked for."""

    def __init__(self, accuracy: Callable[[Cell], float] | None = None, *, broken: dict[str, str] | None = None) -> None:
        self.accuracy = accuracy or (lambda cell: 0.5)
        self.broken = broken or {}
        self.asked: list[str] = []
        self.stopped = False
        self.groups = True

    def __call__(self, cell: Cell) -> str | None:
        self.asked.append(cell.name)
        if cell.name in self.broken:
            return self.broken[cell.name]
        assert load_options(cell.file) == cell.options
        self.finish(cell)
        return None

    def stop(self) -> None:
        self.stopped = True

    def finish(self, cell: Cell) -> None:
        accuracy = self.accuracy(cell)
        cell.run.start(resume=True, resolved=dump_options(cell.options))
        if hasattr(cell.options, "pretrain"):
            cell.run.log({"stage": "pretrain", "step": 7 * cell.options.pretrain.epochs, "epoch": 1.0})
        cell.run.log({"stage": "student", "step": 10, "epoch": 0.5, "val_accuracy": accuracy / 2})
        cell.run.log({"stage": "student", "step": 10 * cell.options.train.epochs, "epoch": 1.0, "val_accuracy": accuracy})
        write_json(cell.run.classes, list(CLASSES))
        cell.run.predictions.write_bytes(npz(self.predictions(cell, accuracy)))
        numbers = {"accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02, "nll": 1.0, "ece": 0.1}
        models = {"student": {"val": numbers, "test": numbers}}
        seconds = {"decode": 1.0, "targets": 2.0, "student": 10.0, "evaluate": 1.0}
        write_json(cell.run.results, {"recipe": cell.options.recipe, "models": models, "seconds": seconds, "parameters": 1000})

    def predictions(self, cell: Cell, accuracy: float) -> dict[str, np.ndarray]:
        labels = np.arange(NUM_PICTURES) % 3
        right = np.random.default_rng(cell.seed).permutation(NUM_PICTURES) < round(accuracy * NUM_PICTURES)
        logits = np.eye(3, dtype=np.float32)[np.where(right, labels, (labels + 1) % 3)]
        order = np.random.default_rng(cell.seed + len(cell.arm)).permutation(NUM_PICTURES)  # whoever pairs must match by id
        arrays = {f"val_{name}": values for name, values in {"labels": labels, "logits": logits}.items()}
        arrays |= {"test_ids": np.arange(NUM_PICTURES)[order], "test_labels": labels[order], "test_logits": logits[order]}
        return arrays | ({"test_groups": np.array([f"g{i // 4}" for i in range(NUM_PICTURES)])[order]} if self.groups else {})


class InThisProcess:
    """Trains for real, without a process of its own."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, cell: Cell) -> str | None:
        self.asked.append(cell.name)
        try:
            run_recipe(load_options(cell.file), resume=True)
        except PicturebookError as error:
            return str(error)
        return None

    def stop(self) -> None:
        pass


def strict_json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
