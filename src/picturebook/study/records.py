"""Records: what a study keeps of each finished cell. They are small, so that a study outlives its run folders.

KEEP/
    runs/ARM/seed-N.json, tune/ARM/trial-N.json    settings, commit, numbers, audit, validations, and the student's test answers
    pictures/DIGEST.json                           classes, ids, labels and groups of the test pictures, once for all cells
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picturebook.config import dump_options, parse_options
from picturebook.errors import OptionError, RunError
from picturebook.options import first_difference
from picturebook.study.answered import Answered, Asked, answered
from picturebook.study.cells import Cell
from picturebook.writing import json_bytes, read_json, write_atomically

STUDENT = "student"
"""The stage in which every recipe trains its student, and the student's name among the models."""
PRETRAIN = "pretrain"
"""The stage in which some recipes teach the student's network before."""
_PLAIN = ("commit", "steps", "parameters", "seconds", "models", "audit", "captions", "validations")
"""Fields that are written as they are."""
_LATER: dict[str, Any] = {"pretraining_steps": 0, "cached_seconds": {}}
"""Such fields that older records lack, and what they have instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A finished cell in small."""

    commit: str
    """Of picturebook when it was trained; "unknown" where nobody noted it."""
    steps: int
    """Optimiser steps of the student."""
    pretraining_steps: int
    """Optimiser steps of its network before."""
    parameters: int
    """Of the student."""
    seconds: dict[str, float]
    """By stage."""
    cached_seconds: dict[str, float]
    """By stage, what it took another run to make what this one found in the cache."""
    models: dict[str, dict[str, dict[str, Any]]]
    """Model → split → numbers, without confusion matrices and other long ones."""
    audit: dict[str, Any] | None
    """Verdict, reasons and evidence, where the teacher was audited."""
    captions: dict[str, Any] | None
    """What coca measured of its captions."""
    validations: list[list[float]]
    """[epoch, accuracy in [0, 1]] of the student on validation pictures."""
    asked: Asked | None
    """None where there were no labelled test pictures."""
    answered: Answered | None


def recorded(cell: Cell) -> bool:
    """Whether a record of a run with the cell's settings is kept: it need not be run again, unless somebody learns from it."""
    stored = _stored(cell)
    try:
        return stored is not None and parse_options(stored["settings"], source=str(cell.record)) == cell.options
    except OptionError:
        return False


def known(cell: Cell) -> bool:
    """Whether all is there that a study wants to know of a cell."""
    return recorded(cell) or cell.run.finished


def refuse_other_settings(cell: Cell) -> None:
    """Look at what an earlier call left.

    Raises:
        RunError: the record or the folder is of a run with other settings (the message names the first that differs), or the
            folder holds other files.
    """
    if recorded(cell):
        return
    if (stored := _stored(cell)) is not None:
        difference = first_difference(stored["settings"], _settings(cell))
        raise RunError(
            f"{cell.record} was kept of a run with other settings: {difference}. Take the same ones, another `out`, or remove "
            "the record."
        )
    cell.refuse_other_settings()


def read_record(cell: Cell) -> Record:
    """What is known of a finished cell: its record, or else its run folder.

    Raises:
        RunError: a file of the run is missing or broken.
    """
    stored = _stored(cell) if recorded(cell) else None
    if stored is None:
        return _of_run(cell, commit="unknown")
    said = None if stored["answered"] is None else Answered.of_plain(stored["answered"])
    plain = {name: stored[name] for name in _PLAIN}
    later = {name: stored.get(name, none) for name, none in _LATER.items()}
    return Record(**plain, **later, asked=_asked(cell, stored), answered=said)


def keep_record(cell: Cell, commit: str) -> None:
    """Write the record of a cell whose run is finished.

    Raises:
        RunError: the run's predictions are missing or broken.
    """
    record = _of_run(cell, commit)
    stored: dict[str, Any] = {"settings": _settings(cell)} | {name: getattr(record, name) for name in _PLAIN}
    stored |= {name: getattr(record, name) for name in _LATER} | {"asked": None, "answered": None}
    if record.asked is not None and record.answered is not None:
        content = json_bytes(record.asked.plain())
        stored |= {"asked": _digest(content), "answered": record.answered.plain()}
        if _asked(cell, stored) is None:
            _write(_asked_file(cell, stored), content)
    _write(cell.record, json_bytes(stored))


def _stored(cell: Cell) -> dict[str, Any] | None:
    """The record as it was written; None where there is none, or one that was cut off, which is as good as none."""
    if not cell.record.is_file():
        return None
    try:
        stored = read_json(cell.record)
    except RunError:
        return None
    whole = isinstance(stored, dict) and {"settings", "asked", "answered", *_PLAIN} <= stored.keys()
    if not whole or (stored["asked"] is not None and _asked(cell, stored) is None):
        return None
    return dict(stored)


def _asked_file(cell: Cell, stored: Mapping[str, Any]) -> Path:
    return cell.kept / "pictures" / f"{stored['asked']}.json"


def _asked(cell: Cell, stored: Mapping[str, Any]) -> Asked | None:
    """The pictures that a record names; None where their file is missing or cut off, or where it names none."""
    file = _asked_file(cell, stored)
    if stored["asked"] is None or not file.is_file():
        return None
    content = file.read_bytes()
    return Asked.of_plain(json.loads(content)) if _digest(content) == stored["asked"] else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)


def _settings(cell: Cell) -> dict[str, Any]:
    return tomllib.loads(dump_options(cell.options))


def _of_run(cell: Cell, commit: str) -> Record:
    results = read_json(cell.run.results)
    audit = read_json(cell.run.audit) if cell.run.audit.is_file() else None
    provenance = read_json(cell.run.provenance) if cell.run.provenance.is_file() else {}
    metrics = cell.run.read_metrics()
    lines = [line for line in metrics if line["stage"] == STUDENT]
    asked, said = answered(cell.run) or (None, None)
    models = results["models"].items()
    return Record(
        commit=commit,
        steps=_steps(metrics, STUDENT),
        pretraining_steps=_steps(metrics, PRETRAIN),
        parameters=results["parameters"],
        seconds=results["seconds"],
        cached_seconds=provenance.get("cached_seconds", {}),
        models={model: {split: _short(numbers) for split, numbers in splits.items()} for model, splits in models},
        audit=audit and {name: audit[name] for name in ("verdict", "reasons", "evidence") if name in audit},
        captions=results.get("captions"),
        validations=[[float(line["epoch"]), float(line["val_accuracy"])] for line in lines if "val_accuracy" in line],
        asked=asked,
        answered=said,
    )


def _steps(metrics: Iterable[Mapping[str, Any]], stage: str) -> int:
    return max((line["step"] for line in metrics if line["stage"] == stage), default=0)


def _short(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if not isinstance(value, list) or len(value) == 2}  # 2: an interval
