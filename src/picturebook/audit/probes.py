"""The probes that ask the teacher: other pictures, noise, blank pictures, wrong words and no words (R2-R7)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from picturebook.audit.asking import Asker, Rows, Texts, Words
from picturebook.audit.audited import READS_OWN_WORDS, AuditData, Kind
from picturebook.audit.intervals import mean_interval, share_interval
from picturebook.audit.noise import GaussianTokens, bootstrap_tokens
from picturebook.statistics import Interval

Unit = Literal["share", "bits", "points"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One number of the audit."""

    id: str
    """R0 … R14, with a letter where a probe has several numbers, or L; S1 and S2 where they were run."""
    name: str
    value: float | None
    """None: it does not apply or was not run, and the note says why."""
    low: float | None
    """Lower end of the 95 % interval, or None where nothing was drawn."""
    high: float | None
    unit: Unit
    """share: of 1; bits; points: percentage points."""
    expectation: str
    """What it is without a leak."""
    note: str = ""
    temperature: float | None = None
    """T of the softmax, where it matters."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def probe(
    id_: str,
    name: str,
    measured: Interval | float | None,
    *,
    unit: Unit = "share",
    expectation: str = "",
    note: str = "",
    temperature: float | None = None,
) -> Probe:
    """A probe from an interval, a number without one, or nothing."""
    if isinstance(measured, Interval):
        value, low, high = measured.mean, measured.low, measured.high
        return Probe(id_, name, value, low, high, unit, expectation, note, temperature)
    return Probe(id_, name, measured, None, None, unit, expectation, note, temperature)


@dataclass(frozen=True, slots=True, eq=False)
class Inquiry:
    """One audit under way."""

    asker: Asker
    data: AuditData
    words: Words
    kind: Kind
    temperatures: tuple[float, ...]
    """1 and, where it differs, the temperature of the targets."""
    seed: int

    @property
    def reads_own_words(self) -> bool:
        return self.kind in READS_OWN_WORDS

    @property
    def chance(self) -> float:
        """What an answer that does not know the asked class scores: 1 over the classes that are asked about."""
        return 1 / len(self.words.asked)

    def rng(self, number: int) -> np.random.Generator:
        """Draws of probe R<number>, which no other probe moves."""
        return np.random.default_rng([self.seed, number])

    def share(self, correct: Bool[np.ndarray, " n"]) -> Interval | float:
        """Share of the audited pictures, with its interval where there is one."""
        return share_interval(correct, self.data.groups) or float(correct.mean())

    def mean(self, values: np.ndarray, rows: Rows | None = None) -> Interval | float:
        """Mean over the audited pictures (at `rows`), with its interval where there is one."""
        groups = self.data.groups
        return mean_interval(values, groups if groups is None or rows is None else groups[rows]) or float(values.mean())


def says(logits: Float[Tensor, "m classes"], classes: Rows) -> Bool[np.ndarray, " m"]:
    """Whether the highest logit is the class's (of equal ones, the first)."""
    highest: np.ndarray = logits.argmax(dim=1).numpy()
    return np.asarray(highest == classes)


def accuracy_probe(inquiry: Inquiry, matched: Float[Tensor, "n classes"]) -> Probe:
    """R2, or the plain accuracy where no words of the picture's own are read."""
    accuracy = inquiry.share(says(matched, inquiry.data.labels))
    if not inquiry.reads_own_words:
        return probe("acc", "accuracy", accuracy, note="no words of the picture's own enter: R2, R3, R6 and R7 do not apply")
    words = {"label_blind": "its own words", "privileged": "privileged words", "unknown": "own words of unknown origin"}
    return probe("R2", f"accuracy with {words[inquiry.kind]}", accuracy, expectation="about R1")


def swap_probe(inquiry: Inquiry) -> Probe:
    """R3: another class's picture, asked with this one's words: which of the two does the answer follow?"""
    labels, rng = inquiry.data.labels, inquiry.rng(3)
    name = "another class's picture: the words win"
    num = len(labels)
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(inquiry.data.classes))
    if counts.max() == num:
        return probe("R3", name, None, note="all audited pictures are of one class")
    # Past the block of its own class in the order by class, so that every picture of another class is equally likely.
    ends = np.cumsum(counts)[labels]
    pictures = order[(ends + rng.integers(0, num - counts[labels])) % num]
    logits = inquiry.asker.pictures(pictures, inquiry.words.telling(np.arange(num)))
    return probe("R3", name, inquiry.share(says(logits, labels)), expectation=f"≤ about {inquiry.chance:.3f}")


def noise_probes(inquiry: Inquiry, num: int) -> tuple[Probe, Probe, Probe]:
    """R4a, R4b: pictures of noise, asked with words of a class; and L, the leak index, from the higher of the two."""
    data = inquiry.data
    rng = inquiry.rng(4)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    gaussian = GaussianTokens.of(data.tokens, generator)
    sources: dict[str, Callable[[int], Tensor]] = {
        "tokens from random pictures": lambda size: bootstrap_tokens(data.tokens, size, generator),
        "Gaussian tokens": lambda size: gaussian.sample(size, generator),
    }
    shares = []
    for source in sources.values():
        classes, positions, texts = _balanced(inquiry, num, rng)
        logits = inquiry.asker.ask(positions, lambda part, source=source: source(part.stop - part.start), texts)  # type: ignore[misc]  # mypy does not infer a lambda's default
        share = share_interval(says(logits, classes))
        assert share is not None  # two noise pictures at least
        shares.append(share)
    chance = inquiry.chance
    note = f"{num} pictures of noise"
    first, second = (
        probe(f"R4{letter}", f"noise, {name}: the words' class", share, expectation=f"{chance:.3f}", note=note)
        for letter, name, share in zip("ab", sources, shares, strict=True)
    )
    return first, second, _leak_index(max(shares, key=lambda share: share.mean), chance)


def _leak_index(noise: Interval, chance: float) -> Probe:
    """L = (R4 − chance) / (1 − chance): 0 at chance, 1 where the words are always followed."""
    name = "leak index, from R4"
    if chance == 1:
        return probe("L", name, None, note="all audited pictures are of one class")
    leak = Interval(*((value - chance) / (1 - chance) for value in (noise.mean, noise.low, noise.high)))
    return probe("L", name, leak, expectation="0", note=f"(R4 − {chance:.3f}) / (1 − {chance:.3f})")


def num_blank(num: int, num_asked: int) -> int:
    """Blank pictures: every class is asked about, and about every picture's head."""
    return max(num, num_asked)


def blank_probe(inquiry: Inquiry) -> Probe:
    """R5: a picture whose tokens are all the mean token, asked with words of a class."""
    rng = inquiry.rng(5)
    gaussian = GaussianTokens.of(inquiry.data.tokens, torch.Generator().manual_seed(inquiry.seed))
    classes, positions, texts = _balanced(inquiry, num_blank(inquiry.data.num, len(inquiry.words.asked)), rng)
    logits = inquiry.asker.ask(positions, lambda part: gaussian.blank(part.stop - part.start), texts)
    correct = says(logits, classes)
    by_class = [correct[classes == label].mean() for label in np.unique(classes)]
    note = "passes heads that leak by selection: proves nothing alone"
    return probe(
        "R5", "blank picture: the words' class", float(np.mean(by_class)), expectation=f"{inquiry.chance:.3f}", note=note
    )


def _balanced(inquiry: Inquiry, num: int, rng: np.random.Generator) -> tuple[Rows, Rows, Texts]:
    """Classes in equal numbers, a picture of each for the position, and words: that picture's, or the class's."""
    asked = inquiry.words.asked
    classes = asked[np.arange(num) % len(asked)]
    positions = inquiry.words.row_of_class(classes, rng)
    if inquiry.words.by_class_text:
        return classes, positions, inquiry.words.of_class(classes, positions)
    return classes, positions, inquiry.words.telling(positions)


def wrong_words_probes(inquiry: Inquiry) -> tuple[Probe, Probe]:
    """R6a, R6b: the words of another class, drawn evenly: right all the same, or the words followed?"""
    labels, asked, rng = inquiry.data.labels, inquiry.words.asked, inquiry.rng(6)
    names = "words of another class: still right", "words of another class: followed"
    if len(asked) < 2:
        note = "all audited pictures are of one class"
        return probe("R6a", names[0], None, note=note), probe("R6b", names[1], None, note=note)
    places = np.searchsorted(asked, labels)
    wrong = asked[(places + rng.integers(1, len(asked), len(labels))) % len(asked)]
    rows = np.arange(len(labels))
    logits = inquiry.asker.pictures(rows, inquiry.words.of_class(wrong, rows, rng))
    kept, followed = inquiry.share(says(logits, labels)), inquiry.share(says(logits, wrong))
    return (
        probe("R6a", names[0], kept, expectation="about R1"),
        probe("R6b", names[1], followed, expectation=f"≤ {inquiry.chance:.3f}"),
    )


def null_probes(inquiry: Inquiry) -> tuple[list[Probe], list[Bool[np.ndarray, " n"]]]:
    """R7a, R7b: the mean of all texts, and the empty sentence where its vector was given; and which pictures are right so."""
    data, rows = inquiry.data, np.arange(inquiry.data.num)
    asked = {"R7a": ("the mean of all texts", inquiry.words.null())}
    if data.empty_text is not None:
        asked["R7b"] = ("the empty text", Texts(data.empty_text, np.zeros_like(rows)))
    right = [says(inquiry.asker.pictures(rows, texts), data.labels) for _, texts in asked.values()]
    probes = [
        probe(id_, f"accuracy with {name}", inquiry.share(correct), expectation="about R1")
        for (id_, (name, _)), correct in zip(asked.items(), right, strict=True)
    ]
    return probes, right


def reference_probes(data: AuditData) -> list[Probe]:
    """R0, R1: chance, the majority rate, and image-only models on the same pictures."""
    majority = data.majority_rate
    if majority is None:
        majority = float(np.bincount(data.labels).max() / data.num)
    probes = [probe("R0a", "chance", 1 / len(data.classes)), probe("R0b", "majority rate", majority)]
    for letter, (name, reference) in zip("abcdefgh", data.image_only.items(), strict=False):
        accuracy: Interval | float
        if isinstance(reference, Tensor):
            correct = says(reference.float().cpu(), data.labels)
            accuracy = share_interval(correct, data.groups) or float(correct.mean())
        else:
            accuracy = float(reference)
        probes.append(probe(f"R1{letter}", f"image only: {name}", accuracy))
    if not data.image_only:
        probes.append(probe("R1", "image only", None, note="no image-only reference was given"))
    return probes


def control_probes(data: AuditData) -> list[Probe]:
    """S1 and S2, where they were run: what the student has over one whose targets say less of each picture."""
    less = {"S1": "the class's mean target", "S2": "another picture's target of its class"}
    return [
        probe(
            name,
            f"student, over one that learns from {less[name]}",
            Interval(100 * found.mean, 100 * found.low, 100 * found.high),
            unit="points",
            expectation="above 0",
        )
        for name, found in sorted(data.controls.items())
    ]
