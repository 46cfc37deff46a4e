"""DINO at toy size, for objective_cases.BUILDERS."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from picturebook.models.projection_heads import ProjectionHeadOptions, PrototypeHead
from picturebook.objectives.dino import Dino, DinoOptions
from picturebook.recipes.probing import freeze_classifier

HEAD = ProjectionHeadOptions(prototypes=12, hidden=16, bottleneck=8)


def dino(folder: Path, **settings: Any) -> Any:
    from objective_cases import Built, encoder, images  # which has this file's cases among its own

    head = PrototypeHead(32, HEAD, seed=0)
    objective = Dino(freeze_classifier(encoder(1)), head, DinoOptions.model_validate(settings))
    with torch.no_grad():
        objective.centre.copy_(objective.teacher(images())[1].mean(dim=0))  # as after some steps; at 0 one prototype wins
    return Built(
        objective,
        {"student"},
        carried=frozenset({"teacher", "centre", "teacher_temperature", "prototype_gradient", "alike_steps"}),
        within_a_batch=frozenset({"mean_output_entropy", "feature_spread"}),
    )


DINO_BUILDERS: dict[str, Callable[[Path], Any]] = {
    "dino": partial(dino, frozen_prototypes=0.1),
    "dino/neither centred nor warmed up": partial(
        dino, centre_momentum=1.0, teacher_temperature=(0.05, 0.05), teacher_temperature_warmup=0.0, frozen_prototypes=0.0
    ),
}
