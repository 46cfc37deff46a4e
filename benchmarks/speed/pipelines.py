"""Whole runs: image_text with an encoder that is given against plain supervised training of the same student."""

from pathlib import Path
from typing import Any

from cases import BATCH, SIDE, STUDENTS, Parts
from timing import Plan

from picturebook.config import parse_options, run_recipe
from picturebook.recipes.tokens import HELD_OUT
from picturebook.writing import read_json

EPOCHS, QUICK_EPOCHS = 8, 4
"""Of the student, a multiple of 4; V = E / 4."""
ROUNDS = 3
"""Of whole runs, which take half a minute each."""
_LEFT_OUT = ("decode", "evaluate", HELD_OUT)
"""Stages that both have, and that are no training."""


def pipelines(work: Path, family: str, plan: Plan) -> tuple[list[float], dict[str, Any]]:
    """Each round's ratio of the two runs' seconds, tokens, heads, audit, targets and student together; texts are stored."""
    encoder = Parts(work, family).saved_encoder()
    ratios: list[float] = []
    stages: dict[str, float] = {}
    for number in range(-1, min(plan.rounds, ROUNDS)):  # the first is the warm-up, and encodes the words
        epochs = 1 if number < 0 else QUICK_EPOCHS if plan.quick else EPOCHS
        shown = {"epochs": epochs, "num_views": max(1, epochs // 4)}
        taught = _seconds(work, f"image_text-{number}", family, shown, recipe="image_text", **_teacher(encoder))
        plain = _seconds(work, f"supervised-{number}", family, {"epochs": epochs}, recipe="supervised")
        if number >= 0:
            ratios.append(sum(taught.values()) / sum(plain.values()))
            stages = taught | {"plain": sum(plain.values())}
    return ratios, {"clock": "wall", "stages of the last round": {name: round(value, 2) for name, value in stages.items()}}


def _teacher(encoder: str) -> dict[str, Any]:
    return {
        "text": {"source": "column", "column": "text", "kind": "label_blind"},
        "teacher": {"image_encoder": encoder, "text_encoder": "package:all-MiniLM-L6-v2", "head": {"mode": "own"}},
    }


def _seconds(work: Path, name: str, family: str, train: dict[str, Any], **settings: Any) -> dict[str, float]:
    base = {
        "out": str(work / name),
        "cache": str(work / f"cache-{name}"),
        "data": {"root": str(work / "data"), "canvas_size": SIDE},
        "student": STUDENTS[family],
        "train": {"batch_size": BATCH, "validations": 0, **train},
    }
    texts = work / "cache" / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    (work / f"cache-{name}").mkdir()
    (work / f"cache-{name}" / "texts").symlink_to(texts)  # words are stored already, image tokens are not
    run = run_recipe(parse_options(base | settings, source="benchmark"))
    seconds = read_json(run.provenance)["seconds"]
    return {stage: value for stage, value in seconds.items() if stage not in _LEFT_OUT}
