"""What a cell cost: the student's budget, which arms must share to be compared, and the teacher's, which is stated."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.tokens import HELD_OUT
from picturebook.study.cells import Cell, Plan
from picturebook.study.records import STUDENT, read_record

_NOBODYS = ("decode", "evaluate", HELD_OUT, "probe", "caption")
"""Stages that are neither the student's nor the teacher's."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a student was given. Arms in which a field differs are no equals, and are marked."""

    steps: int
    """Optimiser steps of the student."""
    pretraining_steps: int
    """Optimiser steps of its network before."""
    batch_size: int
    epochs: int
    views: int
    """Different views of each picture."""
    image_size: int
    """Pixels a side."""
    parameters: int
    optimizer: str
    precision: str
    """What it computes in."""
    keep: str
    """Whose weights it has: the last epoch's, or the best on validation pictures."""
    average: float
    """Of a running average of its weights; 0 for none."""
    sampling: str
    labelled_share: float
    """Of the training pictures' labels, that are known."""
    unlabelled: str
    """Whether pictures without a label stay."""
    label_noise: str
    class_text: str
    """What is said of the classes to teach the teacher's head, which is supervision beside the labels."""
    alignment_text: str
    """Words beside the student."""
    smoothing_text: str
    """Words that smooth its labels."""
    augmentation: dict[str, Any]
    """The settings of its views."""
    trials: int
    """Points that were tried on validation pictures to find its settings, inherited ones too."""

    def differences(self, other: "Budget") -> tuple[str, ...]:
        """What differs from another arm's, as "steps 200, not 100"."""
        ours, theirs = asdict(self), asdict(other)
        return tuple(
            name if isinstance(ours[name], dict) else f"{name.replace('_', ' ')} {ours[name]}, not {theirs[name]}"
            for name in ours
            if ours[name] != theirs[name]
        )


def student_budget(cell: Cell, plan: Plan) -> Budget:
    """The budget of a finished cell's student."""
    options, record = cell.options, read_record(cell)
    supervision = options.data.supervision
    before = [read_record(each) for each in plan.ordered([cell]) if str(each.folder) == options.student.init]
    return Budget(
        steps=record.steps,
        pretraining_steps=record.pretraining_steps + sum(each.pretraining_steps + each.steps for each in before),
        batch_size=options.train.batch_size,
        epochs=options.train.epochs,
        views=options.train.distinct_views,
        image_size=options.student.image_size,
        parameters=record.parameters,
        optimizer=options.train.optimizer,
        precision=options.precision,
        keep=options.train.keep,
        average=options.train.average,
        sampling=options.train.sampling,
        labelled_share=supervision.labelled_share,
        unlabelled=supervision.unlabelled,
        label_noise=f"{supervision.label_noise:g} {supervision.noise_kind}" if supervision.label_noise else "none",
        class_text=_source(options, "class_text"),
        alignment_text=_source(options, "alignment_text"),
        smoothing_text=_source(options, "smoothing_text"),
        augmentation=options.views.model_dump(mode="json"),
        trials=num_trials(cell.arm, plan),
    )


def _source(options: RecipeOptions, words: str) -> str:
    return str(getattr(options, words).source) if hasattr(options, words) else "none"


def num_trials(arm: str, plan: Plan) -> int:
    """Trials that an arm's settings come from."""
    tune = plan.options.tune
    total = 1
    for values in tune.space.values():
        total *= len(values)
    return min(total, tune.trials) if arm in tune.arms or arm in tune.inherit else 0


def teacher_seconds(cell: Cell, plan: Plan) -> float:
    """Seconds that went into what the student learnt from: the run's own other stages, and all of the runs that it names.

    What a cache held counts as if each of them had made it.
    """
    others = [teacher for teacher in plan.ordered([cell]) if teacher.folder != cell.folder]
    records = [read_record(each) for each in (cell, *others)]
    cached = sum(sum(record.cached_seconds.values()) for record in records)
    return cached + teaching_seconds(records[0].seconds, [record.seconds for record in records[1:]])


def teaching_seconds(own: Mapping[str, float], others: Iterable[Mapping[str, float]]) -> float:
    """The same from seconds by stage: `own` of the student's run, `others` of the runs that it learnt from."""
    here = [seconds for name, seconds in own.items() if name not in (STUDENT, *_NOBODYS)]
    named = [seconds for run in others for name, seconds in run.items() if name not in _NOBODYS]
    return float(sum(here) + sum(named))
