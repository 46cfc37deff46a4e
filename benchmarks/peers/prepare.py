"""What all contestants share: class folders, and a trained teacher of the student's architecture for each case."""

import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import BATCH, LABEL_WEIGHT, TEMPERATURE, Case
from PIL import Image

from picturebook.config import parse_options, run_recipe
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.types import UNLABELLED

_FEW = 8
"""Pictures of each class on which a teacher is trained whose answers nobody looks at."""
_TOY = ("red", "green", "blue")


@dataclass(frozen=True)
class Places:
    """Where the benchmark keeps its files."""

    work: Path

    @property
    def data(self) -> Path:
        return self.work / "data"

    @property
    def few(self) -> Path:
        return self.work / "few"

    @property
    def cache(self) -> Path:
        return self.work / "cache"

    def teacher(self, case: Case, epochs: int) -> Path:
        return self.work / "teachers" / f"{case.name}-{epochs}"


def write_folders(root: Path, places: Places) -> int:
    """Lay out any data that picturebook reads as data/SPLIT/CLASS/FILE, and a few of each class beside it; gives the classes."""
    pictures = load_pictures(DataOptions(root=str(root)), cache=places.cache)
    if not places.data.is_dir():
        begun = places.work / "begun"
        shutil.rmtree(begun, ignore_errors=True)
        shutil.rmtree(places.few, ignore_errors=True)
        _copy(pictures, begun / "data", begun / "few")
        (begun / "few").rename(places.few)
        (begun / "data").rename(places.data)  # last: with it all is there
    return len(pictures.classes)


def _copy(pictures: Pictures, data: Path, few: Path) -> None:
    taken: Counter[str] = Counter()
    for split, rows in pictures.rows.items():
        for row in rows[pictures.labels[rows] != UNLABELLED].tolist():
            label = pictures.classes[pictures.labels[row]]
            copies = [data / split] + ([few] if split == "train" and taken[label] < _FEW else [])
            taken[label] += split == "train"
            for copy in copies:
                file = copy / label.replace("/", "_") / f"{row:07d}{Path(pictures.names[row]).suffix or '.png'}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(pictures.read(row))


def write_toy_pictures(root: Path) -> Path:
    """Three classes of coloured noise of 64 px, for looks at the harness where there is no data."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 192), ("val", 24), ("test", 24)):
        for channel, name in enumerate(_TOY):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = generator.integers(0, 160, (64, 64, 3), dtype=np.uint8)
                pixels[:, :, channel] += 80
                Image.fromarray(pixels).save(root / split / name / f"{number:04d}.png")
    return root


def train_teacher(case: Case, places: Places, *, epochs: int, threads: int) -> Path:
    """The folder of a supervised run; with 0 epochs one pass over few pictures, for a teacher whose answers do not matter."""
    out = places.teacher(case, epochs)
    if (out / "results.json").is_file():
        return out
    shutil.rmtree(out, ignore_errors=True)
    root, split = (places.data, {}) if epochs else (places.few, {"test": 0.2, "val": 0.0})
    run = {
        "recipe": "supervised",
        "out": str(out),
        "cache": str(places.cache),
        "seed": 1,
        "data": {"root": str(root), "canvas_size": case.image_size, "split": {"near_duplicates": False} | split},
        "student": {"model": case.model, "model_args": case.model_args, "image_size": case.image_size},
        "train": {"epochs": max(1, epochs), "batch_size": BATCH, "validations": 0},
    }
    torch.set_num_threads(threads)
    run_recipe(parse_options(run, source="benchmarks/peers"))
    return out


def shared_spec(case: Case, places: Places, teacher: Path, *, num_classes: int, threads: int) -> dict[str, Any]:
    """What each worker of a case is told, whoever it is."""
    normal = json.loads((teacher / "student" / "config.json").read_text(encoding="utf-8"))["pretrained_cfg"]
    return {
        "case": {name: getattr(case, name) for name in ("image_size", "model", "model_args", "network", "network_args")},
        "data": str(places.data),
        "cache": str(places.cache),
        "num_classes": num_classes,
        "batch": BATCH,
        "threads": threads,
        "temperature": TEMPERATURE,
        "label_weight": LABEL_WEIGHT,
        "teacher": str(teacher / "student" / "model.safetensors"),
        "teacher_run": str(teacher),
        "mean": normal["mean"],
        "std": normal["std"],
    }


def work_folder(root: Path, base: Path) -> Path:
    """A folder for what is prepared from `root`, found again by the next run."""
    return base / hashlib.blake2b(os.fsencode(root.resolve()), digest_size=4).hexdigest()
