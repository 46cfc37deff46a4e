"""The study's tables in the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from picturebook.data.findings import quantity
from picturebook.report.study_content import CLAIM, ArmRow, ContrastRow
from picturebook.report.wording import UNMEASURED, duration, stage_times
from picturebook.study.cells import Cell
from picturebook.study.records import known

WARNING = "⚠"
"""Stands before everything that a reader must know before comparing."""


def study_tables(
    arms: Sequence[ArmRow], contrasts: Sequence[ContrastRow], warnings: Sequence[str], *, margin: float
) -> RenderableType:
    """Arms, contrasts, budgets, and what is to be known before they are believed."""
    parts: list[RenderableType] = [_arms(arms)]
    if contrasts:
        parts.append(_contrasts(contrasts, margin))
        parts.append(_NOTE)
    parts += [_budgets(arms), *(f"{WARNING} {warning}" for warning in warnings)]
    return Group(*parts)


_NOTE = (
    "Differences in points. The interval is the widest of t over seeds, t over folds that seeds share, and bootstrap over test\n"
    "pictures (groups, if there are any). p: the largest of these three's, Holm over contrasts. p equal: two one-sided tests at\n"
    "the margin. r: correlation between the pairs. McNemar: smallest and largest p of single seeds, secondary. Last epoch\n"
    '(but for train.keep = "best"), test pictures.'
)


def plan_table(cells: Sequence[Cell], out: str, warnings: Sequence[str]) -> RenderableType:
    """What a study would run, in order, and what is to be known of it."""
    table = Table("#", "run", "seed", "learns from", "folder", "state", title=f"study in {out}", title_justify="left")
    for number, cell in enumerate(cells, start=1):
        said = planned(cell)
        table.add_row(str(number), cell.name, str(cell.seed), "; ".join(said["learns_from"]), said["folder"], said["state"])
    to_do = f"{quantity(len(cells), 'run')}, {sum(not known(cell) for cell in cells)} of them to do."
    return Group(table, to_do, *(f"{WARNING} {warning}" for warning in warnings))


def planned(cell: Cell) -> dict[str, Any]:
    """A cell before the study runs."""
    state = "there" if known(cell) else "begun" if cell.run.settings.is_file() else "to do"
    teachers = [f"{arm}, seed {seed}" for arm, seed in cell.needs]
    return {"run": cell.name, "seed": cell.seed, "learns_from": teachers, "folder": str(cell.folder), "state": state}


def points(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """A number with so many digits after the point, or a dash."""
    if value is None:
        return UNMEASURED
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def span(ends: tuple[float | None, float | None] | None, *, sign: bool = False) -> str:
    """The ends of an interval, or a dash."""
    if ends is None or None in ends:
        return UNMEASURED
    return f"{points(ends[0], 2 if sign else 1, sign=sign)} … {points(ends[1], 2 if sign else 1, sign=sign)}"


def probability(value: float | None) -> str:
    """A p-value, or a dash."""
    return UNMEASURED if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def mcnemar_range(row: ContrastRow) -> str:
    """Smallest and largest p of the single seeds, or a dash."""
    values = [test.p for test in row.mcnemar]
    return f"{probability(min(values))} … {probability(max(values))}" if values else UNMEASURED


def _arms(arms: Sequence[ArmRow]) -> Table:
    table = Table("arm", "n", "test accuracy %", "sd", "95 % over seeds", "NLL", "ECE %", "seconds", "every run", "mark")
    for arm in arms:
        runs = " ".join(points(accuracy) for _, accuracy in arm.runs)
        seconds = points(arm.seconds, 0)
        numbers = (points(arm.mean), points(arm.sd, 2), span((arm.low, arm.high)), points(arm.nll, 3), points(arm.ece), seconds)
        table.add_row(arm.name, str(arm.n), *numbers, runs, _marks(arm.marks))
    return table


def _contrasts(contrasts: Sequence[ContrastRow], margin: float) -> Table:
    table = Table(
        "contrast",
        "n",
        "points",
        "sd",
        "95 % interval",
        "over",
        "p (Holm)",
        f"p equal ±{margin:g}",
        "r",
        "McNemar",
        "audit",
        "reading",
    )
    for row in contrasts:
        numbers = (points(row.mean, 2, sign=True), points(row.sd, 2), span((row.low, row.high), sign=True), row.interval)
        tests = (f"{probability(row.p)} ({probability(row.p_holm)})", probability(row.p_equivalence), points(row.correlation, 2))
        words = row.reading if not row.marks else f"{row.reading}\n{_marks(row.marks)}"
        table.add_row(row.name, str(row.n), *numbers, *tests, mcnemar_range(row), row.audit or UNMEASURED, words)
    return table


def _budgets(arms: Sequence[ArmRow]) -> Table:
    table = Table(
        "arm",
        "student steps",
        "pretraining",
        "batch",
        "epochs",
        "views",
        "px",
        "parameters",
        "trials",
        "teacher cost",
        "time by stage",
    )
    for arm in arms:
        if not arm.budget:
            continue
        fields = ("steps", "pretraining_steps", "batch_size", "epochs", "views", "image_size", "parameters", "trials")
        name = f"{WARNING} {arm.name}" if arm.budget_differences else arm.name
        table.add_row(
            name, *(f"{arm.budget[field]:,}" for field in fields), duration(arm.teacher_seconds or 0.0), stage_times(arm.stages)
        )
    return table


def _marks(marks: Sequence[str]) -> str:
    return "\n".join(f"{WARNING} {mark}" for mark in marks)


def study_warnings(arms: Sequence[ArmRow], contrasts: Sequence[ContrastRow], num_missing: int = 0) -> list[str]:
    """What is wrong with the study as a whole, or with an arm.

    Args:
        arms: as measured.
        contrasts: as measured; the seeds of those that have most are what the study has.
        num_missing: runs that have not been run yet.
    """
    warnings = []
    if num_missing:
        warnings.append(f"Runs still to come: {num_missing}. These are the numbers so far.")
    num_seeds = max((row.n for row in contrasts or arms), default=0)
    if num_seeds == 1:
        warnings.append(
            "One seed: there is no interval over seeds, only over test pictures, and another seed may turn the order."
        )
    elif 0 < num_seeds < CLAIM:
        warnings.append(f"{num_seeds} seeds: no claim under {CLAIM} seeds.")
    marked: dict[str, list[str]] = {}
    for arm in arms:
        for mark in arm.marks:
            marked.setdefault(mark, []).append(arm.name)
    warnings += [f"{', '.join(names)}: {mark}." for mark, names in marked.items()]
    failures = [(arm, seed, error) for arm in arms for seed, error in arm.failed]
    return warnings + [f"{arm.name}, seed {seed} failed: {error}" for arm, seed, error in failures]
