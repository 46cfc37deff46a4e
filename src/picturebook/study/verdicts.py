"""Verdicts that only a study can give: label-blind words pass when the student beats the controls of its teacher's targets."""

from collections.abc import Mapping
from typing import Any

from picturebook.audit.verdict import Evidence, judge
from picturebook.statistics import Interval
from picturebook.study.answers import worst_verdict
from picturebook.study.cells import Cell
from picturebook.study.records import read_record

CONTROLS = {"S1": "class_mean", "S2": "within_class_shuffle"}
"""The audit's name of a control → `targets.control`."""
Settled = tuple[str, tuple[str, ...]]
"""A verdict and its reasons."""


def control_arms(name: str, arms: Mapping[str, Cell]) -> dict[str, str]:
    """Arms that differ from the named one by `targets.control` alone, by the audit's name of the control.

    Args:
        name: the arm.
        arms: a cell of every arm, of one seed.
    """
    own = _without_control(arms[name])
    if own[1] != "none":
        return {}
    found: dict[str, str] = {}
    for other, cell in arms.items():
        settings, control = _without_control(cell)
        found |= {short: other for short, long in CONTROLS.items() if control == long and settings == own[0]}
    return found


def settled(cells: Mapping[int, Cell], controls: Mapping[str, Interval]) -> Settled | None:
    """The worst verdict over seeds and its reasons, judged again with what the controls' students showed; None without an audit.

    Args:
        cells: an arm's finished cells.
        controls: accuracy of the arm minus the control's, as fractions, over all seeds.
    """
    judged = [found for cell in cells.values() if (found := _judged(cell, controls)) is not None]
    worst = worst_verdict([verdict for verdict, _ in judged])
    return next((found for found in judged if found[0] == worst), None)


def _judged(cell: Cell, controls: Mapping[str, Interval]) -> Settled | None:
    kept = read_record(cell).audit
    if kept is None:
        return None
    if not controls or "evidence" not in kept:
        return str(kept["verdict"]), tuple(kept.get("reasons", ()))
    return judge(Evidence(**kept["evidence"], controls=controls))


def _without_control(cell: Cell) -> tuple[dict[str, Any], str]:
    settings = cell.options.model_dump()
    settings.pop("out")
    return settings, settings.pop("targets", {}).get("control", "none")
