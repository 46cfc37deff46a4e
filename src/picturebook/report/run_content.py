"""What a run's page says, as plain numbers and words. Shares are in [0, 1]; what was not measured is NaN."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from picturebook.report.confusion import ConfusedPair
from picturebook.report.content import Arm, Attention, Curve
from picturebook.report.reliability import Reliability


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class on the shown pictures."""

    name: str
    num: int
    """Its pictures."""
    accuracy: float
    low: float
    """Lower end of the accuracy's 95 % interval."""
    high: float
    baseline: float = math.nan
    """The baseline's accuracy on the pictures that both runs answered."""
    gain: float = math.nan
    """This run's accuracy minus the baseline's on these, in [−1, 1]."""
    gain_low: float = math.nan
    """Lower end of the gain's paired 95 % interval."""
    gain_high: float = math.nan


@dataclass(frozen=True, slots=True)
class Gain:
    """This run's student against the baseline's, picture by picture."""

    baseline: str
    """Name of the baseline's run folder."""
    num: int
    """Pictures that both answered."""
    gain: float
    """Difference of accuracies, in [−1, 1]."""
    low: float
    """Lower end of the paired 95 % interval."""
    high: float
    only_here: int
    """Pictures that this run alone names rightly."""
    only_there: int
    """Pictures that the baseline alone names rightly."""
    p: float
    """Exact McNemar p-value of "as many either way"."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How sure the student was, and how often it was right."""

    before: Reliability
    after: Reliability | None
    """With the temperature; None where nothing was fitted."""
    temperature: float
    note: str
    """What the temperature was fitted on and the curves are shown on."""


@dataclass(frozen=True, slots=True)
class AuditTable:
    """What the teacher reads."""

    verdict: str
    """PASS, WARN or FAIL."""
    headline: str
    reasons: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RunReport:
    """Everything on a run's page, in the order of the page. A part that is empty is left out, or its note stands alone."""

    title: str
    sentence: str
    """What was done and what came out, in one sentence."""
    warnings: tuple[str, ...]
    split: str
    """The pictures that numbers are told of: "test" or "validation"."""
    majority: float
    arms: tuple[Arm, ...]
    """The student first, then its teachers and references, by names that say what they may know."""
    gain: Gain | None
    curves_accuracy: tuple[Curve, ...]
    curves_loss: tuple[Curve, ...]
    """One a stage: losses of different stages are different functions."""
    classes: tuple[str, ...]
    confusion: Int64[np.ndarray, "classes classes"] | None
    """Counts: rows are labels, columns are predictions."""
    pairs: tuple[ConfusedPair, ...]
    class_rows: tuple[ClassRow, ...]
    calibration: Calibration | None
    calibration_note: str
    """Why there is none."""
    words: tuple[Attention, ...]
    """Where the words look, by what the teacher says."""
    words_note: str
    activation: tuple[Attention, ...]
    """Where the student looks."""
    activation_note: str
    agreement: str
    """How often student and teacher agree, or why that is not said."""
    audit: AuditTable | None
    setting: tuple[tuple[str, str], ...]
    cost: tuple[tuple[str, float], ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]
