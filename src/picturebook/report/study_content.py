"""What a study's page says, as plain numbers and words. Accuracies and their differences are in points: 54.3, not 0.543."""

from dataclasses import dataclass, field
from typing import Any

CLAIM = 8
"""Seeds under which no claim is made."""


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm over its seeds. A number that was not measured is None."""

    name: str
    runs: tuple[tuple[int, float], ...]
    """(seed, test accuracy) of every finished run."""
    mean: float | None = None
    sd: float | None = None
    """Standard deviation over seeds (n − 1); None for one."""
    low: float | None = None
    """Lower end of the 95 % t interval over seeds."""
    high: float | None = None
    nll: float | None = None
    """Mean over seeds, in nats."""
    ece: float | None = None
    """Mean over seeds, in points."""
    seconds: float | None = None
    """Of one run, mean over seeds."""
    stages: dict[str, float] = field(default_factory=dict)
    """The same, by stage."""
    teacher_seconds: float | None = None
    """Seconds of what taught the student, other runs that it learnt from included."""
    audit: str | None = None
    """Worst verdict of the teacher's audit over seeds: PASS, WARN or FAIL; None where there was none."""
    budget: dict[str, Any] = field(default_factory=dict)
    """What the student was given: steps, batch size, epochs, views, image size, parameters, …"""
    budget_differences: tuple[str, ...] = ()
    """Where this is not what the baseline's student was given."""
    marks: tuple[str, ...] = ()
    """What a reader must know before comparing it."""
    failed: tuple[tuple[int, str], ...] = ()
    """(seed, last error sentence) of the runs that failed."""

    @property
    def n(self) -> int:
        """Finished runs."""
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class McNemar:
    """One seed's pictures that just one of two arms names rightly, and the exact p-value of "as many either way"."""

    seed: int
    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True, slots=True)
class ContrastRow:
    """Arm a minus arm b over the seeds that both finished. A number that was not measured is None."""

    a: str
    b: str
    runs: tuple[tuple[int, float], ...]
    """(seed, difference) of every pair."""
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    """Lower end of *the* interval: the wider of the two below."""
    high: float | None = None
    interval: str = "none"
    """Which of the two it is: "seeds" or "pictures"; "groups" are pictures drawn by group."""
    seeds_interval: tuple[float, float] | None = None
    """95 % t interval over seeds."""
    pictures_interval: tuple[float, float] | None = None
    """95 % paired bootstrap over test pictures, or over groups of them, of the mean over seeds."""
    p: float | None = None
    """Two-sided paired t over seeds."""
    p_holm: float | None = None
    """The same, adjusted for the number of contrasts."""
    p_equivalence: float | None = None
    """Two one-sided tests at the margin."""
    correlation: float | None = None
    """Between the pairs' accuracies: what pairing bought."""
    mcnemar: tuple[McNemar, ...] = ()
    audit: str | None = None
    """Worst verdict of the two arms."""
    reading: str = ""
    """What may be said of it."""
    marks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As it was asked for."""
        return f"{self.a} - {self.b}"

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class StudyReport:
    """Everything on a study's page, in the order of the page. A part that is empty is left out."""

    title: str
    sentence: str
    """The result in one sentence."""
    warnings: tuple[str, ...]
    contrasts: tuple[ContrastRow, ...]
    arms: tuple[ArmRow, ...]
    margin: float
    """Points within which two arms count as equal."""
    trials: tuple[tuple[str, ...], ...]
    """Rows of tuning: arm, values, validation accuracy, whether chosen."""
    setting: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]
