"""What reading noticed about files, classes and texts without stopping for it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_NUM_SHOWN = 3

Level = Literal["converted", "skipped", "warned"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing that was noticed, with everything that it was noticed about."""

    level: Level
    """converted: used, after a change; skipped: not used; warned: used as it is, but look at it."""
    kind: str
    """A short phrase, such as "truncated file"."""
    names: tuple[str, ...]
    """All that are affected, by default files, by their path relative to the data root."""
    unit: str = "file"
    """What `names` are names of, in the singular."""

    @property
    def count(self) -> int:
        """How many are affected."""
        return len(self.names)


def sentence(finding: Finding) -> str:
    """Say a finding in one line, with its first names: "3 files skipped: truncated file (a.png, b.png, c.png)"."""
    verb = "noted" if finding.level == "warned" else finding.level
    return f"{quantity(finding.count, finding.unit)} {verb}: {finding.kind} ({first_names(finding.names)})"


def first_names(names: Iterable[str]) -> str:
    """List the first names, with an ellipsis where there are more."""
    listed = list(names)
    return ", ".join(listed[:_NUM_SHOWN]) + (", …" if len(listed) > _NUM_SHOWN else "")


def quantity(count: int, unit: str) -> str:
    """Put a number before a noun: "1 file", "2 files", "2 classes"."""
    plural = f"{unit}es" if unit.endswith("s") else f"{unit}s"
    return f"{count:,} {unit if count == 1 else plural}"


def by_kind(level: Level, kinds: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Gather (kind, file name) pairs into one finding a kind, in the order in which the kinds first come."""
    gathered: dict[str, list[str]] = {}
    for kind, name in kinds:
        gathered.setdefault(kind, []).append(name)
    return tuple(Finding(level, kind, tuple(names)) for kind, names in gathered.items())


def to_json(findings: Iterable[Finding]) -> str:
    """Write findings for `from_json`."""
    return json.dumps([[finding.level, finding.kind, list(finding.names), finding.unit] for finding in findings])


def from_json(text: str) -> tuple[Finding, ...]:
    """Read what `to_json` wrote."""
    return tuple(Finding(level, kind, tuple(names), unit) for level, kind, names, unit in json.loads(text))
