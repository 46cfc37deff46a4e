"""On a GPU: the rate of a whole compiled training step, views and stored targets included, as a share of the bare step's rate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import torch
from timing import Plan, compare
from work import any_targets

from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets

_SIDE = 32
_STEPS = 50
"""Steps between two looks at the clock: the processor runs ahead of the device, as in a training."""


def bare_share(work: Path, plan: Plan) -> tuple[list[float], dict[str, Any]]:
    """Bare seconds / whole seconds, a round each."""
    cases.SIDE = _SIDE
    student = cases.STUDENTS["resnet18"] | {"image_size": _SIDE}
    train = {"batch_size": cases.BATCH, "epochs": 4, "validations": 0, "compile": True}
    parts = cases.Parts(work, "resnet18", student=student, train=train)
    objective = SoftTargets(parts.stages.new_student(), any_targets(parts), SoftTargetOptions(), projector=None)
    ours, bare = parts.stepping(objective, settle=False), parts.bare_student(compiled=True, settle=False)
    ratios, details = compare(_many(ours), _many(bare), plan)
    return [1 / ratio for ratio in ratios], details | {"steps": _STEPS}


def _many(step: Callable[[], object]) -> Callable[[], object]:
    def steps() -> None:
        for _ in range(_STEPS):
            step()
        torch.cuda.synchronize()

    return steps
