"""The end of every recipe: the student as a timm model, its numbers beside its teacher's, and what they came from."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from picturebook.calibration import fit_temperature
from picturebook.evaluate import Model, evaluate_with_timm, groups_of, row_logits, student_logits
from picturebook.metrics import evaluate_logits
from picturebook.models.artefact import save_student, write_temperature
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.recipes.stages import Stages
from picturebook.types import UNLABELLED
from picturebook.writing import npy, npz, write_atomically, write_json


def finish(
    stages: Stages,
    student: ImageEncoder,
    *,
    teachers: dict[str, Model] | None = None,
    measured: Mapping[str, Any] | None = None,
) -> None:
    """Save the student, evaluate it and its teachers on validation and test rows, calibrate it on the former, close the run.

    `teachers` are named by what they may know ("teacher", "teacher with captions", "privileged teacher", …); the names go
    beside their numbers wherever these are shown, and with them how often the student's likeliest class is theirs.
    `measured` is what a recipe found out besides, for the results.
    """
    if stages.accelerator.is_main_process:
        folder = stages.folder
        write_json(folder.classes, list(stages.pictures.classes))
        write_atomically(folder.train_ids, npy(stages.pictures.ids[stages.train_rows]))
        save_student(student, folder.student, label_names=stages.pictures.classes, canvas_size=stages.options.data.canvas_size)
        with stages.timed("evaluate"):
            models, predictions = _evaluate(stages, student, teachers or {})
            write_atomically(folder.predictions, npz(predictions))
        if "val_logits" in predictions:
            write_temperature(folder.student, fit_temperature(predictions["val_logits"], predictions["val_labels"]))
        results = {
            "recipe": stages.options.recipe,
            "models": models,
            **(measured or {}),
            "seconds": {stage: round(seconds, 2) for stage, seconds in stages.seconds.items()},
            "parameters": sum(parameter.numel() for parameter in student.parameters()),
        }
        write_json(folder.provenance, _provenance(stages, student))
        folder.close(results)
        folder.discard_stages()
    stages.accelerator.wait_for_everyone()


def _evaluate(
    stages: Stages, student: ImageEncoder, teachers: dict[str, Model]
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Numbers by model and split, and the student's logits, on labelled val and test pictures."""
    models, pictures = {"student": student_logits(student.eval()), **teachers}, stages.pictures
    results: dict[str, dict[str, Any]] = {}
    predictions: dict[str, np.ndarray] = {}
    for split in ("val", "test"):
        rows = pictures.rows[split]
        rows = rows[pictures.labels[rows] != UNLABELLED]
        if not len(rows):
            continue
        labels, groups = pictures.labels[rows], groups_of(pictures, rows)
        logits = {name: _logits(stages, model, rows, f"evaluating {name} on {split}") for name, model in models.items()}
        for name, said in logits.items():
            numbers = evaluate_logits(said, torch.from_numpy(labels), groups=groups).to_dict()
            if name in teachers:
                numbers["agreement"] = float((said.argmax(dim=1) == logits["student"].argmax(dim=1)).double().mean())
            results.setdefault(name, {})[split] = numbers
        with stages.reporter.stage(f"evaluating through timm on {split}") as progress:
            timm_evaluation = evaluate_with_timm(stages.folder.student, pictures, rows, progress=progress)
        results.setdefault("student through timm's transform", {})[split] = timm_evaluation.to_dict()
        kept = {"ids": pictures.ids[rows], "labels": labels, "logits": logits["student"].numpy()}
        kept |= {} if groups is None else {"groups": np.asarray(groups)}
        predictions |= {f"{split}_{name}": values for name, values in kept.items()}
    return results, predictions


def _logits(stages: Stages, model: Model, rows: np.ndarray, stage: str) -> Tensor:
    size = stages.options.student.image_size
    with stages.reporter.stage(stage) as progress:
        return row_logits(model, stages.pictures, rows, image_size=size, device=stages.device, progress=progress)


def _provenance(stages: Stages, student: ImageEncoder) -> dict[str, Any]:
    packages = ("picturebook", "torch", "timm", "accelerate", "sentence-transformers", "transformers", "datasets", "numpy")
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": str(stages.device),
            "precision": stages.accelerator.mixed_precision,
            "processes": stages.accelerator.num_processes,
            "in_parts": stages.in_parts,
        },
        "seed": stages.options.seed,
        "fingerprints": stages.fingerprints,
        "words": stages.words,
        "student": {"name": student.name, "model_args": student.model_args, "weights": weights_fingerprint(student)},
        "rows": {split: len(rows) for split, rows in stages.pictures.rows.items()},
        "findings": [
            {"level": f.level, "kind": f.kind, "count": f.count, "names": f.names[:20]} for f in stages.pictures.findings
        ],
        "seconds": stages.seconds,
        "cached_seconds": stages.cached_seconds,
    }
