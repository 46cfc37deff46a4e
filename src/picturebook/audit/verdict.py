"""PASS, WARN or FAIL, and why.

Words that may come from the label (bank, privileged, unknown; image_only has none) are judged by what they decide. Words that
were written without the label may decide a lot: they are judged by where they come from and by what the student made of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from picturebook.audit.audited import Kind
from picturebook.statistics import Interval

Verdict = Literal["PASS", "WARN", "FAIL"]

PASS_LEAK, FAIL_LEAK = 0.02, 0.20
"""Of L."""
PASS_FOLLOW = 0.02
"""Of the follow rate, above chance."""
PASS_TEXT, FAIL_TEXT = 0.02, 0.20
"""Of I_text, as a share of log2 K."""
FAIL_GAP = 5.0
"""Of the privilege gap, in points."""
FAIL_CLASS_WORDS = 0.01
"""Of texts with a class's name, where the source says that they are masked."""
MANY_CLASS_WORDS = 0.5
"""Of texts with a class's name, where the source does not say that they are masked: worth a sentence."""
CONTROLS = ("S1", "S2")
"""Student-side controls that a label-blind teacher's student has to beat."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict looks at."""

    kind: Kind
    num: int
    """Audited pictures."""
    num_classes: int
    chance: float
    leak: float | None
    """L; None where all audited pictures are of one class."""
    follow: float | None
    """R6b; None where it does not apply."""
    text_bits: float
    """I_text, the highest over temperatures."""
    gap: float | None
    """R12 in points; None where it does not apply."""
    label_blindness: str = "declared"
    targets_out_of_fold: bool = False
    calibrated: bool = False
    claims_masked: bool = False
    class_words: float | None = None
    """R14b; None where it was not run."""
    controls: Mapping[str, Interval] = field(default_factory=dict)
    gap_low: float | None = None
    """Lower end of the gap's 95 % interval, in points; None where nothing was drawn."""
    gap_num: int | None = None
    """Pictures that the gap was measured on; None: all audited ones."""

    @property
    def text_share(self) -> float:
        """I_text as a share of log2 K."""
        return self.text_bits / math.log2(self.num_classes)

    @property
    def gap_measured(self) -> int:
        """Pictures that were asked with the text of every class."""
        return self.num if self.gap_num is None else self.gap_num

    @property
    def gap_is_sure(self) -> bool:
        """Whether the gap may decide: of few pictures, only where its whole interval lies at the limit or past it."""
        return self.gap_measured >= self.num_needed or self.gap_low is None or self.gap_low >= FAIL_GAP

    @property
    def num_needed(self) -> int:
        """Pictures that a PASS needs."""
        return num_for_a_pass(self.num_classes)


def num_for_a_pass(num_classes: int) -> int:
    """Pictures that have to be audited before a PASS can be given."""
    return max(1000, 20 * num_classes)


def judge(evidence: Evidence) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and its reasons, as sentences."""
    if evidence.kind == "label_blind":
        failures, doubts = _label_blind_failures(evidence), _label_blind_doubts(evidence)
        reasons = [_reads(evidence), *_named(evidence)]
    else:
        failures, doubts, reasons = _failures(evidence), _doubts(evidence), []
    if failures:
        return "FAIL", (*failures, *reasons, _AFTER_FAIL)
    if evidence.num < evidence.num_needed:
        doubts.insert(0, f"{evidence.num} pictures were audited, too few to be sure: a PASS needs {evidence.num_needed}.")
    if doubts:
        return "WARN", (*doubts, *reasons)
    return "PASS", (_why_pass(evidence), *reasons)


_AFTER_FAIL = (
    "Label-privileged: its accuracy may not stand beside an image-only one, and its students need the controls S1, S2 and S3 "
    "(class-mean targets, targets shuffled within classes, label smoothing of equal entropy)."
)


def _failures(evidence: Evidence) -> list[str]:
    failures = []
    if evidence.leak is not None and evidence.leak >= FAIL_LEAK:
        failures.append(f"On pictures of noise it says the words' class: L = {evidence.leak:.3f}, FAIL from {FAIL_LEAK}.")
    if evidence.text_share >= FAIL_TEXT:
        failures.append(
            f"The words decide {evidence.text_bits:.2f} bits (R8), {evidence.text_share:.2f} of log2 K, FAIL from {FAIL_TEXT}."
        )
    if evidence.gap is not None and evidence.gap >= FAIL_GAP and evidence.gap_is_sure:
        failures.append(f"Being told is worth {evidence.gap:.1f} points over not being told (R12), FAIL from {FAIL_GAP:.0f}.")
    return failures


def _doubts(evidence: Evidence) -> list[str]:
    doubts = []
    if evidence.leak is None:
        doubts.append("All audited pictures are of one class, so the leak index cannot be measured.")
    elif evidence.leak > PASS_LEAK:
        doubts.append(f"On pictures of noise it tends to the words' class: L = {evidence.leak:.3f}, PASS to {PASS_LEAK}.")
    if evidence.follow is not None and evidence.follow > evidence.chance + PASS_FOLLOW:
        limit = evidence.chance + PASS_FOLLOW
        doubts.append(f"It follows words of another class {evidence.follow:.3f} of the time (R6b), PASS to {limit:.3f}.")
    if evidence.gap is not None and evidence.gap >= FAIL_GAP and not evidence.gap_is_sure:
        doubts.append(
            f"Being told is worth {evidence.gap:.1f} points over not being told (R12), {evidence.gap_low:.1f} at least: of "
            f"{evidence.gap_measured} pictures that is not surely {FAIL_GAP:.0f}, from which it is FAIL."
        )
    if evidence.text_share > PASS_TEXT:
        doubts.append(f"The words decide {evidence.text_share:.3f} of log2 K (R8), PASS to {PASS_TEXT}.")
    return doubts


def _label_blind_failures(evidence: Evidence) -> list[str]:
    failures = []
    if evidence.label_blindness == "disproved":
        failures.append("The words change when labels are removed or permuted, so they are not label-blind.")
    if evidence.claims_masked and evidence.class_words is not None and evidence.class_words > FAIL_CLASS_WORDS:
        found = f"{100 * evidence.class_words:.1f} %"
        failures.append(f"{found} of the texts hold a class's name (R14b) although they are said to be masked, FAIL above 1 %.")
    return failures


def _label_blind_doubts(evidence: Evidence) -> list[str]:
    doubts = []
    if evidence.claims_masked and evidence.class_words is None:
        doubts.append("The words are said to be masked, and R14 was not run: give them as sentences.")
    if not evidence.targets_out_of_fold:
        doubts.append("The targets are not out of fold: the heads have learnt from the rows that they label.")
    if not evidence.calibrated:
        doubts.append("The targets are not calibrated.")
    for name in CONTROLS:
        difference = evidence.controls.get(name)
        if difference is None:
            doubts.append(f"The student-side control {name} was not run.")
        elif difference.low <= 0:
            points = f"{100 * difference.mean:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
            doubts.append(f"The student does not beat the control {name}: {points} points.")
    return doubts


def _reads(evidence: Evidence) -> str:
    gap = "" if evidence.gap is None else f", G = {evidence.gap:.1f} points"
    leak = "" if evidence.leak is None else f"L = {evidence.leak:.2f}, "
    return (
        f"Reads captions: {leak}I_text = {evidence.text_share:.2f} of log2 K{gap}. "
        "For label-blind words these say how much they are read and decide nothing."
    )


def _named(evidence: Evidence) -> list[str]:
    """Whoever writes of nearly every picture what its class is called may have known it, which no probe can tell."""
    if evidence.claims_masked or evidence.class_words is None or evidence.class_words < MANY_CLASS_WORDS:
        return []
    return [
        f"{100 * evidence.class_words:.0f} % of the texts hold a class's name (R14b): be sure that whoever wrote them did not "
        "know the classes, or take these words out by text.mask_class_words = true."
    ]


def _why_pass(evidence: Evidence) -> str:
    if evidence.kind == "label_blind":
        return (
            f"The words are {evidence.label_blindness} label-blind, the targets out of fold and calibrated, and the student "
            "beats S1 and S2."
        )
    if evidence.kind == "image_only":
        return "No words enter: the probes of words do not apply."
    return f"L = {evidence.leak:.3f} and I_text = {evidence.text_share:.3f} of log2 K: the words do not tell the answer."
