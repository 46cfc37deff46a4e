"""An objective in parts, in two processes, against a whole one in each of them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from lines import training
from torch import Tensor, nn

from interrupting import PowerCutError
from picturebook.engine import build_accelerator, loop, train
from picturebook.engine.parts import Trained
from picturebook.engine.stepping import Stepper
from picturebook.errors import OptionError, TrainingError
from picturebook.objective import Loss, Objective
from picturebook.runs import RunFolder
from picturebook.types import Batch
from two_processes import join_two, run_in_two

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"clip": 0.05, "weight_decay": 0.3},
    "sgd": {"optimizer": "sgd", "clip": 0.0, "learning_rate": 0.1},
    "average": {"average": 0.7},
    "best": {"keep": "best", "validations": 3},
    "accumulate": {"accumulate": 2, "batch_size": 9},
    "left out": {"nonfinite_steps": 3},
    "left out, sgd": {"nonfinite_steps": 3, "optimizer": "sgd"},
}
LIKE_A_GPU = ("adamw", "accumulate", "left out, sgd")
BAD = (1, 19)
"""Samples whose loss is no number: the second process has one in step 0, the first in step 1, and another in step 11."""


class Blocks(Objective):
    """Blocks in a row, weights that two processes cannot share evenly, one of no dimension, batch statistics and a counter."""

    steps: Tensor

    def __init__(self, bad: Iterable[int] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(5, 5, bias=False), nn.BatchNorm1d(5), nn.Tanh()) for _ in range(2)))
        self.last = nn.Linear(5, 1)
        self.frozen = nn.Linear(5, 1).requires_grad_(requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._bad = torch.tensor(list(bad))

    def forward(self, batch: Batch) -> Loss:
        inputs = (batch.ids[:, None] * torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6])).sin()
        answers = self.scale * self.last(self.blocks(inputs))[:, 0] + self.frozen(inputs)[:, 0]
        error = (answers - batch.labels).square()
        loss = error * torch.where(torch.isin(batch.ids, self._bad), torch.nan, 1.0)
        return Loss(loss.mean(), {"error": error.mean().detach()})

    def after_step(self, step: int, num_steps: int) -> None:
        self.steps += 1


class Tied(Blocks):
    """Its last block is its first one again."""

    def __init__(self, bad: Iterable[int] = ()) -> None:
        super().__init__(bad)
        self.blocks.append(self.blocks[0])


class Drawn(Blocks):
    """New weights in each process."""

    def __init__(self, bad: Iterable[int] = ()) -> None:
        super().__init__(bad)
        nn.init.normal_(self.last.weight, generator=torch.Generator().manual_seed(int(os.environ["RANK"])))


class Reading(Blocks):
    """Reads a block's weights behind the block's back."""

    def forward(self, batch: Batch) -> Loss:
        return Loss(super().forward(batch).total * self.blocks[0][0](torch.ones(1, 5)).sum(), {})


@dataclass(frozen=True)
class Shared:
    """Nine samples a step, of which the first process has five."""

    rank: int
    num_steps: int = 12
    steps_per_epoch: float = 4

    def at(self, step: int) -> Batch:
        ids = torch.arange(9)[self.rank :: 2] + step
        return Batch(ids, torch.zeros_like(ids), ids % 3)

    def size(self, step: int) -> int:
        return 9


class Unknowing(Stepper):
    """Looks at no number within a step, as on a GPU."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.knows_at_once = False


@dataclass(frozen=True)
class Process:
    """One of two."""

    rank: int
    root: Path
    accelerator: Accelerator

    def learn(
        self, name: str, *, in_parts: bool, kind: type[Blocks] = Blocks, bad: Iterable[int] = (), stop: int = 0, **settings: Any
    ) -> None:
        """Train, and keep what was learnt."""
        objective = kind(bad)

        def progress(done: int, total: int) -> None:
            if done == stop:
                raise PowerCutError

        def validate() -> dict[str, float]:
            return {"val_accuracy": -abs(float(objective.last.weight.detach().sum())), "val_nll": float(objective.steps)}

        job = training(objective, numbers=Shared(self.rank), progress=progress, validate=validate, **settings)  # type: ignore[arg-type]  # settings of several types
        train(job, run=RunFolder(self.root / name), accelerator=self.accelerator, in_parts=in_parts)
        assert all(type(parameter) is nn.Parameter for parameter in objective.parameters())
        self.keep(name, objective.state_dict())

    def keep(self, name: str, what: object) -> None:
        torch.save(what, self.root / f"{name}.{self.rank}")


def work(rank: int, port: int, root: Path) -> None:
    join_two(rank, port)
    process = Process(rank, root, build_accelerator(device="cpu", precision="fp32"))
    for in_parts, form in ((True, "parts"), (False, "whole")):
        for stepper, names in ((Stepper, SETTINGS), (Unknowing, LIKE_A_GPU)):
            loop.Stepper = stepper
            for name in names:
                bad = BAD if "left out" in name else ()
                process.learn(f"{name}, {stepper.__name__}, {form}", in_parts=in_parts, bad=bad, **SETTINGS[name])
        loop.Stepper = Stepper
        for kind in (Tied, Drawn):
            process.learn(f"{kind.__name__}, {form}", in_parts=in_parts, kind=kind)
    for name, first in (("resumed", True), ("changed", False)):
        with pytest.raises(PowerCutError):
            process.learn(name, in_parts=first, stop=6, average=0.7)
        process.learn(name, in_parts=True, average=0.7)
    with pytest.raises(OptionError, match="reads weights of its blocks without calling the blocks"):
        process.learn("reading", in_parts=True, kind=Reading)
    with pytest.raises(TrainingError, match="is not finite"):
        process.learn("refused", in_parts=True, bad=BAD)
    parts = Trained(Blocks(), process.accelerator, in_parts=True)
    process.keep("own", [(tuple(weight.shape), own.numel()) for weight, own in zip(parts.weights, parts.own, strict=True)])
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left what they made of each of the settings."""
    root = tmp_path_factory.mktemp("parts")
    run_in_two(work, root)
    return root


def states(root: Path, name: str) -> list[dict[str, Tensor]]:
    return [torch.load(root / f"{name}.{rank}", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("name", "stepper"), [*((name, "Stepper") for name in SETTINGS), *((name, "Unknowing") for name in LIKE_A_GPU)]
)
def test_an_objective_in_parts_learns_what_a_whole_one_does(root: Path, name: str, stepper: str) -> None:
    parts, whole = (states(root, f"{name}, {stepper}, {kind}") for kind in ("parts", "whole"))
    moved = [key for key, value in Blocks().state_dict().items() if not torch.equal(value, whole[0][key])]
    assert {"blocks.0.0.weight", "last.bias", "scale", "steps", "blocks.1.1.running_mean"} <= set(moved)
    assert not {"frozen.weight", "frozen.bias"} & set(moved)
    for rank in (0, 1):
        assert parts[rank].keys() == whole[rank].keys()
        for key, value in whole[rank].items():
            torch.testing.assert_close(parts[rank][key], value, rtol=1e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
    both = [RunFolder(root / f"{name}, {stepper}, {kind}").read_metrics() for kind in ("parts", "whole")]
    for ours, theirs in zip(*both, strict=True):
        known = ours.keys() - {"images_per_second", "stage", "loss"}
        assert {key: ours[key] for key in known} == pytest.approx({key: theirs[key] for key in known}, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("kind", ["Tied", "Drawn"])
def test_weights_that_have_two_places_or_two_beginnings_are_as_in_a_whole_objective(root: Path, kind: str) -> None:
    parts, whole = (states(root, f"{kind}, {form}") for form in ("parts", "whole"))
    for rank in (0, 1):
        for key, value in whole[rank].items():
            torch.testing.assert_close(parts[rank][key], value, rtol=1e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


def test_a_resumed_objective_in_parts_is_that_of_a_straight_training(root: Path) -> None:
    for resumed, straight in zip(states(root, "resumed"), states(root, "average, Stepper, parts"), strict=True):
        assert all(torch.equal(resumed[key], value) for key, value in straight.items())


def test_what_was_begun_whole_goes_on_in_parts(root: Path) -> None:
    for changed, straight in zip(states(root, "changed"), states(root, "average, Stepper, whole"), strict=True):
        for key, value in straight.items():
            torch.testing.assert_close(changed[key], value, rtol=1e-5, atol=1e-6)


def test_each_process_has_its_own_part_of_what_can_be_cut(root: Path) -> None:
    first, second = states(root, "own")
    for (shape, count), (_, other) in zip(first, second, strict=True):
        total = torch.zeros(shape).numel()
        assert (count, other) == (1, 1) if shape == () else count + other == total
        assert other <= count
    assert sum(count for _, count in second) < 0.45 * sum(torch.zeros(shape).numel() for shape, _ in second)
