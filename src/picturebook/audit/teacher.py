"""The audit of one teacher: ask every probe, judge, keep the numbers."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from picturebook.audit.asking import Asker, Words
from picturebook.audit.audited import READS_OWN_WORDS, Answer, AuditData, Kind
from picturebook.audit.influence import (
    class_word_probes,
    gap_probe,
    influence_probes,
    num_swept,
    softness_probes,
    sweep,
    text_probes,
)
from picturebook.audit.probes import (
    Inquiry,
    Probe,
    accuracy_probe,
    blank_probe,
    control_probes,
    noise_probes,
    null_probes,
    num_blank,
    probe,
    reference_probes,
    swap_probe,
    wrong_words_probes,
)
from picturebook.audit.verdict import PASS_LEAK, Evidence, Verdict, judge
from picturebook.types import LABEL_PRIVILEGED, Progress, no_progress


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found."""

    kind: Kind
    verdict: Verdict
    reasons: tuple[str, ...]
    """Sentences, the weightiest first."""
    probes: tuple[Probe, ...]
    num: int
    """Audited pictures."""
    num_classes: int
    num_noise: int
    """Pictures of each sort of noise."""
    seed: int
    evidence: Evidence
    """What the verdict looked at."""

    @property
    def label_privileged(self) -> bool:
        """FAIL: R2 may not be tabulated beside an image-only accuracy, and the student controls S1-S3 are required."""
        return self.verdict == "FAIL"

    @property
    def label(self) -> str:
        """What to write beside the teacher's name: "label-privileged", "reads captions" or nothing."""
        if self.label_privileged:
            return LABEL_PRIVILEGED
        return "reads captions" if self.kind == "label_blind" else ""

    @property
    def required_controls(self) -> tuple[str, ...]:
        """Student-side controls without which its student's gain means nothing."""
        if self.label_privileged:
            return ("S1", "S2", "S3")
        return ("S1", "S2") if self.kind == "label_blind" else ()

    def __getitem__(self, id_: str) -> Probe:
        """The probe of that id; of several temperatures, at the first, which is 1."""
        return next(probe for probe in self.probes if probe.id == id_)

    def to_dict(self) -> dict[str, Any]:
        """All of it as values that `json` writes."""
        return {
            "kind": self.kind,
            "verdict": self.verdict,
            "label": self.label,
            "label_privileged": self.label_privileged,
            "required_controls": list(self.required_controls),
            "reasons": list(self.reasons),
            "num": self.num,
            "num_classes": self.num_classes,
            "num_noise": self.num_noise,
            "seed": self.seed,
            "evidence": {name: value for name, value in asdict(self.evidence).items() if name != "controls"},
            "probes": [probe.to_dict() for probe in self.probes],
        }


def audit_teacher(
    answer: Answer,
    data: AuditData,
    *,
    kind: Kind,
    temperature: float,
    seed: int = 0,
    num_noise: int | None = None,
    progress: Progress = no_progress,
) -> Audit:
    """Ask a teacher the probes R0-R14 and judge whether it reads the picture or the label.

    Args:
        answer: the head on tokens, frozen and in eval.
        data: labelled pictures that it has not learnt from, and what is known of words and targets.
        kind: what its words may know.
        temperature: T of the softened targets, above 0; probes in bits are given at 1 and at T.
        seed: of noise, swaps and draws.
        num_noise: pictures of each sort of noise, at least 2; by default as many as make the threshold of L certain.
        progress: called with (questions asked, questions in all).

    Raises:
        ModelError: a logit is not finite.
        ValueError: words are missing that the kind reads, or the temperature is not positive.
    """
    if not temperature > 0 or not math.isfinite(temperature):
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    words = Words(data, kind)
    num_noise = default_num_noise(data.num, len(words.asked)) if num_noise is None else num_noise
    if num_noise < 2:
        raise ValueError(f"num_noise: expected 2 or more, got {num_noise}")
    asker = Asker(answer, data, total=_num_questions(data, words, kind, num_noise), progress=progress)
    temperatures = (1.0,) if temperature == 1.0 else (1.0, float(temperature))
    inquiry = Inquiry(asker, data, words, kind, temperatures, seed)
    probes, evidence = _ask(inquiry, num_noise)
    verdict, reasons = judge(evidence)
    return Audit(kind, verdict, reasons, tuple(probes), data.num, len(data.classes), num_noise, seed, evidence)


def default_num_noise(num: int, num_asked: int) -> int:
    """Pictures of noise: the audited pictures' number, 2000, or what makes a third of L's threshold its standard error at chance.

    At chance 1/K the standard error of L is 1 / √(n (K − 1)).
    """
    return max(num, num_asked, 2000, math.ceil((3 / PASS_LEAK) ** 2 / max(1, num_asked - 1)))


def _num_questions(data: AuditData, words: Words, kind: Kind, num_noise: int) -> int:
    always = data.num + num_blank(data.num, len(words.asked)) + 2 * num_noise
    if kind not in READS_OWN_WORDS:
        return always
    swapped = data.num if len(np.unique(data.labels)) > 1 else 0
    wrong = data.num if len(words.asked) > 1 else 0
    nulls = data.num * (1 if data.empty_text is None else 2)
    return always + swapped + wrong + nulls + len(words.asked) * num_swept(data.num, len(words.asked))


def _ask(inquiry: Inquiry, num_noise: int) -> tuple[list[Probe], Evidence]:
    data, words = inquiry.data, inquiry.words
    matched = inquiry.asker.pictures(np.arange(data.num), words.matched())
    probes = [*reference_probes(data), accuracy_probe(inquiry, matched)]
    swept = follow = gap = None
    if inquiry.reads_own_words:
        probes.append(swap_probe(inquiry))
    *noise, leak = noise_probes(inquiry, num_noise)
    probes += [*noise, leak, blank_probe(inquiry)]
    if inquiry.reads_own_words:
        kept, follow = wrong_words_probes(inquiry)
        nulls, right = null_probes(inquiry)
        swept = sweep(inquiry)
        gap = gap_probe(inquiry, matched, swept, right)
        probes += [kept, follow, *nulls]
    influences = influence_probes(inquiry, matched, swept)
    text_bits = max(one.value for one in influences if one.id == "R8" and one.value is not None)
    probes += [*influences, *softness_probes(inquiry, matched)]
    probes.append(gap or probe("R12", "privilege gap", 0.0, unit="points", expectation="0", note="0 by construction"))
    class_words = class_word_probes(inquiry)
    probes += [*text_probes(inquiry), *class_words, *control_probes(data)]
    evidence = Evidence(
        kind=inquiry.kind,
        num=data.num,
        num_classes=len(data.classes),
        chance=inquiry.chance,
        leak=leak.value,
        follow=None if follow is None else follow.value,
        text_bits=text_bits,
        gap=None if gap is None else gap.value,
        gap_low=None if gap is None else gap.low,
        gap_num=None if swept is None else len(swept.rows),
        label_blindness=data.label_blindness,
        targets_out_of_fold=data.targets_out_of_fold,
        calibrated=data.calibrated,
        claims_masked=data.claims_masked,
        class_words=class_words[1].value,
        controls=data.controls,
    )
    return probes, evidence
