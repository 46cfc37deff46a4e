"""What the words say of the label by themselves: a classifier of their vectors (R13), and the class names in them (R14)."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

from picturebook.data.texts.masking import class_words, mentions

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
_MAX_ROWS = 20_000
"""Training texts that the classifier learns from."""


def text_probe(
    training: Float[Tensor, "rows width"],
    labels: Int64[np.ndarray, " rows"],
    texts: Float[Tensor, "n width"],
    *,
    num_classes: int,
    seed: int,
) -> Float64[np.ndarray, "n classes"]:
    """log2 p(k | text) by logistic regression on the text's vector.

    Vectors are standardised by the training texts; the L2 penalty, on the bias too so that a class without training texts keeps a
    probability, is the best of four on a fifth of the training texts, and the regression is then fitted on all of them (at most
    20,000). What it learns is a lower bound of what a reader could (V-information, arXiv:2002.10689).
    """
    order = np.random.default_rng(seed).permutation(len(training))[:_MAX_ROWS]
    rows = torch.from_numpy(order)
    inputs, targets = training[rows].float(), torch.from_numpy(labels[order])
    mean, spread = inputs.mean(dim=0), inputs.std(dim=0, correction=0)
    scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    inputs = (inputs - mean) / scale
    penalty = _PENALTIES[-1]
    held = len(inputs) // 5
    if held:
        losses = [_held_out_loss(inputs, targets, held, num_classes, candidate) for candidate in _PENALTIES]
        penalty = _PENALTIES[int(np.argmin(losses))]
    weights = _fit(inputs, targets, num_classes, penalty)
    scores = _with_bias((texts.float() - mean) / scale) @ weights
    logs: np.ndarray = (scores.double().log_softmax(dim=1) / np.log(2)).numpy()
    return logs


def _held_out_loss(inputs: Tensor, targets: Tensor, held: int, num_classes: int, penalty: float) -> float:
    weights = _fit(inputs[held:], targets[held:], num_classes, penalty)
    return float(functional.cross_entropy(_with_bias(inputs[:held]) @ weights, targets[:held]))


def _with_bias(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)


def _fit(inputs: Tensor, targets: Tensor, num_classes: int, penalty: float) -> Tensor:
    inputs = _with_bias(inputs)
    weights = torch.zeros(inputs.shape[1], num_classes, requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = functional.cross_entropy(inputs @ weights, targets) + penalty / 2 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]  # torch has no types here
    return weights.detach()


def class_words_in_texts(
    sentences: Sequence[str], labels: Int64[np.ndarray, " n"], names: Sequence[Sequence[str]], *, masked: bool = False
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Which texts hold a name of their own class, and which of any class.

    Case, underscores and hyphens do not count, and a plural's s is allowed. Names of ASCII letters match whole words; others
    match anywhere, since not every script has blanks. Where class words are said to be `masked`, each word of a name counts that
    the mask takes out (data/texts/masking.py), and no other.
    """
    if masked:
        words = [class_words(of_class) for of_class in names]
        known = frozenset[str]().union(*words)
        own = [mentions(sentence, words[label]) for sentence, label in zip(sentences, labels.tolist(), strict=True)]
        return np.array(own, dtype=bool), np.array([mentions(sentence, known) for sentence in sentences], dtype=bool)
    patterns = [_pattern(of_class) for of_class in names]
    union = _pattern([name for of_class in names for name in of_class])
    plain = [_plain(sentence) for sentence in sentences]
    own = [patterns[label].search(sentence) is not None for sentence, label in zip(plain, labels.tolist(), strict=True)]
    return np.array(own, dtype=bool), np.array([union.search(sentence) is not None for sentence in plain], dtype=bool)


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    parts = [
        rf"(?<!\w){re.escape(word)}(?:s|es)?(?!\w)" if word.isascii() else re.escape(word)
        for word in filter(None, map(_plain, words))
    ]
    return re.compile("|".join(parts) or r"(?!)")
