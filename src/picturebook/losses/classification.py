"""Losses of the label alone."""

import torch
from torch.nn import functional

from picturebook.losses.inputs import (
    Labels,
    Logits,
    Scalar,
    check_classes,
    check_labels,
    check_matrix,
    check_temperature,
    widened,
)
from picturebook.types import UNLABELLED


def cross_entropy(logits: Logits, labels: Labels, *, label_smoothing: float = 0.0) -> Scalar:
    """Cross-entropy with the label, −Σ_k y'_k log q_k an image, where y' = (1 − ε) y + ε / K (arXiv:1512.00567, section 7).

    Args:
        logits: [B, K], unbounded; q = softmax(logits).
        labels: [B], 0 … K − 1, or UNLABELLED for a row without a label.
        label_smoothing: ε in [0, 1). The ε is spread over all K classes, the true one too.

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
    total = functional.cross_entropy(
        widened(logits), labels, ignore_index=UNLABELLED, reduction="sum", label_smoothing=label_smoothing
    )
    return total / len(labels)


def virtual_teacher_kl(logits: Logits, labels: Labels, *, temperature: float = 20.0, correct_probability: float = 0.99) -> Scalar:
    """KL from a virtual teacher p to the model q, Σ_k p_k (log p_k − log q_k): Tf-KD_reg (arXiv:1909.11723, section 4).

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

    Returns:
        Scalar in nats, at least 0 but for rounding, mean over all B rows, in which an unlabelled row counts 0.

    Raises:
        ValueError: the shapes do not fit, B is 0, K is less than 2, or T or c is out of range.
    """
    check_classes(logits, "logits")
    check_labels(labels, logits)
    check_temperature(temperature)
    if not 0.0 < correct_probability < 1.0:
        raise ValueError(f"correct_probability: expected 0 < c < 1, got {correct_probability}")
    log_q = functional.log_softmax(widened(logits), dim=1)
    virtual = torch.full_like(log_q, (1.0 - correct_probability) / (logits.shape[1] - 1))
    virtual = virtual.scatter(1, labels.clamp(min=0)[:, None], correct_probability)
    log_p = functional.log_softmax(virtual / temperature, dim=1)
    divergences = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
    return torch.where(labels != UNLABELLED, divergences, 0.0).mean()
