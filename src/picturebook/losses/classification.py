"""Losses of the label alone."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from picturebook.losses.inputs import (
    Labels,
    Logits,
    Scalar,
    Weights,
    check_classes,
    check_labels,
    check_matrix,
    check_temperature,
    check_weights,
    precise,
    widened,
)
from picturebook.types import UNLABELLED


def cross_entropy(
    logits: Logits,
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    likeness: Float[Tensor, "classes classes"] | None = None,
    weights: Weights | None = None,
) -> Scalar:
    """Cross-entropy with the label, −w Σ_k y'_k log q_k an image, where y' = (1 − ε) y + ε / K (arXiv:1512.00567, section 7).

    With a likeness of classes S the ε of label y goes to them by it, y' = (1 − ε) y + ε S_y.

    Args:
        logits: [B, K], unbounded; q = softmax(logits).
        labels: [B], 0 … K − 1, or UNLABELLED for a row without a label.
        label_smoothing: ε in [0, 1). The ε is spread over all K classes, the true one too.
        likeness: [K, K], S, whose rows are distributions; even where there is none.
        weights: [B], w of each image, at least 0; 1 for all where there are none.

    Returns:
        Scalar in nats, mean over all B rows, in which an unlabelled row counts 0. So the parts of a batch that processes
        hold add up to the whole batch, and a batch without labels is 0 and no NaN, as `torch`'s mean would be.

    Raises:
        ValueError: the shapes do not fit, B is 0 or ε is out of range.
    """
    check_matrix(logits, "logits")
    check_labels(labels, logits)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing: expected 0 <= ε < 1, got {label_smoothing}")
    check_weights(weights, logits)
    if likeness is not None:
        return _by_likeness(logits, labels, likeness, label_smoothing, weights)
    reduction = "sum" if weights is None else "none"
    values = functional.cross_entropy(
        widened(logits), labels, ignore_index=UNLABELLED, reduction=reduction, label_smoothing=label_smoothing
    )
    return values / len(labels) if weights is None else (weights * values).mean()


def _by_likeness(logits: Logits, labels: Labels, likeness: Tensor, smoothing: float, weights: Weights | None) -> Scalar:
    num_classes = logits.shape[1]
    if likeness.shape != (num_classes, num_classes):
        raise ValueError(f"likeness: expected shape [{num_classes}, {num_classes}], one row a class, got {list(likeness.shape)}")
    log_q, known = functional.log_softmax(widened(logits), dim=1), labels.clamp(min=0)
    own, spread = log_q.gather(1, known[:, None])[:, 0], (likeness[known].to(log_q.dtype) * log_q).sum(dim=1)
    values = -((1.0 - smoothing) * own + smoothing * spread)
    values = values if weights is None else weights * values
    return torch.where(labels != UNLABELLED, values, 0.0).mean()


def class_likeness(vectors: Float[Tensor, "classes width"], *, temperature: float) -> Float[Tensor, "classes classes"]:
    """How alike classes are by what is said of them: S_y = softmax_k(cos(t_y, t_k) / τ).

    Args:
        vectors: [K, D], t, the classes' text vectors, centred, or else all are alike.
        temperature: τ > 0: the lower, the more a class keeps for itself; even as it grows.

    Returns:
        [K, K], each row a distribution.

    Raises:
        ValueError: τ is out of range.
    """
    check_temperature(temperature)
    units = functional.normalize(vectors.double(), dim=1)
    return functional.softmax(units @ units.T / temperature, dim=1).float()


def balanced_class_weights(counts: Int64[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """Weights with which each class counts as much as any other, w_k = N / (K n_k): the inverse frequency, of mean 1 over images.

    A loss whose rows are weighted so stays as large as it was, so that learning rate and weights beside it keep their meaning. It
    is what scikit-learn calls "balanced" (King and Zeng, "Logistic regression in rare events data", 2001, has the idea).

    Args:
        counts: [K], n_k labelled training images of each class, 1 or more; N is their sum.

    Raises:
        ValueError: a class has none.
    """
    if len(counts) == 0 or int(counts.min()) < 1:
        raise ValueError(f"counts: expected 1 or more images of each class, got {counts.tolist()}")
    return (counts.sum() / (len(counts) * counts.double())).float()


def virtual_teacher_kl(
    logits: Logits,
    labels: Labels,
    *,
    temperature: float = 20.0,
    correct_probability: float = 0.99,
    weights: Weights | None = None,
) -> Scalar:
    """KL from a virtual teacher p to the model q, w Σ_k p_k (log p_k − log q_k): Tf-KD_reg (arXiv:1909.11723, section 4).

    The teacher is right with probability c and spreads the rest evenly, u_y = c, u_k = (1 − c) / (K − 1), and
    p = softmax(u / T). As in the authors' code, and unlike their formula, the softmax is taken of the *probabilities* u
    and the temperature is the teacher's alone, without a T². So p is all but uniform: at T = 20, p_y is 1.05 times
    each other. Their code divides by K as well (torch's default mean) and multiplies by 100 for the 100 classes of CIFAR-100,
    which is this loss; its weight α there is 0.1, beside 1 − α for the cross-entropy.

    Args:
        logits: [B, K], unbounded, K at least 2; q = softmax(logits).
        labels: [B], 0 … K − 1, or UNLABELLED for a row without a label.
        temperature: T > 0, no unit.
        correct_probability: c in (0, 1).
        weights: [B], w of each image, at least 0; 1 for all where there are none.

    Returns:
        Scalar in nats, at least 0 but for rounding, mean over all B rows, in which an unlabelled row counts 0.

    Raises:
        ValueError: the shapes do not fit, B is 0, K is less than 2, or T or c is out of range.
    """
    check_classes(logits, "logits")
    check_labels(labels, logits)
    check_temperature(temperature)
    check_weights(weights, logits)
    if not 0.0 < correct_probability < 1.0:
        raise ValueError(f"correct_probability: expected 0 < c < 1, got {correct_probability}")
    log_q = functional.log_softmax(precise(logits), dim=1)
    virtual = torch.full_like(log_q, (1.0 - correct_probability) / (logits.shape[1] - 1))
    virtual = virtual.scatter(1, labels.clamp(min=0)[:, None], correct_probability)
    log_p = functional.log_softmax(virtual / temperature, dim=1)
    divergences = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
    if weights is not None:
        divergences = weights * divergences
    return torch.where(labels != UNLABELLED, divergences, 0.0).mean().to(widened(logits).dtype)
