"""Rounds: every contestant takes some steps, one after the other, again and again; rates are compared within a round."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Paced(Protocol):
    """What rounds ask of a worker."""

    def run(self, seconds: float, *, warm: int, least: int) -> tuple[int, float]: ...


@dataclass(frozen=True)
class Length:
    """How long a contestant's turn is."""

    seconds: float = 2.0
    """At least so long."""
    least: int = 3
    """At least so many steps."""
    warm: int = 2
    """Steps before that, which are not timed: caches are another's, and a loader may have worked ahead."""


@dataclass
class Rates:
    """Images a second of each contestant, one number a round."""

    batch: int
    by_name: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, steps: int, seconds: float) -> None:
        self.by_name.setdefault(name, []).append(steps * self.batch / seconds)

    def median(self, name: str) -> float:
        return statistics.median(self.by_name[name])

    def ratios(self, ours: str, theirs: str) -> list[float]:
        """Ours over theirs, round by round."""
        return [a / b for a, b in zip(self.by_name[ours], self.by_name[theirs], strict=True)]


def take_rounds(
    workers: Mapping[str, Paced],
    *,
    rounds: int,
    length: Length,
    batch: int,
    say: Callable[[str], None] = lambda sentence: None,
) -> Rates:
    """Let all take their turn in each round; the order moves on by one a round, so that no one always follows the same."""
    rates, names = Rates(batch), list(workers)
    for number in range(rounds):
        for name in turned(names, number):
            rates.add(name, *workers[name].run(length.seconds, warm=length.warm, least=length.least))
        say(f"round {number + 1}: " + ", ".join(f"{name} {rates.by_name[name][-1]:.0f}" for name in names))
    return rates


def turned(names: Sequence[str], places: int) -> list[str]:
    """The same names in a circle, from another start."""
    start = places % len(names)
    return [*names[start:], *names[:start]]


def record(what: str, ratios: Sequence[float], *, at_least: float, device: str, commit: str) -> dict[str, object]:
    """One row of docs/speed.json: the median ratio, its least and greatest round, and what is aimed at."""
    return {
        "what": what,
        "ratio": round(statistics.median(ratios), 3),
        "target": f"≥ {at_least:g}",
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "runs": len(ratios),
        "device": device,
        "commit": commit,
    }
