"""Losses: functions of tensors, without state, rank or settings. An average or a queue belongs to the objective.

All compute in float32 at least, whatever the inputs' type, and return a scalar of that type. Nothing is read back from
the device, so values (label ranges, rows that sum to 1) are the caller's business; shapes and settings are checked.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from picturebook.types import UNLABELLED

Logits = Float[Tensor, "batch classes"]
Loss = Float[Tensor, ""]


def cross_entropy(logits: Logits, labels: Int64[Tensor, " batch"], *, label_smoothing: float = 0.0) -> Loss:
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
    _check_matrix(logits, "logits")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels: expected one a row of the logits, shape [{len(logits)}], got {_shape(labels)}")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing: expected 0 <= ε < 1, got {label_smoothing}")
    total = functional.cross_entropy(
        _widened(logits), labels, ignore_index=UNLABELLED, reduction="sum", label_smoothing=label_smoothing
    )
    return total / len(labels)


def distillation_kl(student_logits: Logits, teacher_logits: Logits, *, temperature: float) -> Loss:
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
    _check_pair(student_logits, teacher_logits, ("student_logits", "teacher_logits"))
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    log_q = functional.log_softmax(_widened(student_logits) / temperature, dim=1)
    log_p = functional.log_softmax(_widened(teacher_logits).detach() / temperature, dim=1)
    # "batchmean" is the formula; torch's default "mean" would divide by K as well and weaken the loss K-fold.
    return temperature**2 * functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def feature_regression(student_features: Float[Tensor, "batch width"], teacher_features: Float[Tensor, "batch width"]) -> Loss:
    """Regression of the teacher's attended representation in direction: 1 − cos(s, t) an image.

    The squared distance of the normalised vectors, ‖s/‖s‖ − t/‖t‖‖², is 2 (1 − cos), so the two differ by a constant
    (arXiv:2006.07733, equation 2, has the distance). The cosine form is taken since it lies in [0, 2] for every width,
    while a mean squared error averaged over elements shrinks with the width, and the loss's weight would not carry over.
    Lengths are left free: the teacher's are set by its own linear layer and say nothing that its logits do not.

    Args:
        student_features: [B, D], unbounded, projected to the teacher's width; the gradient flows here only.
        teacher_features: [B, D], unbounded; detached inside.

    Returns:
        Scalar in [0, 2] but for rounding, mean over B; a vector of length 0 counts 1.

    Raises:
        ValueError: the shapes differ or B is 0.
    """
    _check_pair(student_features, teacher_features, ("student_features", "teacher_features"))
    student, teacher = _widened(student_features), _widened(teacher_features).detach()
    return (1.0 - functional.cosine_similarity(student, teacher.to(student.dtype), dim=1)).mean()


def _widened(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in its own type where that is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _check_matrix(tensor: Tensor, name: str) -> None:
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise ValueError(f"{name}: expected shape [batch, classes or width], both at least 1, got {_shape(tensor)}")


def _check_pair(student: Tensor, teacher: Tensor, names: tuple[str, str]) -> None:
    _check_matrix(student, names[0])
    if student.shape != teacher.shape:
        raise ValueError(
            f"{names[1]}: expected the shape of {names[0]}, {_shape(student)}, got {_shape(teacher)}: "
            "map both to the same classes or width first"
        )


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
