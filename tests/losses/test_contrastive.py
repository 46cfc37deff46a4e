import numpy as np
import pytest
import torch
from loss_cases import SHAPES, normal

from picturebook.losses import contrastive_alignment

TEMPERATURES = [0.01, 0.07, 1.0, 100.0]


def slow_contrastive(images: np.ndarray, texts: np.ndarray, temperature: float) -> float:
    """Texts are equal where their numbers are."""

    def similarity(i: int, j: int) -> float:
        x, y = images[i], texts[j]
        return sum(x * y) / np.sqrt(sum(x * x)) / np.sqrt(sum(y * y)) / temperature

    batch = range(len(images))
    total = 0.0
    for i in batch:
        same = [j for j in batch if (texts[j] == texts[i]).all()]
        to_texts = np.log(sum(np.exp(similarity(i, j)) for j in batch))
        to_images = np.log(sum(np.exp(similarity(j, i)) for j in batch))
        for j in same:
            total -= 0.5 * ((similarity(i, j) - to_texts) + (similarity(j, i) - to_images)) / len(same)
    return total / len(images)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_contrastive_alignment_is_its_formula(shape: tuple[int, int], temperature: float) -> None:
    images, texts = normal(shape)
    value = contrastive_alignment(torch.tensor(images), torch.tensor(texts), temperature=temperature)
    assert value.item() == pytest.approx(slow_contrastive(images, texts, temperature), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_pictures_of_equal_texts_are_each_others_positives(temperature: float) -> None:
    images, texts = normal((7, 5))
    texts = texts[[0, 1, 0, 2, 1, 0, 3]]
    value = contrastive_alignment(torch.tensor(images), torch.tensor(texts), temperature=temperature)
    assert value.item() == pytest.approx(slow_contrastive(images, texts, temperature), rel=1e-9)


def test_two_pictures_by_hand() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0]])
    # Each picture has cosine 1 with its own text and 0 with the other's.
    expected = np.log(1 + np.exp(-1 / 0.5))
    assert contrastive_alignment(images, texts, temperature=0.5).item() == pytest.approx(expected, rel=1e-6)
    # One text for both: whatever the pictures are, it cannot tell them apart.
    alike = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert contrastive_alignment(images, alike, temperature=0.5).item() == pytest.approx(np.log(2), rel=1e-6)


def test_repeated_texts_do_not_push_pictures_off_their_own_words() -> None:
    images = torch.tensor([[3.0, 0.1], [3.0, -0.1], [0.0, 1.0]], requires_grad=True)
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    value = contrastive_alignment(images, texts, temperature=0.01)
    assert value.item() == pytest.approx(2 * np.log(2) / 3, abs=0.01)  # its least value: the mean of log n_i
    assert torch.autograd.grad(value, images)[0].abs().max() < 0.1


def test_texts_of_the_same_direction_to_rounding_are_one_text_and_others_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, 384, generator=generator)
    rounded = text * 3.7 + 1e-6 * torch.randn(1, 384, generator=generator)
    images = torch.randn(2, 384, generator=generator)
    once = contrastive_alignment(images, torch.cat([text, text]), temperature=0.07)
    assert contrastive_alignment(images, torch.cat([text, rounded]), temperature=0.07).item() == pytest.approx(
        once.item(), rel=1e-3
    )
    near = text + 0.02 * torch.randn(1, 384, generator=generator)  # a cosine of 0.9998
    apart = contrastive_alignment(images, torch.cat([text, near]), temperature=0.07)
    assert abs(apart.item() - once.item()) > 1e-3


def test_the_gradient_flows_to_pictures_and_temperature_only() -> None:
    images, texts = (torch.tensor(array, requires_grad=True) for array in normal((4, 6)))
    log_temperature = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    contrastive_alignment(images, texts, temperature=log_temperature.exp()).backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert log_temperature.grad is not None
    assert log_temperature.grad != 0
    assert texts.grad is None


def test_one_picture_has_nothing_to_be_told_from() -> None:
    images = torch.randn(1, 4, requires_grad=True)
    value = contrastive_alignment(images, torch.randn(1, 4), temperature=0.07)
    assert value.item() == 0.0
    assert torch.equal(torch.autograd.grad(value, images)[0], torch.zeros(1, 4))


def test_vectors_of_no_length_are_finite() -> None:
    images = torch.zeros(3, 4, requires_grad=True)
    texts = torch.tensor([[0.0] * 4, [1.0] * 4, [0.0] * 4])
    value = contrastive_alignment(images, texts, temperature=0.01)
    assert value.item() == pytest.approx(np.log(3), rel=1e-6)
    assert torch.autograd.grad(value, images)[0].isfinite().all()
