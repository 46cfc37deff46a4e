"""Numbers as a reader sees them. What is not finite was not measured, and is shown as a dash."""

import math
import re
from collections.abc import Mapping

UNMEASURED = "–"
_UNIT_GAP = "\N{NARROW NO-BREAK SPACE}"
_NUMBERED = re.compile(r"(-fold)?-\d+$")


def percent(share: float, *, digits: int = 1) -> str:
    """Give a share in [0, 1] as "63.4 %"."""
    return f"{100 * share:.{digits}f}{_UNIT_GAP}%" if math.isfinite(share) else UNMEASURED


def interval(low: float, high: float) -> str:
    """Give two shares in [0, 1] as "61.2–65.5 %"."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return UNMEASURED
    return f"{100 * low:.1f}–{percent(high)}"


def decimals(value: float, digits: int = 3) -> str:
    """Give a plain number with so many digits after the point."""
    return f"{value:.{digits}f}" if math.isfinite(value) else UNMEASURED


def duration(seconds: float) -> str:
    """Give a time as "0.4 s", "42 s", "3 min 20 s" or "1 h 05 min"."""
    if not math.isfinite(seconds):
        return UNMEASURED
    if seconds < 9.95:
        return f"{seconds:.1f}{_UNIT_GAP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest}{_UNIT_GAP}s"
    if minutes < 60:
        return f"{minutes}{_UNIT_GAP}min {rest:02d}{_UNIT_GAP}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{_UNIT_GAP}h {minutes:02d}{_UNIT_GAP}min"


def stage_times(seconds: Mapping[str, float]) -> str:
    """Give seconds by stage as "decode 0.5 s, head × 5 45 s": stages that differ by a number alone count together."""
    together: dict[str, list[float]] = {}
    for stage, taken in seconds.items():
        together.setdefault(_NUMBERED.sub("", stage), []).append(taken)
    counted = {f"{stage} × {len(parts)}" if len(parts) > 1 else stage: sum(parts) for stage, parts in together.items()}
    return ", ".join(f"{stage} {duration(taken)}" for stage, taken in counted.items())
