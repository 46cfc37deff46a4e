"""What the kill harness runs: a teacher with words and its student, an export and a study, all at toy size."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from picturebook.config import load_options, parse_options, run_recipe
from picturebook.data import decoding
from picturebook.errors import InterruptionError, PicturebookError, RunError
from picturebook.export import export_run
from picturebook.interruption import sigterm_raises
from picturebook.recipes.stages import Stages
from picturebook.stores import sharing
from picturebook.study import command, ledger
from picturebook.study.cells import Cell
from picturebook.types import Progress, Reporter
from picturebook.writing import write_atomically
from toy_runs import RESNET, VIT, write_toy_data, write_toy_text_encoder

EPOCHS, HEAD_EPOCHS = 3, 2
CHUNK, BATCH = 8, 16
"""Pictures decoded, and encoded or labelled, at a time: few, so that the toy has several units of work in each stage."""

STUDY = """\
out = "{out}"
seeds = [0, 1]
[run]
device = "cpu"
precision = "fp32"
cache = "{cache}"
data = {{ root = "{data}", canvas_size = 16 }}
student = {{ model = "resnet10t", image_size = 16, model_args = {{ channels = [8, 8, 8, 8] }} }}
train = {{ epochs = 1, batch_size = 16, validations = 0 }}
[arms.plain]
recipe = "supervised"
[arms.smooth]
recipe = "supervised"
loss = {{ label_smoothing = 0.1 }}
"""


@dataclass(frozen=True)
class World:
    """Data, a text encoder and a finished run."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> "World":
        """Write the data and the text encoder."""
        world = cls(root)
        write_toy_data(world.data)
        write_toy_text_encoder(root / "words")
        return world

    @property
    def data(self) -> Path:
        return self.root / "data"

    def settings(self, place: Path, mode: str) -> dict[str, Any]:
        """Of a run of image_text whose head has this mode, or of distil from a plain classifier."""
        head = {"text_encoder": str(self.root / "words" / "encoder"), "train": {"epochs": HEAD_EPOCHS, "batch_size": 16}}
        of_mode: dict[str, dict[str, Any]] = {
            "classifier": {"recipe": "distil", "teacher": {"head": "classifier"}},
            "bank": {"recipe": "image_text", "teacher": {**head, "head": {"mode": "bank", "width": 16, "num_heads": 2}}},
            "own": {
                "recipe": "image_text",
                "teacher": {**head, "head": {"mode": "own", "width": 16, "num_heads": 2}},
                "text": {"source": "column", "kind": "label_blind"},
            },
        }
        return {
            "device": "cpu",
            "precision": "fp32",
            "cache": str(place / "cache"),
            "out": str(place / "run"),
            "data": {"root": str(self.data), "canvas_size": 16},
            "student": VIT if mode == "own" else RESNET,
            "train": {"epochs": EPOCHS, "batch_size": 16, "validations": 1},
            **of_mode[mode],
        }

    def run(self, mode: str) -> Callable[[Path, Reporter], None]:
        """Train into PLACE/run, resuming what is there."""

        def job(place: Path, reporter: Reporter) -> None:
            run_recipe(parse_options(self.settings(place, mode), source="the harness"), resume=True, reporter=reporter)

        return job

    def export(self, place: Path, reporter: Reporter, *, to: str) -> None:
        """Export the finished run PLACE/run, unless an earlier try did; what is damaged is made again."""
        with sigterm_raises(), reporter.stage("exporting"):
            run = run_recipe(parse_options(self.settings(place, "classifier"), source="the harness"), resume=True)
            kind, int8 = ("onnx", True) if to == "int8" else (to, False)
            names = {"onnx": ["student.onnx"], "int8": ["student.onnx", "student-int8.onnx"]}.get(to, [to])
            target, *beside = [run.exported / name for name in names]
            if run.export_damage() or (kind not in run.exports() and any(path.exists() for path in (target, *beside))):
                shutil.rmtree(run.exported)  # as the sentence says
            if not target.exists():
                export_run(run.path, to=kind, int8=int8, cache=place / "cache", reporter=reporter)

    def compare(self, place: Path, reporter: Reporter) -> None:
        """Run the study PLACE/study, going on with what is there."""
        file = place / "study.toml"
        with sigterm_raises():
            self._compare(file, place, reporter)

    def _compare(self, file: Path, place: Path, reporter: Reporter) -> None:
        write_atomically(file, STUDY.format(out=place / "study", cache=place / "cache", data=self.data).encode())
        outcome = command.compare(file, reporter=reporter, runner=InThisProcess(reporter))
        if outcome.failure:
            raise RunError(outcome.failure)  # as the command line does


class InThisProcess:
    """Trains a study's cells without processes of their own."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self._stopped = False

    def __call__(self, cell: Cell) -> str | None:
        if self._stopped:
            return "it was not started: the study was interrupted"
        with self.reporter.stage(f"cell {cell.name}"):
            try:
                run_recipe(load_options(cell.file), resume=True, reporter=OfCell(cell.name, self))
            except (PicturebookError, InterruptionError) as error:
                return str(error)
        return None

    def stop(self) -> None:
        self._stopped = True

    def refuse_when_stopped(self) -> None:
        if self._stopped:
            raise InterruptionError("Stopped with the study.")


class OfCell:
    """A Reporter by which a cell's training is told apart from others', and ends with its study as its process would."""

    def __init__(self, cell: str, runner: InThisProcess) -> None:
        self._cell, self._runner = cell, runner

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        with self._runner.reporter.stage(f"{self._cell} / {name}") as progress:

            def stoppable(done: int, total: int) -> None:
                self._runner.refuse_when_stopped()
                progress(done, total)

            yield stoppable

    def say(self, sentence: str) -> None:
        self._runner.reporter.say(sentence)


def make_units_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of work that suit the toy; and no question to git at each cell."""
    monkeypatch.setattr(decoding, "CHUNK", CHUNK)
    monkeypatch.setattr(sharing, "CHUNK", BATCH)
    monkeypatch.setattr(Stages, "replay", partialmethod(Stages.replay, batch_size=BATCH))
    monkeypatch.setattr(ledger, "source_commit", lambda: "the harness")
