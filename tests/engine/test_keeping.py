import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lines import Line, run, training, weights

from interrupting import PowerCutError
from picturebook.engine import TrainOptions
from picturebook.engine.checkpoints import Best
from picturebook.errors import InterruptionError

ACCURACIES = {4: 0.5, 8: 0.9, 12: 0.7}


def measuring(
    objective: Line, accuracies: dict[int, float] = ACCURACIES, nlls: dict[int, float] | None = None
) -> Callable[[], dict[str, float]]:
    """A validation whose numbers are a function of the objective's own count of steps, as real ones are of its weights."""

    def validate() -> dict[str, float]:
        step = int(objective.steps)
        return {"val_accuracy": accuracies[step], "val_nll": 1.0 if nlls is None else nlls[step]}

    return validate


def kept(folder: Path, accuracies: dict[int, float], nlls: dict[int, float] | None = None) -> tuple[int, list[float]]:
    """How many steps the weights have seen that a training keeps, and those weights."""
    objective = Line()
    run(folder, training(objective, validate=measuring(objective, accuracies, nlls), keep="best"))
    return int(objective.steps), weights(objective)


@pytest.mark.parametrize(
    ("accuracies", "nlls", "best"),
    [
        ((0.5, 0.9, 0.7), None, 8),
        ((0.9, 0.5, 0.7), None, 4),
        ((0.5, 0.7, 0.9), None, 12),
        ((0.9, 0.9, 0.9), (1.0, 0.4, 0.6), 8),
        ((0.9, 0.9, 0.9), (1.0, 1.0, 1.0), 4),  # equal in both: the first
        ((0.9, 0.9, 0.5), (math.nan, 2.0, 0.1), 8),
        ((0.0, 0.0, 0.0), (math.nan, math.nan, math.nan), 4),
    ],
)
def test_the_best_validation_is_that_of_the_highest_accuracy_and_of_equal_ones_the_lowest_nll(
    tmp_path: Path, accuracies: tuple[float, ...], nlls: tuple[float, ...] | None, best: int
) -> None:
    numbers = None if nlls is None else dict(zip((4, 8, 12), nlls, strict=True))
    assert kept(tmp_path, dict(zip((4, 8, 12), accuracies, strict=True)), numbers)[0] == best


def test_the_weights_that_are_kept_are_those_of_that_step_and_all_steps_are_taken(tmp_path: Path) -> None:
    seen: list[list[float]] = []
    objective = Line()
    folder = run(
        tmp_path,
        training(
            objective,
            validate=measuring(objective),
            keep="best",
            progress=lambda done, total: seen.append(weights(objective)),
        ),
    )
    assert weights(objective) == seen[7] != seen[11]
    assert [line["step"] for line in folder.read_metrics()] == [4, 8, 12]
    last = Line()
    run(tmp_path / "last", training(last, validate=measuring(last)))
    assert weights(last) == seen[11]


def test_only_what_was_validated_can_be_the_best(tmp_path: Path) -> None:
    objective = Line()
    run(tmp_path, training(objective, validate=measuring(objective, {8: 0.1, 12: 0.0}), keep="best", validations=2))
    assert int(objective.steps) == 8


@pytest.mark.parametrize("stop", [1, 4, 6, 8, 9, 12])
def test_a_resumed_training_keeps_what_a_straight_one_keeps(tmp_path: Path, stop: int) -> None:
    expected = kept(tmp_path / "straight", ACCURACIES)

    def interrupt(done: int, total: int) -> None:
        if done == stop:
            raise PowerCutError

    cut = Line()
    with pytest.raises(PowerCutError):
        run(tmp_path / "run", training(cut, validate=measuring(cut), keep="best", progress=interrupt))
    assert kept(tmp_path / "run", ACCURACIES) == expected
    assert kept(tmp_path / "run", {}) == expected  # finished: the best is loaded, nothing is measured again


@pytest.mark.parametrize("stop", [3, 6, 7, 11])
def test_a_training_that_is_stopped_within_an_epoch_validates_where_a_straight_one_does(tmp_path: Path, stop: int) -> None:
    accuracies = {8: 0.9, 12: 0.7}  # two validations: their times come within epochs 2 and 3
    straight, stopped, resumed = Line(), Line(), Line()
    expected = run(tmp_path / "a", training(straight, validate=measuring(straight, accuracies), keep="best", validations=2))
    with pytest.raises(InterruptionError):
        run(
            tmp_path / "b",
            training(
                stopped,
                validate=measuring(stopped, accuracies),
                keep="best",
                validations=2,
                progress=lambda done, total: os.kill(os.getpid(), signal.SIGTERM) if done == stop else None,
            ),
        )
    folder = run(tmp_path / "b", training(resumed, validate=measuring(resumed, accuracies), keep="best", validations=2))
    measured = [[line["step"] for line in found.read_metrics() if "val_accuracy" in line] for found in (expected, folder)]
    assert measured == [[8, 12], [8, 12]]
    assert (int(resumed.steps), weights(resumed)) == (8, weights(straight))


def test_a_copy_is_kept_and_not_the_weights_that_go_on(tmp_path: Path) -> None:
    best, objective = Best(), Line()
    best.consider(0.5, 1.0, step=3, objective=objective)
    before = {name: value.clone() for name, value in best.weights.items()}
    with torch.no_grad():
        objective.layer.weight.zero_()
    assert all(torch.equal(best.weights[name], value) for name, value in before.items())
    best.consider(0.5, 1.0, step=4, objective=objective)
    assert best.step == 3


def test_what_leaves_no_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="keep = 'best' needs validations"):
        TrainOptions(keep="best", validations=0)
    with pytest.raises(ValueError, match="keep = 'best' and average each choose the weights"):
        TrainOptions(keep="best", average=0.9)
