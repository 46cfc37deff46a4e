"""Self-distillation without labels: a teacher's answer to one view against a student's answers to the others."""

from jaxtyping import Float
from torch import Tensor

from picturebook.losses.inputs import Scalar, check_matrix, check_temperature, exact_log_softmax, widened


def multi_crop_cross_entropy(
    student_logits: Float[Tensor, "crops batch prototypes"],
    teacher_logits: Float[Tensor, "global_crops batch prototypes"],
    *,
    centre: Float[Tensor, " prototypes"],
    teacher_temperature: float | Float[Tensor, ""],
    student_temperature: float,
) -> Scalar:
    """Mean over pairs of different views (v, u) of H(p_v, q_u), DINO's loss (arXiv:2104.14294, section 3.1).

    p_v = softmax((teacher_v − centre) / teacher_temperature), q_u = softmax(student_u / student_temperature).

    Args:
        student_logits: [U, B, K], unbounded, of all views; the first V are those that the teacher saw. The gradient flows
            here only.
        teacher_logits: [V, B, K], unbounded, of the global views; detached inside.
        centre: [K], a running mean of teacher_logits; taking it off keeps one prototype from winning always.
        teacher_temperature: > 0, below the student's, so that answers are sharpened; it may be a tensor that a schedule writes.
        student_temperature: > 0.

    Returns:
        Scalar in nats, mean over the V (U − 1) pairs with u ≠ v and over B; at least 0, and log K where all is uniform.

    Raises:
        ValueError: shapes do not fit, there is no pair of different views, or a temperature is not positive.
    """
    _check(student_logits, teacher_logits, centre)
    check_temperature(student_temperature)
    if isinstance(teacher_temperature, float):
        check_temperature(teacher_temperature)
    log_q = exact_log_softmax(_tempered(widened(student_logits), student_temperature))
    p = exact_log_softmax(_tempered(widened(teacher_logits).detach() - centre, teacher_temperature)).exp()
    num_views, batch = len(student_logits), student_logits.shape[1]
    total = log_q.new_zeros(())
    for number, answer in enumerate(p):
        others = log_q[:number].sum(dim=0) + log_q[number + 1 :].sum(dim=0)
        total = total - (answer * others).sum()
    return total / (len(p) * (num_views - 1) * batch)


def _tempered(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Divided only when the largest is 0: what is near it then keeps its digits at a low temperature."""
    return (logits - logits.detach().amax(dim=-1, keepdim=True)) / temperature


def _check(student: Tensor, teacher: Tensor, centre: Tensor) -> None:
    if student.ndim == 3 and len(student):
        check_matrix(student[0], "student_logits")
    shapes = f"{list(student.shape)}, {list(teacher.shape)} and {list(centre.shape)}"
    if student.ndim != 3 or teacher.ndim != 3 or student.shape[1:] != teacher.shape[1:]:
        raise ValueError(f"expected logits [views, batch, prototypes] of one batch, got shapes {shapes}")
    if centre.shape != student.shape[2:]:
        raise ValueError(f"centre: expected one number a prototype, got shapes {shapes}")
    if len(student) < 2 or not 1 <= len(teacher) <= len(student):
        raise ValueError(f"expected 2 views at least, and the teacher's among the student's, got shapes {shapes}")
