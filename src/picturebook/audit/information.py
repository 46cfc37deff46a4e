"""How much of an answer comes from the words, the picture, and the picture beyond its label: in bits, per picture.

All are exact for the categorical answer Ŷ ~ P (the Jensen-Shannon form of a mutual information), so no density is estimated.
A Jensen-Shannon quantity H(E P) − E H(P) is the mean of KL(P ‖ E P), and, since E P is where that mean is least, the quantity
changes to first order as if E P stood still: the bootstrap of a mean of KLs is its interval, without asking again.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import entr, rel_entr
from torch import Tensor

Probs = Float64[np.ndarray, "n classes"]
PerPicture = Float64[np.ndarray, " n"]

_NEGLIGIBLE = 1e-300
"""Probabilities below are 0: their mean with others would underflow, and their KL be infinite."""


def probabilities(logits: Float[Tensor, "n classes"], temperature: float) -> Probs:
    """softmax(logits / T) in float64.

    Args:
        logits: finite, unbounded.
        temperature: T > 0.
    """
    probs: np.ndarray = (logits.double() / temperature).softmax(dim=1).numpy()
    probs[probs < _NEGLIGIBLE] = 0.0
    return probs


def entropy_bits(probs: Probs) -> PerPicture:
    """H(P) = −Σ_k P_k log2 P_k of each row, in [0, log2 K]."""
    entropies: PerPicture = entr(probs).sum(axis=1) / np.log(2)
    return entropies


def divergence_from_mean(probs: Probs) -> PerPicture:
    """KL(P_i ‖ mean P) of each row in bits, at least 0; the mean over rows is H(E P) − E H(P)."""
    divergences: PerPicture = rel_entr(probs, probs.mean(axis=0)).sum(axis=1) / np.log(2)
    return divergences.clip(min=0.0)


def instance_information(probs: Probs, labels: Int64[np.ndarray, " n"]) -> PerPicture:
    """KL(P_i ‖ mean P of i's class) in bits; the mean over pictures is I_inst = Σ_y p(y) {H(E_y P) − E_y H(P)} (R10).

    Plug-in: the class mean holds the picture itself, so small classes are biased down, and a class of one gives 0.
    """
    result = np.zeros(len(probs))
    for label in np.unique(labels):
        result[labels == label] = divergence_from_mean(probs[labels == label])
    return result


class Influence:
    """I_text and I_img (R8, R9) from answers that come text by text, so that n × K × K probabilities are never held.

    I_text = E_x [H(E_k P(x, t_k)) − E_k H(P(x, t_k))] and I_img = E_k [H(E_x P(x, t_k)) − E_x H(P(x, t_k))].
    """

    def __init__(self, num: int, num_classes: int) -> None:
        self._mixture = np.zeros((num, num_classes))
        self._entropy = np.zeros(num)
        self._divergence = np.zeros(num)
        self._num_texts = 0

    def add(self, probs: Probs) -> None:
        """Answers of all pictures to one text."""
        self._mixture += probs
        self._entropy += entropy_bits(probs)
        self._divergence += divergence_from_mean(probs)
        self._num_texts += 1

    def of_text(self) -> PerPicture:
        """Each picture's H(E_k P) − E_k H(P), in bits: the mean is I_text."""
        information: PerPicture = np.maximum(entropy_bits(self._mixture / self._num_texts) - self._entropy / self._num_texts, 0.0)
        return information

    def of_image(self) -> PerPicture:
        """Each picture's E_k KL(P ‖ E_x P), in bits: the mean is I_img."""
        divergence: PerPicture = self._divergence / self._num_texts
        return divergence


@dataclass(frozen=True, slots=True)
class Share:
    """Numerators and denominators, one a picture, of a share: Σ part / Σ whole."""

    part: PerPicture
    whole: PerPicture

    def value(self) -> float | None:
        """The share, or None where the whole is 0."""
        whole = self.whole.sum()
        return float(self.part.sum() / whole) if whole > 0 else None

    def linearised(self) -> PerPicture:
        """Values whose mean is the share and whose bootstrap is, to first order, the share's."""
        value = self.value()
        assert value is not None
        values: PerPicture = value + (self.part - value * self.whole) / self.whole.mean()
        return values


def within_class_share(logits: Float[Tensor, "n classes"], labels: Int64[np.ndarray, " n"]) -> Share:
    """η = E_y Var(z_nt | y) / Var(z_nt): the share of the non-target logits' variance that is not the label's (R11c).

    z_nt are the K − 1 logits besides the label's, less their mean (a softmax does not see it). Class c is compared over the
    pictures for which it is no target. 0: every picture of a class has the same dark knowledge; 1: the label explains nothing.
    With K = 2 the one non-target logit less its mean is 0, and there is no share.
    """
    values = logits.double().numpy()
    n, num_classes = values.shape
    other = np.ones((n, num_classes), dtype=bool)
    other[np.arange(n), labels] = False
    centred = np.where(other, values - (values * other).sum(axis=1, keepdims=True) / (num_classes - 1), 0.0)
    overall = centred.sum(axis=0) / np.maximum(other.sum(axis=0), 1)
    whole = (np.where(other, centred - overall, 0.0) ** 2).sum(axis=1)
    part = np.zeros(n)
    for label in np.unique(labels):
        rows = labels == label
        part[rows] = ((centred[rows] - centred[rows].mean(axis=0)) ** 2).sum(axis=1)
    return Share(part, np.where(whole > 1e-12, whole, 0.0))
