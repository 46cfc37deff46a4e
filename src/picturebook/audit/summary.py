"""An audit as rows of a table for people."""

from picturebook.audit.probes import Probe
from picturebook.audit.teacher import Audit

COLUMNS = ("probe", "what is asked", "value", "95 % interval", "without a leak", "note")


def headline(audit: Audit) -> str:
    """The verdict in one line, with the word that has to stand beside the teacher."""
    label = f", {audit.label}" if audit.label else ""
    return f"{audit.verdict}{label}: words {audit.kind.replace('_', ' ')}, {audit.num} pictures, {audit.num_classes} classes"


def summary_rows(audit: Audit) -> list[tuple[str, ...]]:
    """One row a probe, in the order of COLUMNS.

    R2 of a label-privileged teacher is left out of the table, which also holds image-only accuracies; `Audit.to_dict` has it.
    """
    return [_row(probe, audit) for probe in audit.probes]


def _row(probe: Probe, audit: Audit) -> tuple[str, ...]:
    name = probe.name if probe.temperature is None else f"{probe.name}, T = {probe.temperature:g}"
    if probe.id == "R2" and audit.label_privileged:
        return probe.id, name, "not shown", "–", probe.expectation, "label-privileged: not an accuracy beside R1"
    note = probe.note
    if audit.kind == "label_blind" and probe.id in ("L", "R8", "R12"):
        note = f"reads captions: decides nothing{'; ' + note if note else ''}"
    interval = "–" if probe.low is None else f"{_value(probe.low, probe)} – {_value(probe.high, probe)}"
    return probe.id, name, _value(probe.value, probe), interval, probe.expectation, note


def _value(value: float | None, probe: Probe) -> str:
    if value is None:
        return "–"
    if probe.id == "L":
        return f"{value:.3f}"
    return {"share": f"{100 * value:.1f} %", "bits": f"{value:.3f} bits", "points": f"{value:.1f} points"}[probe.unit]
