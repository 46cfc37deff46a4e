"""Losses of a representation: another network's, or a text's."""

from torch.nn import functional

from picturebook.losses.inputs import Features, Scalar, check_pair, widened

_NAMES = ("student_features", "teacher_features")


def feature_regression(student_features: Features, teacher_features: Features) -> Scalar:
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
    check_pair(student_features, teacher_features, _NAMES)
    student, teacher = widened(student_features), widened(teacher_features).detach()
    return (1.0 - functional.cosine_similarity(student, teacher.to(student.dtype), dim=1)).mean()


def hint_regression(student_features: Features, teacher_features: Features) -> Scalar:
    """Regression of every element of the teacher's features, (1/D) Σ_d (s_d − t_d)² an image: FitNets (arXiv:1412.6550).

    The source's equation 3 has half the sum over elements. The mean over them is what later comparisons took, with a weight
    of 100. It shrinks with D and grows with the square of the features' scale, so a weight does not carry over to another
    teacher: `feature_regression` has neither fault, and leaves the lengths free.

    Args:
        student_features: [B, D], unbounded, projected to the teacher's width; the gradient flows here only.
        teacher_features: [B, D], unbounded; detached inside.

    Returns:
        Scalar, at least 0, mean over B and D, in the square of the features' unit.

    Raises:
        ValueError: the shapes differ or B is 0.
    """
    check_pair(student_features, teacher_features, _NAMES)
    student, teacher = widened(student_features), widened(teacher_features).detach()
    return functional.mse_loss(student, teacher.to(student.dtype))
