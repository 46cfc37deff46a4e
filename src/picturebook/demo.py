"""The main job on real pictures with real words, all from Python packages: baselines, teacher, student, table, report.

Pictures are OpenMoji's drawings, words their names and short names without class words, so that no text says its label.
Every arm is a run as `picturebook train` makes it; the runs' run.toml files repeat them.
"""

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from picturebook.attention import WordsInPicture, look
from picturebook.caching import cache_folder
from picturebook.config import parse_options, run_recipe
from picturebook.data.openmoji import build_openmoji
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.texts import TextOptions
from picturebook.interruption import sigterm_raises
from picturebook.models.packaged import IMAGE_PACKAGES, PACKAGE_PREFIX
from picturebook.report import Arm, Curve, Report, write_report
from picturebook.run_report.looking import shown_attention
from picturebook.runs import RunFolder
from picturebook.terminal import percent
from picturebook.types import Reporter
from picturebook.writing import read_json

MODEL_ARGS = {"resnet10t": {"channels": [16, 32, 64, 128], "output_stride": 16}}
"""What makes the default model small enough for a demo, with a map of 4 x 4 tokens in which words can look about."""

TEXT_COLUMN = "masked_text"
NUM_SHOWN = 8


@dataclass(frozen=True, slots=True)
class DemoArm:
    """One row of the demo's table."""

    name: str
    label: str
    settings: dict[str, Any]


def run_demo(out: Path, *, model: str, reporter: Reporter, epochs: int = 25, limit: int | None = None) -> RenderableType:
    """Build the data, run every arm that is not finished yet, write `out`/report.html and return the table.

    Args:
        out: folder of the runs, one each arm.
        model: student and teacher's image encoder, a timm name; with weights that come in a package, these teach.
        epochs: of every training.
        limit: pictures a class, for a quick look; None takes all.

    Raises:
        InterruptionError: SIGTERM came; the same call goes on.
    """
    with sigterm_raises():
        return _run_demo(out, model=model, reporter=reporter, epochs=epochs, limit=limit)


def _run_demo(out: Path, *, model: str, reporter: Reporter, epochs: int, limit: int | None) -> RenderableType:
    start = time.perf_counter()
    with reporter.stage("drawing pictures") as progress:
        data = build_openmoji(
            cache_folder() / ("openmoji" if limit is None else f"openmoji-{limit}"), progress=progress, limit=limit
        )
    arms = _arms(out, model)
    for arm in arms:
        reporter.say(arm.label)
        run_recipe(
            parse_options(_common(out / arm.name, data, model, epochs) | arm.settings, source="demo"),
            resume=(out / arm.name).exists(),
            reporter=reporter,
        )
    seconds = time.perf_counter() - start
    unit = 1.0 if sys.platform == "darwin" else 1024.0  # of ru_maxrss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    _report(out, data, arms, model, seconds, peak)
    return _table(out, arms[1:], seconds, peak)


def _common(out: Path, data: Path, model: str, epochs: int) -> dict[str, Any]:
    return {
        "out": str(out),
        "data": {"root": str(data), "canvas_size": 64},
        "student": {"model": model, "model_args": MODEL_ARGS.get(model, {}), "image_size": 64},
        "train": {"epochs": epochs, "batch_size": 64, "learning_rate": 2e-3},
    }


def _arms(out: Path, model: str) -> list[DemoArm]:
    """The first is generation 0: it starts from another seed, so that no student shares its teacher's first weights."""
    first = str(out / "teacher_encoder")
    packaged = [name for name, package in IMAGE_PACKAGES.items() if model in (package.architecture, f"{PACKAGE_PREFIX}{name}")]
    encoder = {"image_encoder": f"{PACKAGE_PREFIX}{packaged[0]}", "image_size": 128} if packaged else {"image_encoder": first}
    text = {"source": "column", "column": TEXT_COLUMN, "kind": "label_blind"}
    words = {"text_encoder": "package:all-MiniLM-L6-v2", "head": {"mode": "own"}}
    return [
        DemoArm("teacher_encoder", "the teacher's image encoder, labels alone", {"recipe": "supervised", "seed": 1}),
        DemoArm("supervised", "labels alone", {"recipe": "supervised"}),
        DemoArm("born_again", "image-only self-distillation (born again)", {"recipe": "born_again", "teacher": {"run": first}}),
        DemoArm("distil", "teacher: image encoder alone", {"recipe": "distil", "teacher": encoder}),
        DemoArm(
            "image_text", "teacher: image encoder and words", {"recipe": "image_text", "text": text, "teacher": encoder | words}
        ),
    ]


def _student(out: Path, arm: DemoArm) -> dict[str, Any]:
    numbers: dict[str, Any] = read_json(RunFolder.open(out / arm.name).results)["models"]["student"]["test"]
    return numbers


def _seconds(out: Path, arm: DemoArm) -> float:
    return float(sum(read_json(RunFolder.open(out / arm.name).results)["seconds"].values()))


def _table(out: Path, arms: list[DemoArm], seconds: float, peak: float) -> RenderableType:
    table = Table("arm", "student learns from", "test accuracy %", "95 % interval", "NLL", "ECE %", "seconds")
    for arm in arms:
        numbers = _student(out, arm)
        interval = f"{percent(numbers['low'])} – {percent(numbers['high'])}"
        cells = (percent(numbers["accuracy"]), interval, f"{numbers['nll']:.3f}", percent(numbers["ece"]))
        table.add_row(arm.name, arm.label, *cells, f"{_seconds(out, arm):.0f}")
    majority = percent(_student(out, arms[0])["majority"])
    return Group(
        table,
        f"Always saying the most common class: {majority} %. Intervals resample groups of pictures; too few to rank methods.",
        f"{seconds:.0f} seconds in all, peak memory {peak / 1e9:.2f} GB. Report: {out / 'report.html'}",
    )


def _report(out: Path, data: Path, arms: list[DemoArm], model: str, seconds: float, peak: float) -> None:
    pictures = load_pictures(DataOptions(root=str(data), canvas_size=64), cache=cache_folder(), text_column=TEXT_COLUMN)
    shown = _look(out / "image_text", pictures)
    by_name = {arm.name: _student(out, arm) for arm in arms[1:]}
    numbers = by_name["image_text"]
    rest = max(0.0, seconds - sum(_seconds(out, arm) for arm in arms))  # a second call finds the runs there
    again = f"picturebook train {out}/image_text/run.toml --set out=runs/again"
    report = Report(
        title="picturebook demo",
        sentence=(
            f"Taught by pictures and words, the student names {percent(numbers['accuracy'])} % of {numbers['num']} new drawings; "
            f"taught by labels alone, {percent(by_name['supervised']['accuracy'])} %."
        ),
        setting=(
            ("pictures", f"{len(pictures)} OpenMoji drawings, {len(pictures.classes)} classes, split by emoji"),
            ("words", "names and short names without class words, one text per picture, training time only"),
            ("student", ", ".join([model, *(f"{name} {value}" for name, value in MODEL_ARGS.get(model, {}).items())])),
            ("text encoder", "all-MiniLM-L6-v2, frozen"),
            ("seed", "0 (the teacher's image encoder: 1)"),
            ("peak memory", f"{peak / 1e9:.2f} GB"),
        ),
        majority=numbers["majority"],
        arms=tuple(_arm_row(out, arm) for arm in arms[1:]),
        curves_accuracy=_curves(out, arms[1:], "val_accuracy"),
        curves_loss=_curves(out, arms[1:], "loss"),
        attention=tuple(shown_attention(pictures, answer) for answer in shown),
        cost=(*((arm.label, _seconds(out, arm)) for arm in arms), ("drawing, loading, this report", rest)),
        commands=(
            "pip install 'picturebook[demo]'",
            "picturebook demo",
            again,
        ),
        notes=(
            "A few hundred test drawings and one seed show the way and rank nothing: look at how the intervals overlap.",
            "Losses of different arms are different functions: compare each curve with itself.",
        ),
        credits=(data / "CREDITS.md").read_text(encoding="utf-8").removeprefix("# "),
    )
    write_report(report, out / "report.html")


def _arm_row(out: Path, arm: DemoArm) -> Arm:
    numbers = _student(out, arm)
    measured = {name: numbers[name] for name in ("accuracy", "low", "high", "nll", "ece")}
    return Arm(arm.name, arm.label, **measured, seconds=_seconds(out, arm), num_test=numbers["num"])


def _curves(out: Path, arms: list[DemoArm], value: str) -> tuple[Curve, ...]:
    lines = {arm.name: RunFolder.open(out / arm.name).read_metrics() for arm in arms}
    points = {
        name: tuple((float(line["epoch"]), float(line[value])) for line in logged if line["stage"] == "student" and value in line)
        for name, logged in lines.items()
    }
    return tuple(Curve(name, values) for name, values in points.items())


def _look(run: Path, pictures: Pictures) -> list[WordsInPicture]:
    """The first test pictures, one class each, so that the choice is nobody's."""
    rows = pictures.rows["test"]
    _, first = np.unique(pictures.labels[rows], return_index=True)
    text = TextOptions(source="column", column=TEXT_COLUMN, kind="label_blind")
    return look(run / "teacher", pictures, rows[np.sort(first)[:NUM_SHOWN]], text, image_size=64, cache=cache_folder())
