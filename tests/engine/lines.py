"""The smallest training there is: a line through numbers."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from picturebook.engine import Training, TrainOptions, build_accelerator, train
from picturebook.objective import Loss, Objective
from picturebook.runs import RunFolder
from picturebook.types import Batch, Progress, no_progress


class Line(Objective):
    """Fits 3 numbers through dropout, and counts its steps in a buffer as an average or a centre would be."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.rates: list[float] = []

    def forward(self, batch: Batch) -> Loss:
        inputs = batch.ids[:, None] / torch.tensor([10.0, 20.0, 30.0])
        error = self.layer(self.dropout(inputs))[:, 0] - batch.labels
        return Loss(error.square().mean(), {"error": error.abs().mean().detach()})

    def after_step(self, step: int, num_steps: int) -> None:
        self.steps += 1
        assert int(self.steps) == step + 1


class Numbers:
    """`num` samples in batches of `size`."""

    def __init__(self, num_steps: int = 12, *, size: int = 4, steps_per_epoch: float = 4) -> None:
        self.num_steps, self.steps_per_epoch, self._size = num_steps, steps_per_epoch, size
        self.asked: list[int] = []

    def at(self, step: int) -> Batch:
        self.asked.append(step)
        ids = torch.arange(self._size) + step
        return Batch(ids, torch.zeros_like(ids), ids % 3)

    def size(self, step: int) -> int:
        return self._size


def training(
    objective: Objective,
    *,
    numbers: Numbers | None = None,
    seed: int = 0,
    validate: Callable[[], dict[str, float]] | None = None,
    progress: Progress = no_progress,
    **options: object,
) -> Training:
    settings = TrainOptions.model_validate({"epochs": 3, "learning_rate": 0.01, **options})
    return Training("line", objective, numbers or Numbers(), settings, seed, validate, progress)


def run(folder: Path, job: Training) -> RunFolder:
    target = RunFolder(folder)
    train(job, run=target, accelerator=build_accelerator(device="cpu", precision="fp32"))
    return target


def weights(objective: Objective) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in objective.parameters()]).tolist()
