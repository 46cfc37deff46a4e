"""The probes in bits and softness (R8-R11), the privilege gap (R12), and what the words say by themselves (R13, R14)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from picturebook.audit.asking import Rows
from picturebook.audit.information import (
    Influence,
    divergence_from_mean,
    entropy_bits,
    instance_information,
    probabilities,
    within_class_share,
)
from picturebook.audit.intervals import share_interval
from picturebook.audit.probes import Inquiry, Probe, probe, says
from picturebook.audit.text_probe import class_words_in_texts, text_probe
from picturebook.statistics import Interval

_MAX_SWEEP = 40_000
"""Head forwards of the sweep over all texts."""
_MIN_SWEPT = 100


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Pictures asked with a text of every class."""

    rows: Rows
    influences: dict[float, Influence]
    """By temperature."""
    decoded: Bool[np.ndarray, " swept"]
    """Whether the class whose text is most sure of itself is the label: deciding without being told."""


def num_swept(num: int, num_texts: int) -> int:
    """Pictures that are asked with every text: all, or as many as make 40,000 questions, at least 100."""
    return min(num, max(_MIN_SWEPT, _MAX_SWEEP // num_texts))


def sweep(inquiry: Inquiry) -> Sweep:
    """Ask with every class's text, one text after the other, so that only n × K numbers are held."""
    data, asked, rng = inquiry.data, inquiry.words.asked, inquiry.rng(8)
    rows = np.sort(rng.permutation(data.num)[: num_swept(data.num, len(asked))])
    influences = {temperature: Influence(len(rows), len(data.classes)) for temperature in inquiry.temperatures}
    surest, decoded = torch.full((len(rows),), -torch.inf), np.zeros(len(rows), dtype=np.int64)
    for label in asked.tolist():
        logits = inquiry.asker.pictures(rows, inquiry.words.of_class(np.full(len(rows), label), rows, rng))
        for temperature, influence in influences.items():
            influence.add(probabilities(logits, temperature))
        confidence = logits.log_softmax(dim=1)[:, label]
        decoded[(confidence > surest).numpy()] = label
        surest = torch.maximum(surest, confidence)
    return Sweep(rows, influences, decoded == data.labels[rows])


def influence_probes(inquiry: Inquiry, matched: Float[Tensor, "n classes"], swept: Sweep | None) -> list[Probe]:
    """R8, R9, R10 at each temperature; `swept` is None where no words of the picture's own enter."""
    probes = []
    for temperature in inquiry.temperatures:
        own = probabilities(matched, temperature)
        if swept is None:
            text: Interval | float = 0.0
            image = inquiry.mean(divergence_from_mean(own))
            note = "0 by construction: the words are the same for every picture" if inquiry.kind == "bank" else "no words enter"
        else:
            influence = swept.influences[temperature]
            text = inquiry.mean(influence.of_text(), swept.rows)
            image = inquiry.mean(influence.of_image(), swept.rows)
            note = f"{len(swept.rows)} of {inquiry.data.num} pictures, {len(inquiry.words.asked)} texts each"
        instance = inquiry.mean(instance_information(own, inquiry.data.labels))
        numbers = [
            ("R8", "I_text: what the words decide", text, "0", note),
            ("R9", "I_img: what the picture decides", image, "high", note if swept else ""),
            ("R10", "I_inst: what is told beyond the label", instance, "> 0", ""),
        ]
        probes += [
            probe(id_, name, value, unit="bits", expectation=expected, note=remark, temperature=temperature)
            for id_, name, value, expected, remark in numbers
        ]
    return probes


def softness_probes(inquiry: Inquiry, matched: Float[Tensor, "n classes"]) -> list[Probe]:
    """R11: mean entropy and share of near-certain answers at each temperature; spread of the other logits within classes."""
    probes = []
    for temperature in inquiry.temperatures:
        probs = probabilities(matched, temperature)
        entropy = inquiry.mean(entropy_bits(probs))
        certain = inquiry.share(probs.max(axis=1) > 0.99)
        probes.append(probe("R11a", "mean entropy", entropy, unit="bits", expectation="soft", temperature=temperature))
        probes.append(probe("R11b", "share with max P > 0.99", certain, expectation="low", temperature=temperature))
    share = within_class_share(matched, inquiry.data.labels)
    name = "η: non-target logits' variance within classes"
    if share.value() is None:
        probes.append(probe("R11c", name, None, note="the non-target logits do not vary"))
    else:
        probes.append(probe("R11c", name, inquiry.mean(share.linearised()), expectation="> 0"))
    return probes


def gap_probe(inquiry: Inquiry, matched: Float[Tensor, "n classes"], swept: Sweep, nulls: list[Bool[np.ndarray, " n"]]) -> Probe:
    """R12: accuracy with the words minus the best that the teacher reaches without being told, on the same pictures."""
    told = says(matched, inquiry.data.labels)[swept.rows]
    untold = max([swept.decoded, *(right[swept.rows] for right in nulls)], key=lambda right: float(right.mean()))
    gap = inquiry.mean(100 * (told.astype(float) - untold.astype(float)), swept.rows)
    note = f"R2 − the better of: the class whose text is surest, the null text; {len(swept.rows)} pictures"
    return probe("R12", "privilege gap", gap, unit="points", expectation="0", note=note)


def text_probes(inquiry: Inquiry) -> list[Probe]:
    """R13: the label from the words' vectors alone."""
    data = inquiry.data
    names = "label from the words alone", "V-information of the words about the label"
    words = inquiry.words.matched()
    if words.pool is None or data.training_texts is None or data.training_labels is None:
        note = "needs the words of training rows" if inquiry.reads_own_words else "no words of the picture's own"
        return [probe("R13a", names[0], None, note=note), probe("R13b", names[1], None, unit="bits", note=note)]
    num_classes = len(data.classes)
    vectors = words.pool.mean()[torch.from_numpy(words.rows)]
    logs = text_probe(data.training_texts.mean(), data.training_labels, vectors, num_classes=num_classes, seed=inquiry.seed)
    accuracy = inquiry.share(logs.argmax(axis=1) == data.labels)
    information = inquiry.mean(np.log2(num_classes) + logs[np.arange(data.num), data.labels])
    note = "a class prompt: all of log2 K"
    return [
        probe("R13a", names[0], accuracy, expectation="report"),
        probe("R13b", names[1], information, unit="bits", expectation="report", note=note),
    ]


def class_word_probes(inquiry: Inquiry) -> list[Probe]:
    """R14: how many texts hold a word of their class, or of any class."""
    data = inquiry.data
    names = "texts with their class's name", "texts with any class's name"
    sentences, labels = data.training_sentences, data.training_labels
    of = "training texts"
    if sentences is None or labels is None:
        sentences, labels, of = data.own_sentences, data.labels, "audited texts"
    elif data.own_sentences is not None:
        sentences, labels, of = (*sentences, *data.own_sentences), np.concatenate([labels, data.labels]), "texts"
    if not inquiry.reads_own_words or not sentences:
        note = "needs the words as sentences" if inquiry.reads_own_words else "no words of the picture's own"
        return [probe(f"R14{letter}", name, None, note=note) for letter, name in zip("ab", names, strict=True)]
    words = data.class_words or tuple((name,) for name in data.classes)
    shares = class_words_in_texts(sentences, labels, words, masked=data.claims_masked)
    expected = "0: masked" if data.claims_masked else "report"
    return [
        probe(f"R14{letter}", name, share_interval(share) or float(share.mean()), expectation=expected, note=f"{len(share)} {of}")
        for letter, name, share in zip("ab", names, shares, strict=True)
    ]
