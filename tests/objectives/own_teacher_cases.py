"""A network that is its own teacher at toy size, for objective_cases.BUILDERS."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from picturebook.models.exits import build_exits
from picturebook.models.image_encoders import create_image_encoder
from picturebook.objectives.own_teacher import OwnTeacher, OwnTeacherOptions

DEEPER = {"patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2}
WEIGHTS = (0.5, 1.0, 2.0)
"""Of the three classes, where they are balanced."""


def own_teacher(folder: Path, *, blocks: tuple[int, ...] = (), **settings: Any) -> Any:
    from objective_cases import Built  # which has this file's cases among its own

    student = create_image_encoder("vit_tiny_patch16_224", num_classes=3, image_size=16, model_args=DEEPER, seed=1)
    exits = build_exits(student, blocks=blocks, seed=2)
    options = OwnTeacherOptions.model_validate(settings)
    weights = torch.tensor(WEIGHTS) if options.class_weights == "balanced" else None
    objective = OwnTeacher(student, exits, options, blocks=blocks, class_weights=weights)
    return Built(objective, {"student", "exits"})


OWN_TEACHER_BUILDERS: dict[str, Callable[[Path], Any]] = {
    "own_teacher": own_teacher,
    "own_teacher/two exits": partial(own_teacher, blocks=(1, 3), distillation_weight=0.5, temperature=2.0, feature_weight=1e-3),
}
