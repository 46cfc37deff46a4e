"""From finished cells to the rows of the table: means over seeds, budgets, paired differences and what may be said of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from picturebook.report.study_content import CLAIM, ArmRow, ContrastRow
from picturebook.statistics import Interval, holm, t_interval
from picturebook.study.answers import Answers, read_answers, worst_verdict
from picturebook.study.budgets import student_budget, teacher_seconds
from picturebook.study.cells import Cell, Plan
from picturebook.study.intervals import with_intervals
from picturebook.study.running import NOT_RUN
from picturebook.study.verdicts import control_arms, settled

LEVEL = 0.05
"""Of the tests."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's finished cells and what they answered, by seed."""

    name: str
    cells: Mapping[int, Cell]
    answers: Mapping[int, Answers]
    row: ArmRow
    reasons: tuple[str, ...] = ()
    """Of the row's audit."""


def gather(plan: Plan, failed: Mapping[Path, str]) -> dict[str, Arm]:
    """Every arm, in the study's order, from the cells that are finished; budgets are compared with the baseline's."""
    arms = _with_controls({name: _arm(plan, name, failed) for name in plan.options.arms}, plan)
    baseline = arms[plan.options.baseline or next(iter(arms))]
    heirs = plan.options.tune.inherit
    return {
        name: replace(arm, row=_marked(arm.row, _budget_differences(arm, baseline, plan), heirs.get(name)))
        for name, arm in arms.items()
    }


def _with_controls(arms: Mapping[str, Arm], plan: Plan) -> dict[str, Arm]:
    """The arms with their teachers judged again where the study has controls of their targets (S1, S2).

    A control's teacher is that of the arm that it controls, and so is its verdict.
    """
    cells = {name: plan.cell(name, plan.options.seeds[0]) for name in arms}
    judged = dict(arms)
    for name, arm in arms.items():
        controls = control_arms(name, cells)
        rows = {short: _contrast(arm, arms[other], margin=1.0) for short, other in controls.items()}
        measured = {
            short: Interval(row.mean / 100, row.low / 100, row.high / 100)
            for short, row in rows.items()
            if row.seeds_interval is not None and row.mean is not None and row.low is not None and row.high is not None
        }
        if measured and (found := settled(arm.cells, measured)) is not None:
            for each in (name, *controls.values()):
                row = replace(judged[each].row, audit=found[0])
                judged[each] = replace(judged[each], row=row, reasons=found[1])
    return judged


def contrast_rows(plan: Plan, arms: Mapping[str, Arm]) -> list[ContrastRow]:
    """Every contrast, with p-values adjusted (Holm) for the number of those that may be claimed, or where none may of all."""
    margin = plan.options.equivalence_margin
    rows = {(a, b): _contrast(arms[a], arms[b], margin) for a, b in plan.options.pairs}
    claims = [pair for pair in rows if plan.options.num_shared(*pair) >= CLAIM]
    family = claims or [pair for pair, row in rows.items() if row.p is not None]
    # What is still to be measured counts too: the family is that of the study's file, whatever has run.
    for pair, p in zip(family, holm([1.0 if (found := rows[pair].p) is None else found for pair in family]), strict=True):
        rows[pair] = replace(rows[pair], p_holm=None if rows[pair].p is None else p)
    return [replace(row, reading=reading(row, margin)) for row in rows.values()]


def reading(row: ContrastRow, margin: float) -> str:
    """What may be said of a contrast."""
    if not row.runs:
        return "not measured"
    if row.n == 1:
        return "one seed: no claim, and no interval over seeds"
    if row.n < CLAIM:
        return f"no claim under {CLAIM} seeds"
    assert row.low is not None
    assert row.high is not None
    assert row.p_holm is not None
    assert row.p_equivalence is not None
    if row.p_holm <= LEVEL and (row.low > 0 or row.high < 0):
        return f"{row.a} is better" if row.low > 0 else f"{row.b} is better"
    if row.p_equivalence <= LEVEL and row.low < row.high and -margin < row.low and row.high < margin:
        return f"equal within {margin:g} points"
    return "undecided"


def _arm(plan: Plan, name: str, failed: Mapping[Path, str]) -> Arm:
    planned = {seed: plan.cell(name, seed) for seed in plan.options.seeds_of(name)}
    lost = tuple((seed, why) for seed, cell in planned.items() if (why := failed.get(cell.folder, NOT_RUN)) != NOT_RUN)
    cells = {seed: cell for seed, cell in planned.items() if cell.folder not in failed}
    answers = {seed: read_answers(cell) for seed, cell in cells.items()}
    audit, reasons = settled(cells, {}) or (None, ())
    if not answers:
        return Arm(name, cells, answers, ArmRow(name, (), failed=lost))
    accuracies = [each.accuracy for each in answers.values()]
    interval = t_interval(accuracies) if len(accuracies) > 1 else None
    row = ArmRow(
        name,
        runs=tuple((seed, each.accuracy) for seed, each in answers.items()),
        mean=mean(accuracies),
        sd=_sd(accuracies),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        nll=mean(each.nll for each in answers.values()),
        ece=mean(each.ece for each in answers.values()),
        seconds=mean(sum(each.seconds.values()) for each in answers.values()),
        stages=_mean_stages(answers.values()),
        teacher_seconds=mean(teacher_seconds(cell, plan) for cell in cells.values()),
        audit=audit,
        failed=lost,
    )
    return Arm(name, cells, answers, row, reasons)


def _mean_stages(answers: Iterable[Answers]) -> dict[str, float]:
    listed = [each.seconds for each in answers]
    names = dict.fromkeys(name for seconds in listed for name in seconds)
    return {name: mean(seconds.get(name, 0.0) for seconds in listed) for name in names}


def _budget_differences(arm: Arm, baseline: Arm, plan: Plan) -> tuple[dict[str, object], tuple[str, ...]]:
    """The arm's budget, and where it is not the baseline's of the same seed (of any seed, where they share none)."""
    if not arm.cells:
        return {}, ()
    shared = [seed for seed in arm.cells if seed in baseline.cells]
    seed = shared[0] if shared else next(iter(arm.cells))
    budget = student_budget(arm.cells[seed], plan)
    if not baseline.cells:
        return asdict(budget), ()
    other = baseline.cells[seed] if shared else next(iter(baseline.cells.values()))
    return asdict(budget), budget.differences(student_budget(other, plan))


def _marked(row: ArmRow, budget: tuple[dict[str, object], tuple[str, ...]], tuned: str | None) -> ArmRow:
    fields, differences = budget
    marks = [] if row.audit in (None, "PASS") else [f"teacher's audit says {row.audit}"]
    if row.audit == "FAIL":
        marks = ["label-privileged: teacher's audit says FAIL"]
    if differences:
        marks.append(f"unequal budget: {', '.join(differences)}")
    if tuned is not None:
        marks.append(f"settings were tuned for {tuned}")
    if row.failed:
        marks.append(f"{len(row.failed)} of {len(row.failed) + row.n} runs failed")
    return replace(row, budget=fields, budget_differences=differences, marks=tuple(marks))


def _contrast(a: Arm, b: Arm, margin: float) -> ContrastRow:
    seeds = [seed for seed in a.answers if seed in b.answers]
    runs = tuple((seed, a.answers[seed].accuracy - b.answers[seed].accuracy) for seed in seeds)
    audit = worst_verdict([a.row.audit, b.row.audit])
    row = ContrastRow(a.name, b.name, runs, audit=audit, marks=_contrast_marks(a, b))
    pairs = [(a.answers[seed], b.answers[seed]) for seed in seeds]
    return with_intervals(row, pairs, margin=margin) if pairs else row


def _contrast_marks(a: Arm, b: Arm) -> tuple[str, ...]:
    marks = [f"{arm.name}: {mark}" for arm in (a, b) for mark in arm.row.marks if not mark.startswith("unequal budget")]
    ours, theirs = a.row.budget, b.row.budget
    differing = [name.replace("_", " ") for name in ours if name in theirs and ours[name] != theirs[name]]
    return (*marks, *([f"unequal budgets: {', '.join(differing)}"] if differing else []))


def _sd(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
