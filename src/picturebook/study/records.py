"""Records: what a study keeps of each finished cell. They are small, so that a study outlives its run folders.

KEEP/
    runs/ARM/seed-N.json, tune/ARM/trial-N.json    settings, commit, numbers, audit, and which test pictures were named rightly
    pictures/DIGEST.json                           ids, labels and groups of the test pictures, once for all cells that share them
"""

import base64
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from picturebook.config import dump_options, parse_options
from picturebook.errors import OptionError, RunError
from picturebook.options import first_difference
from picturebook.runs import read_json, write_atomically
from picturebook.study.cells import Cell
from picturebook.types import UNLABELLED
from picturebook.writing import json_bytes, read_npz

STUDENT = "student"
"""The stage in which every recipe trains its student, and the student's name among the models."""


@dataclass(frozen=True, slots=True, eq=False)
class TestPictures:
    """The labelled test pictures of a cell, by ascending id."""

    __test__ = False  # it is no test, whatever pytest thinks of its name

    ids: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    groups: np.ndarray | None
    """Group names [n], where the data have groups."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A finished cell in small."""

    commit: str
    """Of picturebook when it was trained; "unknown" where nobody noted it."""
    steps: int
    """Optimiser steps of the student."""
    parameters: int
    """Of the student."""
    seconds: dict[str, float]
    """By stage."""
    models: dict[str, dict[str, dict[str, Any]]]
    """Model → split → numbers, without confusion matrices and other long ones."""
    audit: dict[str, Any] | None
    """Verdict and evidence, where the teacher was audited."""
    captions: dict[str, Any] | None
    """What coca measured of its captions."""
    pictures: TestPictures | None
    """None where there were no labelled test pictures."""
    right: Bool[np.ndarray, " n"] | None
    """Whether the student named each of them rightly."""


_PLAIN = ("commit", "steps", "parameters", "seconds", "models", "audit", "captions")
"""Fields that are written as they are."""


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
        RunError: a file of either is missing or broken.
    """
    stored = _stored(cell) if recorded(cell) else None
    return _from_run(cell, commit="unknown") if stored is None else _from_record(stored, _pictures(cell, stored))


def keep_record(cell: Cell, commit: str) -> None:
    """Write the record of a cell whose run is finished.

    Raises:
        RunError: the run's predictions are missing or broken.
    """
    record = _from_run(cell, commit)
    stored: dict[str, Any] = {"settings": _settings(cell)} | {name: getattr(record, name) for name in _PLAIN}
    stored |= {"pictures": None, "right": None}
    if record.pictures is not None and record.right is not None:
        content = json_bytes(
            {
                "ids": record.pictures.ids.tolist(),
                "labels": record.pictures.labels.tolist(),
                "groups": None if record.pictures.groups is None else record.pictures.groups.tolist(),
            }
        )
        stored |= {"pictures": _digest(content), "right": base64.b64encode(np.packbits(record.right).tobytes()).decode()}
        if _pictures(cell, stored) is None:
            _write(_pictures_file(cell, stored), content)
    _write(cell.record, json_bytes(stored))


def _stored(cell: Cell) -> dict[str, Any] | None:
    """The record as it was written; None where there is none, or one that was cut off, which is as good as none."""
    if not cell.record.is_file():
        return None
    try:
        stored = read_json(cell.record)
    except RunError:
        return None
    whole = isinstance(stored, dict) and {"settings", "pictures", "right", *_PLAIN} <= stored.keys()
    if not whole or (stored["pictures"] is not None and _pictures(cell, stored) is None):
        return None
    return dict(stored)


def _pictures_file(cell: Cell, stored: Mapping[str, Any]) -> Path:
    return cell.kept / "pictures" / f"{stored['pictures']}.json"


def _pictures(cell: Cell, stored: Mapping[str, Any]) -> TestPictures | None:
    """The pictures that a record names; None where their file is missing or cut off, or where it names none."""
    file = _pictures_file(cell, stored)
    if stored["pictures"] is None or not file.is_file():
        return None
    content = file.read_bytes()
    if _digest(content) != stored["pictures"]:
        return None
    listed = json.loads(content)
    groups = None if listed["groups"] is None else np.array(listed["groups"])
    return TestPictures(np.array(listed["ids"], dtype=np.int64), np.array(listed["labels"], dtype=np.int64), groups)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)


def _settings(cell: Cell) -> dict[str, Any]:
    return tomllib.loads(dump_options(cell.options))


def _from_record(stored: Mapping[str, Any], pictures: TestPictures | None) -> Record:
    right = None
    if pictures is not None:
        bits = np.frombuffer(base64.b64decode(stored["right"]), dtype=np.uint8)
        right = np.unpackbits(bits, count=len(pictures.ids)).astype(bool)
    return Record(**{name: stored[name] for name in _PLAIN}, pictures=pictures, right=right)


def _from_run(cell: Cell, commit: str) -> Record:
    results = read_json(cell.run.results)
    audit = read_json(cell.run.audit) if cell.run.audit.is_file() else None
    pictures, right = _answers(cell)
    return Record(
        commit=commit,
        steps=max((line["step"] for line in cell.run.read_metrics() if line["stage"] == STUDENT), default=0),
        parameters=results["parameters"],
        seconds=results["seconds"],
        models={
            model: {split: _short(numbers) for split, numbers in splits.items()} for model, splits in results["models"].items()
        },
        audit=audit and {name: audit[name] for name in ("verdict", "evidence") if name in audit},
        captions=results.get("captions"),
        pictures=pictures,
        right=right,
    )


def _short(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if not isinstance(value, list) or len(value) == 2}  # 2: an interval


def _answers(cell: Cell) -> tuple[TestPictures | None, Bool[np.ndarray, " n"] | None]:
    path = cell.run.predictions
    if not path.is_file():
        raise RunError(f"{path} is missing, so pictures cannot be paired: remove {cell.folder} and compare again.")
    stored = read_npz(path)
    if "test_ids" not in stored:
        return None, None
    labelled = np.flatnonzero(stored["test_labels"] != UNLABELLED)
    order = labelled[np.argsort(stored["test_ids"][labelled], kind="stable")]
    labels = stored["test_labels"][order]
    groups = stored["test_groups"][order] if "test_groups" in stored else None
    return TestPictures(stored["test_ids"][order], labels, groups), stored["test_logits"][order].argmax(axis=1) == labels
