import jaxtyping
import numpy as np
import pytest
import torch
from loss_cases import LN3, SHAPES, kl, labels_for, normal, softmax

from picturebook.losses import balanced_class_weights, class_likeness, cross_entropy, virtual_teacher_kl
from picturebook.types import UNLABELLED


def slow_cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float, likeness: np.ndarray | None = None) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        if label == UNLABELLED:
            continue
        q = softmax(row)
        spread = np.full(len(q), 1 / len(q)) if likeness is None else likeness[label]
        for k in range(len(q)):
            total -= ((1 - smoothing) * (k == label) + smoothing * spread[k]) * np.log(q[k])
    return total / len(labels)


def slow_likeness(vectors: np.ndarray, temperature: float) -> np.ndarray:
    rows = []
    for ours in vectors:
        cosines = [ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) for theirs in vectors]
        rows.append(softmax(np.array(cosines) / temperature))
    return np.array(rows)


def slow_virtual_teacher_kl(logits: np.ndarray, labels: np.ndarray, temperature: float, correct: float) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        if label == UNLABELLED:
            continue
        virtual = np.array([correct if k == label else (1 - correct) / (len(row) - 1) for k in range(len(row))])
        total += kl(softmax(virtual / temperature), softmax(row))
    return total / len(labels)


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


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_by_likeness_is_its_formula(shape: tuple[int, int], smoothing: float) -> None:
    logits, labels = normal(shape)[0], labels_for(shape)
    labels[-1] = UNLABELLED if len(labels) > 1 else labels[-1]
    vectors = np.random.default_rng(2).normal(size=(shape[1], 6))
    alike = class_likeness(torch.tensor(vectors), temperature=0.5)
    np.testing.assert_allclose(alike.numpy(), slow_likeness(vectors, 0.5), rtol=1e-5)
    given = {"label_smoothing": smoothing, "likeness": alike.double()}
    value = cross_entropy(torch.tensor(logits), torch.tensor(labels), **given)
    expected = slow_cross_entropy(logits, labels, smoothing, alike.double().numpy())
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_an_even_likeness_is_label_smoothing_and_weights_count_as_there() -> None:
    logits, labels = torch.tensor(normal((5, 3))[0]), torch.tensor([0, 1, UNLABELLED, 2, 2])
    weights = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    even = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    for w in (None, weights):
        plain = cross_entropy(logits, labels, label_smoothing=0.2, weights=w)
        torch.testing.assert_close(cross_entropy(logits, labels, label_smoothing=0.2, likeness=even, weights=w), plain)


def test_a_likeness_keeps_more_for_the_class_itself_and_for_like_ones_the_lower_its_temperature() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]])
    sharp, mild, even = (class_likeness(vectors, temperature=t) for t in (0.1, 0.5, 1e6))
    assert sharp[0, 0] > mild[0, 0] > mild[0, 1] > mild[0, 2] > sharp[0, 2]
    torch.testing.assert_close(even, torch.full((3, 3), 1 / 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(sharp.sum(dim=1), torch.ones(3))


def test_a_likeness_of_other_classes_or_no_temperature_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"likeness: expected shape \[2, 2\], one row a class, got \[3, 3\]"):
        cross_entropy(torch.zeros(1, 2), torch.tensor([0]), likeness=torch.eye(3))
    with pytest.raises(ValueError, match="temperature: expected"):
        class_likeness(torch.eye(3), temperature=0.0)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_outside_its_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing: expected 0 <= ε < 1, got"):
        cross_entropy(torch.zeros(1, 2), torch.tensor([0]), label_smoothing=smoothing)


@pytest.mark.parametrize(("temperature", "correct"), [(20.0, 0.99), (1.0, 0.9), (1e-2, 0.99), (1e4, 0.99)])
@pytest.mark.parametrize("shape", SHAPES)
def test_virtual_teacher_kl_is_its_formula(shape: tuple[int, int], temperature: float, correct: float) -> None:
    logits, labels = normal(shape)[0], labels_for(shape)
    labels[-1] = UNLABELLED if len(labels) > 1 else labels[-1]
    value = virtual_teacher_kl(
        torch.tensor(logits), torch.tensor(labels), temperature=temperature, correct_probability=correct
    ).item()
    assert value == pytest.approx(slow_virtual_teacher_kl(logits, labels, temperature, correct), rel=1e-9)


def test_the_virtual_teacher_of_two_classes_by_hand() -> None:
    # The temperature divides probabilities, so the odds are exp(0.98 / 20) = 1.05 to 1; the student says 3 to 1.
    p = np.exp(0.049) / (1 + np.exp(0.049))
    expected = p * np.log(p / 0.75) + (1 - p) * np.log((1 - p) / 0.25)
    logits = torch.tensor([[LN3, 0.0]], dtype=torch.float64)
    assert virtual_teacher_kl(logits, torch.tensor([0])).item() == pytest.approx(expected)
    # Were the teacher's logits log u, as in other distillation, its odds would be 99^(1/20) = 1.26 to 1.
    assert p / (1 - p) == pytest.approx(1.0502, abs=1e-4)


def test_the_default_is_the_published_loss_of_100_classes() -> None:
    # The authors' code: 100 times torch's default mean, which divides by the number of classes too.
    logits, labels = normal((4, 100))[0], labels_for((4, 100))
    published = 100 * slow_virtual_teacher_kl(logits, labels, 20.0, 0.99) / 100
    assert virtual_teacher_kl(torch.tensor(logits), torch.tensor(labels)).item() == pytest.approx(published)


def test_virtual_teacher_kl_reads_0_where_the_model_says_the_same_and_where_nothing_is_labelled() -> None:
    logits = torch.tensor([[0.99, 0.005, 0.005]], dtype=torch.float64) / 20 + 7
    assert virtual_teacher_kl(logits, torch.tensor([0])).item() == pytest.approx(0.0, abs=1e-12)
    unlabelled = torch.randn(3, 4, requires_grad=True)
    value = virtual_teacher_kl(unlabelled, torch.full((3,), UNLABELLED))
    assert value.item() == 0.0
    assert torch.equal(torch.autograd.grad(value, unlabelled)[0], torch.zeros(3, 4))


@pytest.mark.parametrize("correct", [0.0, 1.0])
def test_a_virtual_teacher_that_is_always_or_never_right_is_refused(correct: float) -> None:
    with pytest.raises(ValueError, match="correct_probability: expected 0 < c < 1, got"):
        virtual_teacher_kl(torch.zeros(1, 2), torch.tensor([0]), correct_probability=correct)


def test_weights_count_each_image_by_itself() -> None:
    logits, labels = normal((6, 4))[0], np.array([2, UNLABELLED, 0, 1, UNLABELLED, 3])
    weights = np.random.default_rng(2).uniform(size=6)
    given = {"labels": torch.tensor(labels), "weights": torch.tensor(weights)}
    rows = [(logits[i : i + 1], labels[i : i + 1]) for i in range(6)]
    expected = sum(w * slow_cross_entropy(*row, 0.1) for w, row in zip(weights, rows, strict=True)) / 6
    assert cross_entropy(torch.tensor(logits), label_smoothing=0.1, **given).item() == pytest.approx(expected, rel=1e-10)
    expected = sum(w * slow_virtual_teacher_kl(*row, 20.0, 0.99) for w, row in zip(weights, rows, strict=True)) / 6
    assert virtual_teacher_kl(torch.tensor(logits), **given).item() == pytest.approx(expected, rel=1e-10)


def test_weights_that_are_not_one_a_row_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for loss in (cross_entropy, virtual_teacher_kl):
        with pytest.raises(ValueError, match=r"weights: expected one a row of the logits, shape \[2\], got \[3\]"):
            loss(torch.zeros(2, 3), torch.tensor([0, 1]), weights=torch.ones(3))


@pytest.mark.parametrize("counts", [[1, 1], [30, 5, 3], [1000, 1, 7, 7]])
def test_balanced_class_weights_are_their_formula(counts: list[int]) -> None:
    found = balanced_class_weights(torch.tensor(counts)).tolist()
    expected = [sum(counts) / (len(counts) * count) for count in counts]
    assert found == pytest.approx(expected, rel=1e-6)
    # Each class weighs the same in all, and the mean over images is 1.
    assert [weight * count for weight, count in zip(found, counts, strict=True)] == pytest.approx(
        [sum(counts) / len(counts)] * len(counts)
    )
    assert sum(weight * count for weight, count in zip(found, counts, strict=True)) == pytest.approx(sum(counts))


def test_a_class_without_images_has_no_balanced_weight() -> None:
    with pytest.raises(ValueError, match=r"counts: expected 1 or more images of each class, got \[3, 0\]"):
        balanced_class_weights(torch.tensor([3, 0]))
