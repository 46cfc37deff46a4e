"""Distillation with picturebook: a run of its recipe `distil`, whose teacher labels every view once, before the student starts.

Its settings are the recipe's defaults; the pace is kept where a run reports its progress.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pace import Pace, open_pipe, read_spec

from picturebook.config import parse_options, run_recipe


def settings(spec: dict[str, Any]) -> dict[str, Any]:
    """The run, as it would stand in a TOML file."""
    case, flags = spec["case"], spec["flags"]
    run = {
        "out": spec["out"],
        "cache": spec["cache"],
        "data": {"root": spec["data"], "canvas_size": case["image_size"]},
        "student": {"model": case["model"], "model_args": case["model_args"], "image_size": case["image_size"]},
        "train": {
            "epochs": spec["epochs"],
            "batch_size": spec["batch"],
            "num_views": spec["views"],
            "validations": spec["epochs"] if spec["free"] else 0,
            "compile": flags["compile"],
        },
    }
    if not flags["teacher"]:
        return run | {"recipe": "supervised"}
    teacher = {"image_encoder": spec["teacher_run"], "head": "classifier", "live": flags["live"]}
    loss = {"temperature": spec["temperature"], "label_weight": spec["label_weight"]}
    return run | {"recipe": "distil", "teacher": teacher, "loss": loss}


class Reporting:
    """Listens to the run: what labelling took, each step of the student's training, and its validations."""

    def __init__(self, pace: Pace, metrics: Path) -> None:
        self._pace, self._metrics = pace, metrics
        self._start, self._told = time.perf_counter(), 0

    def say(self, sentence: str) -> None:
        pass

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        start, trains = time.perf_counter(), name == "training student"

        def progress(done: int, total: int) -> None:
            if trains:
                self._pace.step()
                self.tell_validations()
            elif name.startswith("labelling"):
                self._pace.about["labelling"] = total / (time.perf_counter() - start)

        yield progress

    def tell_validations(self) -> None:
        """Pass on what the run has logged since; it logs an epoch before it takes the next step."""
        if not self._pace.free or not self._metrics.is_file():
            return
        lines = [json.loads(line) for line in self._metrics.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if "val_accuracy" in line]
        for line in lines[self._told :]:
            seconds = time.perf_counter() - self._start
            self._pace.tell({"epoch": line["epoch"], "accuracy": line["val_accuracy"], "seconds": seconds})
        self._told = len(lines)


def train(spec: dict[str, Any], pace: Pace) -> None:
    """Run the recipe."""
    options = parse_options(settings(spec), source="benchmarks/peers")
    reporting = Reporting(pace, Path(options.out) / "metrics.jsonl")
    run_recipe(options, reporter=reporting)
    reporting.tell_validations()


if __name__ == "__main__":
    wanted = read_spec()
    torch.set_num_threads(wanted["threads"])
    train(wanted, Pace(open_pipe(), {"torch": torch.__version__}, free=wanted["free"]))
