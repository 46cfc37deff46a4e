"""The end of every recipe: the student as a timm model, its numbers beside its teacher's, and what they came from."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from picturebook.calibration import fit_temperature
from picturebook.evaluate import Model, evaluate_rows, evaluate_with_timm, groups_of, row_logits, student_logits
from picturebook.metrics import Evaluation
from picturebook.models.artefact import save_student, write_temperature
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.recipes.stages import Stages
from picturebook.runs import npy, npz, write_atomically, write_json
from picturebook.types import UNLABELLED


def finish(
    stages: Stages,
    student: ImageEncoder,
    *,
    teachers: dict[str, Model] | None = None,
    measured: Mapping[str, Any] | None = None,
) -> None:
    """Save the student, evaluate it and its teachers on validation and test rows, calibrate it on the former, close the run.

    `teachers` are named by what they may know ("teacher", "teacher with captions", "privileged teacher", …); the names go
    beside their numbers wherever these are shown. `measured` is what a recipe found out besides, for the results.
    """
    if stages.accelerator.is_main_process:
        folder = stages.folder
        write_json(folder.classes, list(stages.pictures.classes))
        write_atomically(folder.train_ids, npy(stages.pictures.ids[stages.train_rows]))
        save_student(student, folder.student, label_names=stages.pictures.classes, canvas_size=stages.options.data.canvas_size)
        with stages.timed("evaluate"):
            models = _evaluate(stages, student, teachers or {})
            predictions = _predictions(stages, student)
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


def _evaluate(stages: Stages, student: ImageEncoder, teachers: dict[str, Model]) -> dict[str, dict[str, Any]]:
    models = {"student": student_logits(student.eval()), **teachers}
    results: dict[str, dict[str, Any]] = {}
    for split in ("val", "test"):
        rows = stages.pictures.rows[split]
        if not (stages.pictures.labels[rows] != UNLABELLED).any():
            continue
        for name, model in models.items():
            with stages.reporter.stage(f"evaluating {name} on {split}") as progress:
                evaluation = _evaluate_rows(stages, model, rows, progress)
            results.setdefault(name, {})[split] = evaluation.to_dict()
        with stages.reporter.stage(f"evaluating through timm on {split}") as progress:
            timm_evaluation = evaluate_with_timm(stages.folder.student, stages.pictures, rows, progress=progress)
        results.setdefault("student through timm's transform", {})[split] = timm_evaluation.to_dict()
    return results


def _predictions(stages: Stages, student: ImageEncoder) -> dict[str, np.ndarray]:
    """The student's logits on labelled val and test pictures."""
    pictures = stages.pictures
    arrays: dict[str, np.ndarray] = {}
    for split in ("val", "test"):
        rows = pictures.rows[split]
        rows = rows[pictures.labels[rows] != UNLABELLED]
        if not len(rows):
            continue
        with stages.reporter.stage(f"writing predictions on {split}") as progress:
            logits = row_logits(
                student_logits(student.eval()),
                pictures,
                rows,
                image_size=stages.options.student.image_size,
                device=stages.device,
                progress=progress,
            )
        arrays |= {
            f"{split}_ids": pictures.ids[rows],
            f"{split}_labels": pictures.labels[rows],
            f"{split}_logits": logits.numpy(),
        }
        if (groups := groups_of(pictures, rows)) is not None:
            arrays[f"{split}_groups"] = np.asarray(groups)
    return arrays


def _evaluate_rows(stages: Stages, model: Model, rows: np.ndarray, progress: Any) -> Evaluation:
    size = stages.options.student.image_size
    return evaluate_rows(model, stages.pictures, rows, image_size=size, device=stages.device, progress=progress)


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
    }
