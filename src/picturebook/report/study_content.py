"""What a study's page says, as plain numbers and words. Accuracies and their differences are in points: 54.3, not 0.543."""

from dataclasses import dataclass, field
from typing import Any

from picturebook.report.content import Curve
from picturebook.report.reliability import Reliability

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
    """Lower end of *the* interval: the widest of those below."""
    high: float | None = None
    interval: str = "none"
    """Which of them it is: "seeds", "folds" or "pictures"; "groups" are pictures drawn by group."""
    seeds_interval: tuple[float, float] | None = None
    """95 % t interval over seeds."""
    folds_interval: tuple[float, float] | None = None
    """95 % t interval over the means of folds; None where no seeds share one, or all do."""
    pictures_interval: tuple[float, float] | None = None
    """95 % paired bootstrap over test pictures, or over groups of them, of the mean over seeds."""
    p: float | None = None
    """The largest: paired t over seeds, over folds, and what the bootstrap over pictures makes of "the mean is 0"; two-sided."""
    p_seeds: float | None = None
    """The first of them."""
    p_holm: float | None = None
    """The same, adjusted for the number of contrasts."""
    p_equivalence: float | None = None
    """Two one-sided tests at the margin, over seeds and over folds: the larger."""
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
class ClassGain:
    """How much more of a class an arm names rightly than the baseline, in points, a mean over seeds."""

    mean: float
    low: float | None
    """Lower end of the paired bootstrap's 95 % interval over test pictures; None where there are few, or all differ alike."""
    high: float | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class in the baseline and in the other arms."""

    name: str
    num: int
    """Its test pictures."""
    baseline: float
    """Accuracy in points, a mean over seeds."""
    gains: tuple[ClassGain | None, ...]
    """One an arm, in the order of `StudyDetails.compared`; None where it shares no seed or no pictures with the baseline."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One class taken for another, and how often by each arm."""

    label: str
    prediction: str
    num: int
    """Test pictures of the true class."""
    counts: tuple[float, ...]
    """Pictures in a run, a mean over seeds; one an arm, in the order of `StudyDetails.measured`."""


@dataclass(frozen=True, slots=True)
class ArmCalibration:
    """How sure an arm's students were, and how often they were right, all seeds together."""

    name: str
    before: Reliability
    after: Reliability | None
    """With each run's own temperature, fitted on its validation pictures; None where there were none."""
    temperatures: tuple[float, ...]
    """One a run, where they were fitted."""


@dataclass(frozen=True, slots=True)
class ArmAudit:
    """What the audits of an arm's teachers said."""

    name: str
    verdict: str
    """The worst over seeds, controls included."""
    reasons: tuple[str, ...]
    """Of the first seed with an audit."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """Where a run of the study is shown by itself."""

    name: str
    command: str
    """What writes its page."""
    link: str
    """The page as seen from the study's; "" where it was not written yet."""


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """A teacher of an arm; means over seeds, in percent of the test pictures."""

    arm: str
    name: str
    accuracy: float
    agreement: float
    """How often the student's likeliest class is the teacher's."""


@dataclass(frozen=True, slots=True)
class StudyDetails:
    """What lies behind the means: by epoch, by class, by certainty. Parts that are empty are left out."""

    curves: tuple[Curve, ...] = ()
    """Each arm's validation accuracy by epoch, in [0, 1], a mean over seeds."""
    baseline: str = ""
    compared: tuple[str, ...] = ()
    """Arms beside the baseline."""
    classes: tuple[ClassRow, ...] = ()
    measured: tuple[str, ...] = ()
    """Arms with a finished run."""
    mistakes: tuple[Mistake, ...] = ()
    calibrations: tuple[ArmCalibration, ...] = ()
    teachers: tuple[TeacherRow, ...] = ()
    audits: tuple[ArmAudit, ...] = ()
    pages: tuple[RunPage, ...] = ()


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
    details: StudyDetails = StudyDetails()
