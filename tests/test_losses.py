from functools import partial

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from picturebook.losses import cross_entropy, distillation_kl, feature_regression
from picturebook.types import UNLABELLED

SHAPES = [(1, 2), (5, 3), (4, 100)]
TEMPERATURES = [0.5, 1.0, 4.0]
# Two classes, logits ln 3 and 0: probabilities 3/4 and 1/4.
LN3 = float(np.log(3.0))


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row) / np.exp(row).sum()


def slow_cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        if label == UNLABELLED:
            continue
        q = softmax(row)
        for k in range(len(q)):
            total -= ((1 - smoothing) * (k == label) + smoothing / len(q)) * np.log(q[k])
    return total / len(labels)


def slow_distillation_kl(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    total = 0.0
    for student_row, teacher_row in zip(student, teacher, strict=True):
        q, p = softmax(student_row / temperature), softmax(teacher_row / temperature)
        total += temperature**2 * sum(p[k] * (np.log(p[k]) - np.log(q[k])) for k in range(len(p)))
    return total / len(student)


def slow_feature_regression(student: np.ndarray, teacher: np.ndarray) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total += 1 - sum(s * t) / np.sqrt(sum(s * s)) / np.sqrt(sum(t * t))
    return total / len(student)


def normal(shape: tuple[int, int], num: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3.0, size=(num, *shape))


def labels_for(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(shape[1], size=shape[0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_is_its_formula(shape: tuple[int, int], smoothing: float) -> None:
    logits, labels = normal(shape)[0], labels_for(shape)
    value = cross_entropy(torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing)
    assert value.item() == pytest.approx(slow_cross_entropy(logits, labels, smoothing), rel=1e-10)


def test_cross_entropy_of_three_to_one_by_hand() -> None:
    logits = torch.tensor([[LN3, 0.0]], dtype=torch.float64)
    assert cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(np.log(4 / 3))
    smoothed = 0.95 * np.log(4 / 3) + 0.05 * np.log(4)
    assert cross_entropy(logits, torch.tensor([0]), label_smoothing=0.1).item() == pytest.approx(smoothed)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unlabelled_rows_count_0(smoothing: float) -> None:
    logits = normal((6, 4))[0]
    labels = np.array([2, UNLABELLED, 0, UNLABELLED, UNLABELLED, 3])
    tensor = torch.tensor(logits, requires_grad=True)
    value = cross_entropy(tensor, torch.tensor(labels), label_smoothing=smoothing)
    assert value.item() == pytest.approx(slow_cross_entropy(logits, labels, smoothing), rel=1e-10)
    value.backward()
    assert tensor.grad is not None
    moved = tensor.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == (labels != UNLABELLED).tolist()


def test_the_parts_of_a_batch_add_up_to_the_whole_wherever_the_unlabelled_rows_are() -> None:
    logits = torch.tensor(normal((6, 4))[0])
    labels = torch.tensor([2, UNLABELLED, UNLABELLED, 0, 1, 3])
    parts = [cross_entropy(logits[part], labels[part]).item() * 3 for part in (slice(3), slice(3, 6))]
    assert sum(parts) / 6 == pytest.approx(cross_entropy(logits, labels).item())


def test_a_batch_without_labels_is_exactly_0_and_can_still_be_differentiated() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    value = cross_entropy(logits, torch.full((3,), UNLABELLED), label_smoothing=0.1)
    assert value.item() == 0.0
    value.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(3, 4))


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


@pytest.mark.parametrize("shape", SHAPES)
def test_feature_regression_is_its_formula(shape: tuple[int, int]) -> None:
    student, teacher = normal(shape)
    value = feature_regression(torch.tensor(student), torch.tensor(teacher))
    assert value.item() == pytest.approx(slow_feature_regression(student, teacher), rel=1e-10)


def test_feature_regression_is_half_the_squared_distance_of_the_normalised_vectors() -> None:
    student, teacher = (torch.tensor(array) for array in normal((5, 6)))
    distances = (functional.normalize(student) - functional.normalize(teacher)).square().sum(1)
    assert feature_regression(student, teacher).item() == pytest.approx(distances.mean().item() / 2)


def test_feature_regression_reads_0_along_1_across_and_2_against_the_teacher_whatever_the_lengths() -> None:
    student = torch.tensor([[3.0, 0.0]])
    for teacher, expected in [([0.1, 0.0], 0.0), ([0.0, 5.0], 1.0), ([-70.0, 0.0], 2.0), ([0.0, 0.0], 1.0)]:
        assert feature_regression(student, torch.tensor([teacher])).item() == pytest.approx(expected, abs=1e-6)


def pairs(shape: tuple[int, int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    student, teacher = (torch.tensor(array, dtype=dtype) for array in normal(shape))
    return student, teacher, torch.tensor(labels_for(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_agree_with_finite_differences(shape: tuple[int, int]) -> None:
    student, teacher, labels = pairs(shape)
    labels[-1] = UNLABELLED if len(labels) > 1 else labels[-1]
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: cross_entropy(s, labels, label_smoothing=0.1), student)
    for temperature in TEMPERATURES:
        assert torch.autograd.gradcheck(lambda s, t=temperature: distillation_kl(s, teacher, temperature=t), student)
    assert torch.autograd.gradcheck(lambda s: feature_regression(s, teacher), student)


@pytest.mark.parametrize("name", ["kl", "feature"])
def test_gradients_flow_to_the_student_only(name: str) -> None:
    student, teacher, _ = pairs((5, 3))
    student.requires_grad_()
    teacher.requires_grad_()
    losses = {
        "kl": lambda: distillation_kl(student, teacher, temperature=4.0),
        "feature": lambda: feature_regression(student, teacher),
    }
    losses[name]().backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_extreme_logits_give_finite_losses_and_gradients(temperature: float, dtype: torch.dtype) -> None:
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, -1e4, -1e4]], dtype=dtype)
    values = [
        cross_entropy(student, torch.tensor([1, 0, 2]), label_smoothing=0.1),
        distillation_kl(student, teacher, temperature=temperature),
        feature_regression(student, teacher),
    ]
    for value in values:
        assert value.isfinite()
        assert torch.autograd.grad(value, student)[0].isfinite().all()
    # Row 0 alone is far off: T² × 20000 / T, over three images; row 2 adds T² ln 3.
    expected = (2e4 * temperature + temperature**2 * np.log(3.0)) / 3
    assert values[1].item() == pytest.approx(expected, rel=1e-6)


def every_loss(student: Tensor, teacher: Tensor, labels: Tensor) -> list[Tensor]:
    return [
        cross_entropy(student, labels, label_smoothing=0.1),
        distillation_kl(student, teacher, temperature=4.0),
        feature_regression(student, teacher),
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher, labels = pairs((4, 100), dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = every_loss(student, teacher, labels)
        mixed = every_loss(student, teacher.float(), labels)
    wide = every_loss(student.float(), teacher.float(), labels)
    assert all(value.dtype == torch.float32 for value in narrow + mixed)
    assert [value.item() for value in narrow] == [value.item() for value in mixed] == [value.item() for value in wide]


def test_shapes_that_do_not_fit_are_refused_with_what_was_expected_and_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it: our own sentences must come
    three, four = torch.zeros(2, 3), torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"teacher_logits: expected .*\[2, 3\], got \[2, 4\]"):
        distillation_kl(three, four, temperature=1.0)
    with pytest.raises(ValueError, match=r"teacher_features: expected .*\[2, 4\], got \[2, 3\]"):
        feature_regression(four, three)
    with pytest.raises(ValueError, match=r"labels: expected .*\[2\], got \[3\]"):
        cross_entropy(three, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels: expected .*\[2\], got \[2, 1\]"):
        cross_entropy(three, torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"logits: expected .*got \[3\]"):
        cross_entropy(three[0], torch.zeros(3, dtype=torch.int64))


def test_an_empty_batch_is_refused() -> None:
    empty = torch.zeros(0, 3)
    with pytest.raises(ValueError, match=r"logits: expected .* at least 1, got \[0, 3\]"):
        cross_entropy(empty, torch.zeros(0, dtype=torch.int64))
    for loss in (feature_regression, partial(distillation_kl, temperature=1.0)):
        with pytest.raises(ValueError, match=r"student_\w+: expected .* at least 1, got \[0, 3\]"):
            loss(empty, empty)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature: expected a positive number, got"):
        distillation_kl(torch.zeros(1, 2), torch.zeros(1, 2), temperature=temperature)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing: expected 0 <= ε < 1, got"):
        cross_entropy(torch.zeros(1, 2), torch.tensor([0]), label_smoothing=smoothing)
