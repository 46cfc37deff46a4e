import numpy as np
import pytest
import torch
from loss_cases import EXTREME_TEMPERATURES, LN3, SHAPES, TEMPERATURES, kl, labels_for, normal, pairs, softmax
from torch.nn import functional

from picturebook.losses import (
    correlation_distillation,
    cross_entropy,
    decoupled_distillation,
    distillation_kl,
    teacher_confidences,
)
from picturebook.types import UNLABELLED


def slow_distillation_kl(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    total = 0.0
    for student_row, teacher_row in zip(student, teacher, strict=True):
        total += temperature**2 * kl(softmax(teacher_row / temperature), softmax(student_row / temperature))
    return total / len(student)


def slow_correlation(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left - left.mean(), right - right.mean()
    lengths = np.sqrt(sum(left * left)), np.sqrt(sum(right * right))
    return 0.0 if 0.0 in lengths else sum(left * right) / lengths[0] / lengths[1]


def slow_correlation_distillation(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    q, p = (np.stack([softmax(row / temperature) for row in logits]) for logits in (student, teacher))
    of_images = [1 - slow_correlation(q[i], p[i]) for i in range(len(q))]
    of_classes = [1 - slow_correlation(q[:, k], p[:, k]) for k in range(q.shape[1])]
    return temperature**2 * (sum(of_images) / len(of_images) + sum(of_classes) / len(of_classes))


def slow_decoupled_distillation(
    student: np.ndarray, teacher: np.ndarray, labels: np.ndarray, temperature: float, alpha: float, beta: float
) -> float:
    total = 0.0
    for student_row, teacher_row, label in zip(student, teacher, labels, strict=True):
        if label == UNLABELLED:
            continue
        q, p = softmax(student_row / temperature), softmax(teacher_row / temperature)
        q_rest, p_rest = (np.delete(probs, label) for probs in (q, p))
        pair = kl(np.array([p[label], sum(p_rest)]), np.array([q[label], sum(q_rest)]))
        total += temperature**2 * (alpha * pair + beta * kl(p_rest / sum(p_rest), q_rest / sum(q_rest)))
    return total / len(labels)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_distillation_kl_is_its_formula(shape: tuple[int, int], temperature: float) -> None:
    student, teacher = normal(shape)
    value = distillation_kl(torch.tensor(student), torch.tensor(teacher), temperature=temperature)
    assert value.item() == pytest.approx(slow_distillation_kl(student, teacher, temperature), rel=1e-10)


def test_distillation_kl_of_three_to_one_by_hand() -> None:
    # The teacher's odds are 3 to 1 at T = 1 and, since the logit doubles, 9 to 1 at T = 1/2; the student says half.
    student, teacher = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[LN3, 0.0]], dtype=torch.float64)
    at_1 = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    at_half = 0.25 * (0.9 * np.log(1.8) + 0.1 * np.log(0.2))
    root = 1 / (1 + np.sqrt(3))  # odds of √3 to 1 at T = 2
    at_2 = 4 * ((1 - root) * np.log(2 * (1 - root)) + root * np.log(2 * root))
    assert at_1 == pytest.approx(0.1308, abs=1e-4)
    values = [distillation_kl(student, teacher, temperature=t).item() for t in (1.0, 0.5, 2.0)]
    assert values == pytest.approx([at_1, at_half, at_2])
    assert sum(values) == pytest.approx(at_1 + at_half + at_2)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_agreement_reads_0_and_anything_else_reads_more(temperature: float) -> None:
    student, teacher = (torch.tensor(array) for array in normal((5, 7)))
    assert distillation_kl(teacher, teacher, temperature=temperature).item() == 0.0
    assert distillation_kl(teacher + 3.0, teacher, temperature=temperature).item() == pytest.approx(0.0, abs=1e-12)
    assert distillation_kl(student, teacher, temperature=temperature).item() > 0.01


def test_the_mean_is_over_images_and_not_over_classes_as_torchs_default_is() -> None:
    student, teacher = (torch.tensor(array) for array in normal((5, 8)))
    value = distillation_kl(student, teacher, temperature=1.0)
    with pytest.warns(UserWarning, match="batchmean"):
        trap = functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="mean")
    assert value.item() == pytest.approx(8 * trap.item())
    # Two copies of a batch change nothing, and neither do classes that both give no probability.
    assert distillation_kl(student.repeat(2, 1), teacher.repeat(2, 1), temperature=1.0).item() == pytest.approx(value.item())
    never = torch.full((5, 8), -1e4, dtype=torch.float64)
    padded = distillation_kl(torch.cat([student, never], 1), torch.cat([teacher, never], 1), temperature=1.0)
    assert padded.item() == pytest.approx(value.item())


def test_the_gradient_at_a_high_temperature_is_the_difference_of_the_logits_over_the_number_of_classes() -> None:
    student, teacher = (torch.tensor(array) for array in normal((1, 5)))
    student, teacher = student - student.mean(), teacher - teacher.mean()
    student.requires_grad_()
    distillation_kl(student, teacher, temperature=1e4).backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 5, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_correlation_distillation_is_its_formula(shape: tuple[int, int], temperature: float) -> None:
    student, teacher = normal(shape) / 3  # sharper rows have classes that no image is given, whose correlation is rounding
    value = correlation_distillation(torch.tensor(student), torch.tensor(teacher), temperature=temperature)
    assert value.item() == pytest.approx(slow_correlation_distillation(student, teacher, temperature), rel=1e-7)


def test_correlation_distillation_of_two_images_by_hand() -> None:
    # With two of each, every correlation is 1 or −1. The student ranks classes and images as the teacher does, or against it.
    teacher = torch.tensor([[2.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    for student, expected in [(7 * teacher, 0.0), (-teacher, 4.0), (teacher[[1, 0]], 4.0)]:
        assert correlation_distillation(student, teacher, temperature=1.0).item() == pytest.approx(expected, abs=1e-9)
    assert correlation_distillation(-teacher, teacher, temperature=3.0).item() == pytest.approx(36.0)


def test_correlation_distillation_lets_the_students_probabilities_be_flatter() -> None:
    _, teacher, _ = pairs((6, 4))
    flatter = torch.log(0.3 * teacher.softmax(1) + 0.7 / 4)
    assert correlation_distillation(flatter, teacher, temperature=1.0).item() == pytest.approx(0.0, abs=1e-9)
    assert distillation_kl(flatter, teacher, temperature=1.0).item() > 0.1


def test_where_nothing_varies_there_is_no_correlation_and_a_finite_gradient() -> None:
    teacher = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    alike = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    value = correlation_distillation(alike, teacher, temperature=1.0)
    assert value.item() == pytest.approx(2.0)  # one image: no class varies; equal logits: no image's classes do
    assert torch.autograd.grad(value, alike)[0].isfinite().all()
    assert correlation_distillation(teacher, teacher, temperature=1.0).item() == pytest.approx(1.0)


@pytest.mark.parametrize("weights", [(1.0, 8.0), (0.5, 0.0), (0.0, 2.0)])
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_decoupled_distillation_is_its_formula(shape: tuple[int, int], temperature: float, weights: tuple[float, float]) -> None:
    student, teacher = normal(shape)
    labels = labels_for(shape)
    labels[-1] = UNLABELLED if len(labels) > 1 else labels[-1]
    value = decoupled_distillation(
        torch.tensor(student),
        torch.tensor(teacher),
        torch.tensor(labels),
        temperature=temperature,
        target_weight=weights[0],
        non_target_weight=weights[1],
    )
    expected = slow_decoupled_distillation(student, teacher, labels, temperature, *weights)
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_decoupled_halves_add_up_to_the_kl_where_each_image_weighs_the_second_by_what_its_teacher_leaves() -> None:
    student, teacher, labels = pairs((1, 6))
    rest = 1 - teacher.softmax(1)[0, labels[0]].item()
    value = decoupled_distillation(student, teacher, labels, temperature=1.0, non_target_weight=rest)
    assert value.item() == pytest.approx(distillation_kl(student, teacher, temperature=1.0).item())


def test_a_teacher_that_leaves_nothing_still_tells_the_order_of_the_rest() -> None:
    # In float32 its 1 − p_y is 0, and the logarithm of that is −inf.
    teacher = torch.tensor([[200.0, 1.0, 0.0, -1.0]])
    student = torch.tensor([[0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0])
    value = decoupled_distillation(student, teacher, labels, temperature=1.0, target_weight=0.0)
    p = softmax(np.array([1.0, 0.0, -1.0]))
    assert value.item() == pytest.approx(8 * kl(p, np.full(3, 1 / 3)), rel=1e-6)
    whole = decoupled_distillation(student, teacher, labels, temperature=1.0)
    assert whole.item() == pytest.approx(value.item() + np.log(4), rel=1e-6)
    assert torch.autograd.grad(whole, student)[0].isfinite().all()


def test_of_two_classes_the_decoupled_loss_is_the_kl() -> None:
    student, teacher, labels = pairs((7, 2))
    value = decoupled_distillation(student, teacher, labels, temperature=2.0)
    assert value.item() == pytest.approx(distillation_kl(student, teacher, temperature=2.0).item())


@pytest.mark.parametrize("temperature", EXTREME_TEMPERATURES)
def test_extreme_temperatures_agree_with_the_formulae_in_float32(temperature: float) -> None:
    # Rows are spread over the temperature, so that the probabilities say something at every one of them.
    student, teacher = normal((5, 4)) / 3 * temperature
    labels = labels_for((5, 4))
    q, p = (torch.tensor(array, dtype=torch.float32) for array in (student, teacher))
    found = [
        distillation_kl(q, p, temperature=temperature).item(),
        correlation_distillation(q, p, temperature=temperature).item(),
        decoupled_distillation(q, p, torch.tensor(labels), temperature=temperature).item(),
    ]
    expected = [
        slow_distillation_kl(student, teacher, temperature),
        slow_correlation_distillation(student, teacher, temperature),
        slow_decoupled_distillation(student, teacher, labels, temperature, 1.0, 8.0),
    ]
    assert found == pytest.approx(expected, rel=1e-4)


def slow_confidence_weighted(student: np.ndarray, teacher: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """CWTM: each image's cross-entropy by the teacher's largest probability over the batch's sum of them (arXiv:1805.04770)."""
    largest = [max(softmax(row / temperature)) for row in teacher]
    return sum(
        -largest[i] / sum(largest) * np.log(softmax(student[i])[labels[i]]) for i in range(len(labels)) if labels[i] != UNLABELLED
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_confidences_weight_a_cross_entropy_as_the_source_does(shape: tuple[int, int], temperature: float) -> None:
    student, teacher = normal(shape)
    labels = labels_for(shape)
    labels[1:2] = UNLABELLED
    sure = teacher_confidences(torch.tensor(teacher), temperature=temperature)
    value = cross_entropy(torch.tensor(student), torch.tensor(labels), weights=sure / sure.mean())
    assert value.item() == pytest.approx(slow_confidence_weighted(student, teacher, labels, temperature), rel=1e-10)


def test_teachers_that_are_as_sure_of_every_image_leave_the_cross_entropy_as_it_is() -> None:
    student, _, labels = pairs((5, 3))
    sure = teacher_confidences(torch.tensor([[0.0, LN3, 0.0]] * 5, dtype=torch.float64))
    assert sure.tolist() == pytest.approx([0.6] * 5)
    torch.testing.assert_close(cross_entropy(student, labels, weights=sure / 0.6), cross_entropy(student, labels))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_how_sure_nobody_is_of_nothing_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"teacher_logits: expected shape .* both at least 1"):
        teacher_confidences(torch.zeros(shape))
