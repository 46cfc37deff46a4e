"""Losses of a teacher's logits."""

import torch
from torch import Tensor
from torch.nn import functional

from picturebook.losses.gathering import gather_rows
from picturebook.losses.inputs import (
    Labels,
    Logits,
    Scalar,
    Weights,
    check_classes,
    check_labels,
    check_matrix,
    check_pair,
    check_temperature,
    precise,
    widened,
)
from picturebook.types import UNLABELLED

_NAMES = ("student_logits", "teacher_logits")


def distillation_kl(student_logits: Logits, teacher_logits: Logits, *, temperature: float) -> Scalar:
    """KL from teacher p to student q at a temperature: T² Σ_k p_k (log p_k − log q_k) an image (arXiv:1503.02531, section 2).

    Args:
        student_logits: [B, K], unbounded; the gradient flows here only.
        teacher_logits: [B, K], unbounded, in the student's class order; detached inside.
        temperature: T > 0, no unit; p = softmax(teacher / T), q = softmax(student / T).
            The factor T² keeps the gradient's size about equal as T changes, so weights need no retuning.

    Returns:
        Scalar in nats times T², sum over K, mean over B, at least 0 but for rounding. Deviation from the source, which
        has a cross-entropy: the teacher's own entropy is taken off. The gradient is the same and agreement reads 0.

    Raises:
        ValueError: the shapes differ, B is 0 or T is not a positive number.
    """
    check_pair(student_logits, teacher_logits, _NAMES)
    check_temperature(temperature)
    log_q = functional.log_softmax(precise(student_logits) / temperature, dim=1)
    log_p = functional.log_softmax(precise(teacher_logits).detach() / temperature, dim=1)
    # "batchmean" is the formula; torch's default "mean" would divide by K as well and weaken the loss K-fold.
    loss = temperature**2 * functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    return loss.to(widened(student_logits).dtype)


def correlation_distillation(student_logits: Logits, teacher_logits: Logits, *, temperature: float) -> Scalar:
    """T² [(1 − mean_i ρ(q_i, p_i)) + (1 − mean_k ρ(q_·k, p_·k))]: DIST (arXiv:2205.10536, section 3).

    ρ is Pearson's correlation: of an image's probabilities over the classes, and of a class's probabilities over the
    batch's images, those of all processes; every process must call it. So the student may be sharper or flatter than the
    teacher. The second part relates the images of one batch, and parts of a batch do not add up to it.

    Args:
        student_logits: [B, K], unbounded; the gradient flows here only.
        teacher_logits: [B, K], unbounded, in the student's class order; detached inside.
        temperature: T > 0, no unit; p = softmax(teacher / T), q = softmax(student / T).

    Returns:
        Scalar in [0, 4 T²] but for rounding. Where nothing varies there is no correlation, ρ = 0: a class over a batch of
        one image, an image whose classes are all as likely. With K = 2 the first ρ is 1 or −1 and has no
        gradient. Deviations whose root of summed squares is below 1e-8 count as of that length.

    Raises:
        ValueError: the shapes differ, B is 0 or T is not a positive number.
    """
    check_pair(student_logits, teacher_logits, _NAMES)
    check_temperature(temperature)
    q = functional.softmax(precise(student_logits) / temperature, dim=1)
    p = functional.softmax(precise(teacher_logits).detach() / temperature, dim=1)
    all_q, all_p = gather_rows(torch.stack([q, p], dim=1))[0].unbind(dim=1)
    of_images, of_classes = _correlation(q, p, dim=1), _correlation(all_q, all_p, dim=0)
    return (temperature**2 * (2.0 - of_images.mean() - of_classes.mean())).to(widened(student_logits).dtype)


def decoupled_distillation(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    *,
    temperature: float,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
) -> Scalar:
    """T² [α KL(b^p ‖ b^q) + β KL(p^ ‖ q^)] an image: DKD (arXiv:2203.08679, section 3.3).

    b = (p_y, 1 − p_y) is the true class against the rest, and p^ are the other classes among themselves, renormalised.
    With α = 1 and β = 1 − p_y this is `distillation_kl`; a β of its own keeps the others' order heard where the teacher is
    sure. All is computed from logits, since log(1 − p_y) of a sure teacher is log(0) in probabilities.

    Args:
        student_logits: [B, K], unbounded, K at least 2; the gradient flows here only.
        teacher_logits: [B, K], unbounded, in the student's class order; detached inside.
        labels: [B], 0 … K − 1, or UNLABELLED: the loss knows nothing to say of such a row.
        temperature: T > 0, no unit; p = softmax(teacher / T), q = softmax(student / T).
        target_weight: α ≥ 0.
        non_target_weight: β ≥ 0; with K = 2 it multiplies 0.

    Returns:
        Scalar in nats times T², at least 0 but for rounding, mean over all B rows, in which an unlabelled row counts 0.

    Raises:
        ValueError: the shapes do not fit, B is 0, K is less than 2 or T is not a positive number.
    """
    check_classes(student_logits, _NAMES[0])
    check_pair(student_logits, teacher_logits, _NAMES)
    check_labels(labels, student_logits)
    check_temperature(temperature)
    targets = labels.clamp(min=0)
    q_pair, q_rest = _decoupled(precise(student_logits) / temperature, targets)
    p_pair, p_rest = _decoupled(precise(teacher_logits).detach() / temperature, targets)
    of_the_pair, of_the_rest = (
        functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
        for log_q, log_p in ((q_pair, p_pair), (q_rest, p_rest))
    )
    divergences = target_weight * of_the_pair + non_target_weight * of_the_rest
    loss = temperature**2 * torch.where(labels != UNLABELLED, divergences, 0.0).mean()
    return loss.to(widened(student_logits).dtype)


def teacher_confidences(teacher_logits: Logits, *, temperature: float = 1.0) -> Weights:
    """max_k p_k of each image: how sure its teacher is (arXiv:1805.04770, section 3, where it weights an image's cross-entropy).

    Args:
        teacher_logits: [B, K], unbounded; detached inside.
        temperature: T > 0, no unit; p = softmax(teacher / T). The source has 1.

    Returns:
        [B], in [1 / K, 1].

    Raises:
        ValueError: no matrix, an empty one or T is not a positive number.
    """
    check_matrix(teacher_logits, _NAMES[1])
    check_temperature(temperature)
    return functional.softmax(widened(teacher_logits).detach() / temperature, dim=1).amax(dim=1)


def _correlation(left: Tensor, right: Tensor, *, dim: int) -> Tensor:
    left, right = left - left.mean(dim, keepdim=True), right - right.mean(dim, keepdim=True)
    return functional.cosine_similarity(left, right, dim=dim)


def _decoupled(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of (target, rest), [B, 2], and of the rest among themselves, [B, K − 1]."""
    places = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    rest = logits.gather(1, places + (places >= targets[:, None]))  # a mask instead would make the host wait for its count
    pair = torch.stack([logits.gather(1, targets[:, None])[:, 0], rest.logsumexp(dim=1)], dim=1)
    return functional.log_softmax(pair, dim=1), functional.log_softmax(rest, dim=1)
