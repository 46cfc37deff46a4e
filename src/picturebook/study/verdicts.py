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


def settled(cells: Mapping[int, Cell], controls: Mapping[str, Interval]) -> str | None:
    """The worst verdict over seeds, judged again with what the controls' students showed.

    Args:
        cells: an arm's finished cells.
        controls: accuracy of the arm minus the control's, as fractions, over all seeds.
    """
    return worst_verdict([_verdict(cell, controls) for cell in cells.values()])


def _verdict(cell: Cell, controls: Mapping[str, Interval]) -> str | None:
    kept = read_record(cell).audit
    if kept is None:
        return None
    if not controls or "evidence" not in kept:
        return str(kept["verdict"])
    verdict, _ = judge(Evidence(**kept["evidence"], controls=controls))
    return verdict


def _without_control(cell: Cell) -> tuple[dict[str, Any], str]:
    settings = cell.options.model_dump()
    settings.pop("out")
    return settings, settings.pop("targets", {}).get("control", "none")
