"""What lies behind a study's means: curves, classes, mistakes, certainty, audits, and each run's own page."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from picturebook.report.content import Curve
from picturebook.report.reliability import reliability
from picturebook.report.study_content import (
    ArmAudit,
    ArmCalibration,
    ClassGain,
    ClassRow,
    Mistake,
    RunPage,
    StudyDetails,
    TeacherRow,
)
from picturebook.statistics import paired_bootstrap
from picturebook.study.analysis import Arm
from picturebook.study.answers import Answers
from picturebook.study.cells import Plan
from picturebook.types import LABEL_PRIVILEGED

_MOST_MISTAKES = 15
_FEWEST = 5
"""Pictures, or groups of them, under which no interval of a class is given."""


def study_details(plan: Plan, arms: Mapping[str, Arm]) -> StudyDetails:
    """Gather them from the finished cells; without any, everything is empty."""
    measured = [arm for arm in arms.values() if arm.answers]
    baseline = arms[plan.options.baseline or next(iter(arms))]
    asked = [*dict.fromkeys(name for pair in plan.options.pairs for name in pair), *arms]  # what is asked first is seen first
    compared = sorted((arm for arm in measured if arm is not baseline), key=lambda arm: asked.index(arm.name))
    if not measured:
        return StudyDetails()
    classes = next(iter(measured[0].answers.values())).asked.classes
    return StudyDetails(
        curves=_curves(measured),
        baseline=baseline.name,
        compared=tuple(arm.name for arm in compared),
        classes=_class_rows(classes, baseline, compared) if baseline.answers and compared else (),
        measured=tuple(arm.name for arm in measured),
        mistakes=_mistakes(classes, measured),
        calibrations=tuple(_calibration(arm) for arm in measured),
        teachers=tuple(row for arm in measured for row in _teachers(arm)),
        audits=tuple(_audit(arm) for arm in measured if arm.row.audit is not None),
        pages=tuple(page for arm in measured for page in _pages(plan, arm, baseline)),
    )


def _curves(arms: Sequence[Arm]) -> tuple[Curve, ...]:
    """Means over seeds, validation by validation; one that only some of them had is left out.

    A validation falls on a step, so that folds of different size have theirs at epochs that differ by a little.
    """
    curves = []
    for arm in arms:
        together = zip(*(answers.validations for answers in arm.answers.values()), strict=False)
        alike = [points for points in together if max(points)[0] <= 1.1 * min(points)[0]]
        if alike:
            points = tuple((mean(epoch for epoch, _ in seeds), mean(accuracy for _, accuracy in seeds)) for seeds in alike)
            curves.append(Curve(arm.name, points))
    return tuple(curves)


def _class_rows(classes: Sequence[str], baseline: Arm, compared: Sequence[Arm]) -> tuple[ClassRow, ...]:
    first = next(iter(baseline.answers.values()))
    rows = []
    for number, name in enumerate(classes):
        inside = {seed: answers.asked.labels == number for seed, answers in baseline.answers.items()}
        reached = [float(answers.right[inside[seed]].mean()) for seed, answers in baseline.answers.items() if inside[seed].any()]
        if not reached:
            continue
        gains = tuple(_class_gain(arm, baseline, number) for arm in compared)
        rows.append(ClassRow(name, int((first.asked.labels == number).sum()), 100 * mean(reached), gains))
    return tuple(rows)


def _class_gain(arm: Arm, baseline: Arm, number: int) -> ClassGain | None:
    pairs = [(answers, baseline.answers[seed]) for seed, answers in arm.answers.items() if seed in baseline.answers]
    if not pairs or not all(ours.same_pictures(theirs) for ours, theirs in pairs):
        return None
    chosen = [(ours, theirs, ours.asked.labels == number) for ours, theirs in pairs]
    chosen = [each for each in chosen if each[2].any()]
    if not chosen:
        return None
    right = [[100.0 * each[side].right[each[2]] for each in chosen] for side in (0, 1)]
    gain = mean(float((ours - theirs).mean()) for ours, theirs in zip(*right, strict=True))
    units = [ours.asked.units[inside] for ours, _, inside in chosen]
    differences = np.concatenate([ours - theirs for ours, theirs in zip(*right, strict=True)])
    if len(np.unique(np.concatenate(units))) < _FEWEST or np.ptp(differences) == 0:
        return ClassGain(gain, None, None)
    interval = paired_bootstrap(*right, clusters=units)
    return ClassGain(gain, interval.low, interval.high)


def _mistakes(classes: Sequence[str], arms: Sequence[Arm]) -> tuple[Mistake, ...]:
    """The most frequent ones over all arms, each arm's runs counting together as one."""
    counts = np.stack([np.mean([_confusion(each, len(classes)) for each in arm.answers.values()], axis=0) for arm in arms])
    sizes = counts.sum(axis=2).max(axis=0)
    total = counts.sum(axis=0)
    np.fill_diagonal(total, 0)
    order = np.argsort(-total, axis=None, kind="stable")[:_MOST_MISTAKES]
    places = [divmod(int(place), len(classes)) for place in order]
    return tuple(
        Mistake(classes[label], classes[other], round(sizes[label]), tuple(counts[:, label, other].tolist()))
        for label, other in places
        if total[label, other] > 0
    )


def _confusion(answers: Answers, num: int) -> np.ndarray:
    """[num, num], rows are labels, columns are predictions."""
    return np.bincount(answers.asked.labels * num + answers.answered.predictions, minlength=num * num).reshape(num, num)


def _calibration(arm: Arm) -> ArmCalibration:
    right = np.concatenate([each.right for each in arm.answers.values()])
    answers = [each.answered for each in arm.answers.values()]
    calibrated = [each.calibrated for each in answers if each.calibrated is not None]
    return ArmCalibration(
        arm.name,
        reliability(np.concatenate([each.certainty for each in answers]), right),
        reliability(np.concatenate(calibrated), right) if len(calibrated) == len(answers) else None,
        tuple(each.temperature for each in answers if each.temperature is not None),
    )


def _teachers(arm: Arm) -> list[TeacherRow]:
    """What its teachers answer; not of one that was told the label, whose accuracy may not stand beside the others."""
    if arm.row.audit == "FAIL":
        return []
    numbers: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for answers in arm.answers.values():
        for name, said in answers.teachers.items():
            if not name.endswith(LABEL_PRIVILEGED):
                numbers[name].append(said)
    return [TeacherRow(arm.name, name, *map(mean, zip(*said, strict=True))) for name, said in numbers.items()]


def _audit(arm: Arm) -> ArmAudit:
    assert arm.row.audit is not None
    return ArmAudit(arm.name, arm.row.audit, arm.reasons)


def _pages(plan: Plan, arm: Arm, baseline: Arm) -> list[RunPage]:
    """The first seed's run against the baseline's of that seed, and what other pages were written."""
    out, pages = Path(plan.options.out), []
    for seed, cell in arm.cells.items():
        page = cell.folder / "report.html"
        if not page.is_file() and seed != next(iter(arm.cells)):
            continue
        against = [] if arm is baseline or seed not in baseline.cells else ["--baseline", str(baseline.cells[seed].folder)]
        command = shlex.join(["picturebook", "report", str(cell.folder), *against])
        link = page.relative_to(out).as_posix() if page.is_file() else ""
        pages.append(RunPage(cell.name, command, link))
    return pages
