"""Tuning on validation pictures: trials of some arms on one seed; the winner's values go to the arm and its heirs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from picturebook.errors import OptionError
from picturebook.study.cells import Cell, Plan
from picturebook.study.records import STUDENT, read_record
from picturebook.study.running import RunsCells


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of the space, tried on one arm."""

    arm: str
    number: int
    values: dict[str, Any]
    accuracy: float | None
    """Of the student on validation pictures after the last epoch, in [0, 1]; None where it failed."""
    nll: float | None
    """The same model's, in nats: it decides between equal accuracies."""
    error: str | None
    chosen: bool


def draw_points(space: dict[str, list[Any]], trials: int, seed: int) -> list[dict[str, Any]]:
    """`trials` different points of the grid, drawn at random (Bergstra & Bengio, JMLR 13, 2012); all, where it has no more."""
    sizes = [len(values) for values in space.values()]
    total = math.prod(sizes)
    drawn = range(total) if total <= trials else np.random.default_rng(seed).choice(total, trials, replace=False).tolist()
    points = []
    for number in drawn:
        places = np.unravel_index(number, sizes)
        points.append({path: values[int(place)] for (path, values), place in zip(space.items(), places, strict=True)})
    return points


def plan_trials(plan: Plan) -> dict[str, list[Cell]]:
    """Tuned arm → its trials, none of them run, an arm that teaches another before it; the heirs' settings are checked too.

    Raises:
        OptionError: a point is impossible for an arm, or arms wait for each other's trials.
    """
    tune = plan.options.tune
    points = draw_points(tune.space, tune.trials, plan.tuning_seed)
    for heir in tune.inherit:
        for number, values in enumerate(points):
            plan.trial(heir, number, values)
    return {arm: [plan.trial(arm, number, values) for number, values in enumerate(points)] for arm in _order(plan)}


def tune(plan: Plan, cells: RunsCells) -> tuple[Plan, list[Trial], dict[str, str]]:
    """Run the trials, arm after arm.

    Returns:
        The plan with the winners' values, every trial, and tuned arms of which no trial ended well, with the reason.

    Raises:
        OptionError: there are no labelled validation pictures.
    """
    options, trials, lost = plan.options.tune, list[Trial](), dict[str, str]()
    for arm in _order(plan):
        points = draw_points(options.space, options.trials, plan.tuning_seed)
        tried = [plan.trial(arm, number, values) for number, values in enumerate(points)]
        failed = cells.run(plan.ordered(tried))
        scored = [
            _score(cell, number, values, failed.get(cell.folder))
            for number, (cell, values) in enumerate(zip(tried, points, strict=True))
        ]
        best = _best(scored)
        trials += [t if t is not best else _chosen(t) for t in scored]
        heirs = [arm, *(heir for heir, source in options.inherit.items() if source == arm)]
        if best is None:
            lost |= dict.fromkeys(heirs, f"no trial of {arm} ended well: {scored[0].error}")
        else:
            plan = plan.with_values(heirs, best.values)
    return plan, trials, lost


def _order(plan: Plan) -> list[str]:
    """Tuned arms, each after those whose trials settle what its teachers are."""
    order, waiting = list[str](), list(plan.options.tune.arms)
    while waiting:
        unsettled = {*waiting, *(heir for heir, source in plan.options.tune.inherit.items() if source in waiting)}
        ready = [arm for arm in waiting if not _teachers(plan, arm) & unsettled]
        if not ready:
            raise OptionError(
                f"{plan.source}: tune: {' and '.join(waiting)} cannot be tried, since what they learn from waits for these "
                "trials: tune or let inherit fewer arms."
            )
        order.append(ready[0])
        waiting.remove(ready[0])
    return order


def _teachers(plan: Plan, arm: str) -> set[str]:
    return {cell.arm for cell in plan.ordered([plan.trial(arm, 0, {})])} - {arm}


def _score(cell: Cell, number: int, values: dict[str, Any], error: str | None) -> Trial:
    if error is not None:
        return Trial(cell.arm, number, values, None, None, error, chosen=False)
    student = read_record(cell).models[STUDENT]
    if "val" not in student:
        raise OptionError("tune: these data have no labelled validation pictures to choose on: raise data.split.val.")
    return Trial(cell.arm, number, values, student["val"]["accuracy"], student["val"]["nll"], None, chosen=False)


def _best(trials: Sequence[Trial]) -> Trial | None:
    whole = [trial for trial in trials if trial.accuracy is not None]
    return max(whole, key=lambda trial: (trial.accuracy, -(trial.nll or 0.0)), default=None)


def _chosen(trial: Trial) -> Trial:
    return Trial(trial.arm, trial.number, trial.values, trial.accuracy, trial.nll, trial.error, chosen=True)
