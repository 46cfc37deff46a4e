import json
import math
from pathlib import Path

import pytest
import torch
from lines import Line, Numbers, run, training, weights
from torch import nn

from picturebook.engine import TrainOptions
from picturebook.engine.checkpoints import State
from picturebook.engine.optimization import build_optimizer, set_step
from picturebook.errors import TrainingError
from picturebook.objective import Loss
from picturebook.runs import RunFolder
from picturebook.types import Batch


class Fragile(Line):
    """Its loss is not finite for the batches that begin with these samples, and it keeps statistics as batch norm does."""

    def __init__(self, *bad: int, value: float = math.nan) -> None:
        super().__init__()
        self.bad, self.value = bad, value
        self.norm = nn.BatchNorm1d(1)

    def forward(self, batch: Batch) -> Loss:
        loss = super().forward(batch)
        broken = self.value if int(batch.ids[0]) in self.bad else 0.0
        self.norm(batch.ids[:, None] + broken)
        return Loss(loss.total + broken * self.layer.weight.sum(), loss.terms)


BFLOAT16_OVERFLOW = float(torch.tensor(3e38, dtype=torch.bfloat16) * 10)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, BFLOAT16_OVERFLOW])
def test_a_step_that_is_not_finite_stops_the_training_with_its_samples_and_changes_nothing(tmp_path: Path, value: float) -> None:
    objective = Fragile(6, value=value)
    named = r"\(samples 6, 7, 8, 9, …: all of them are in .*nonfinite-0\.json\)"
    expected = rf"Stage line: loss or gradient of step 6 is not finite {named}\. That step changed nothing"
    with pytest.raises(TrainingError, match=expected):
        run(tmp_path, training(objective))
    assert all(math.isfinite(value) for value in weights(objective))
    states = sorted(path.name for path in (tmp_path / "stages" / "line").glob("state-*"))
    assert states == ["state-000000004", "state-000000007"]
    assert [line["step"] for line in RunFolder(tmp_path).read_metrics()] == [4]
    told = json.loads((tmp_path / "stages" / "line" / "nonfinite-0.json").read_text(encoding="utf-8"))
    assert told == {"step": 6, "ids": [6, 7, 8, 9]}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("bad", [(0,), (3, 6)])
def test_steps_that_are_not_finite_are_left_out_as_often_as_it_is_allowed(
    tmp_path: Path, bad: tuple[int, ...], kind: str
) -> None:
    objective = Fragile(*bad)
    settings = {"optimizer": kind, "warmup": 0.0}
    lines = run(tmp_path / "run", training(objective, nonfinite_steps=len(bad), **settings)).read_metrics()
    assert all(math.isfinite(value) for value in [*weights(objective), *objective.norm.running_mean.tolist()])
    assert all(math.isfinite(line["loss"]) for line in lines)
    with pytest.raises(TrainingError, match=f"step {bad[-1]} is not finite"):
        run(tmp_path / "fewer", training(Fragile(*bad), nonfinite_steps=len(bad) - 1, **settings))


def test_a_step_left_out_is_no_step_for_the_weights(tmp_path: Path) -> None:
    one, other = Fragile(0), Fragile(0)
    job = training(one, numbers=Numbers(1, steps_per_epoch=1), nonfinite_steps=1, weight_decay=0.5)
    (line,) = run(tmp_path, job).read_metrics()
    assert line["loss"] is None
    assert weights(one) == weights(other)
    assert one.norm.running_mean.tolist() == [0.0]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_batch_in_parts_is_the_same_step(tmp_path: Path, clip: float) -> None:
    found = []
    for parts in (1, 2, 3):
        objective = Line()
        objective.dropout.p = 0.0
        numbers = Numbers(5, size=14, steps_per_epoch=5)
        folder = run(tmp_path / str(parts), training(objective, numbers=numbers, accumulate=parts, batch_size=14, clip=clip))
        (line,) = folder.read_metrics()
        found.append([*weights(objective), line["loss"], line["error"]])
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)


def test_parts_of_a_batch_are_no_crumbs() -> None:
    with pytest.raises(ValueError, match="batch_size = 12 in accumulate = 4 parts: a part needs 4 pictures"):
        TrainOptions(batch_size=12, accumulate=4)


def test_the_average_takes_the_place_of_the_weights_at_the_end(tmp_path: Path) -> None:
    seen: list[list[float]] = []
    objective = Line()
    run(tmp_path, training(objective, average=0.5, progress=lambda done, total: seen.append(weights(objective))))
    expected = torch.tensor(weights(Line()), dtype=torch.float64)
    for step, value in enumerate(seen):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * torch.tensor(value, dtype=torch.float64)
    assert weights(objective) == pytest.approx(expected.tolist(), rel=1e-5)
    assert weights(objective) != pytest.approx(seen[-1], rel=1e-4)
    assert int(objective.steps) == 12


def test_a_resumed_average_is_that_of_a_straight_training(tmp_path: Path) -> None:
    straight, resumed = Line(), Line()
    run(tmp_path / "a", training(straight, average=0.9))

    def stop(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", training(Line(), average=0.9, progress=stop))
    run(tmp_path / "b", training(resumed, average=0.9))
    assert weights(resumed) == weights(straight)


def test_decay_goes_by_half_a_cosine_where_an_end_is_said() -> None:
    options = TrainOptions(weight_decay=0.04, weight_decay_end=0.4)
    optimizer = build_optimizer(nn.Linear(2, 2).parameters(), options)
    found = []
    for step in range(5):
        set_step(optimizer, options, step, 5)
        found.append([group["weight_decay"] for group in optimizer.param_groups])
    assert [decay for decay, _ in found] == pytest.approx([0.22 - 0.18 * math.cos(math.pi * step / 4) for step in range(5)])
    assert {none for _, none in found} == {0.0}
    set_step(optimizer, TrainOptions(weight_decay=0.04), 3, 5)
    assert optimizer.param_groups[0]["weight_decay"] == 0.04


def test_a_compiled_objective_is_the_same_function_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    plain, other = Line(), Line()
    run(tmp_path / "a", training(plain))
    assert not compiled
    run(tmp_path / "b", training(other, compile=True))
    assert len(compiled) == 1
    assert weights(plain) == weights(other)


def test_a_state_knows_how_many_steps_were_left_out(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run(tmp_path, training(Fragile(6, 7), nonfinite_steps=1))
    with pytest.raises(TrainingError, match="step 9 is not finite"):  # one more than is allowed, over all tries together
        run(tmp_path, training(Fragile(9), nonfinite_steps=2))
    assert State.__dataclass_fields__["left_out"].default == 0
