import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from picturebook.data.view_filters import adjust_sharpness, gaussian_blur


def pictures(height: int = 9, width: int = 12, batch: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((batch, 3, height, width), dtype=np.float32))


def slow_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    radius = min(int(np.ceil(3 * sigma)), min(image.shape[1:]) - 1)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    window = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(image.astype(np.float64), ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    blurred = np.empty(image.shape)
    for channel, y, x in np.ndindex(*image.shape):
        blurred[channel, y, x] = (padded[channel, y : y + 2 * radius + 1, x : x + 2 * radius + 1] * window).sum()
    return blurred


def test_blur_is_its_formula_with_each_images_own_width() -> None:
    images, sigmas = pictures(), np.array([0.1, 0.4, 1.0, 2.0, 6.0])
    blurred = gaussian_blur(images, sigmas).numpy()
    for row in range(5):
        np.testing.assert_allclose(blurred[row], slow_blur(images[row].numpy(), sigmas[row]), atol=2e-6)


def test_blur_leaves_a_plain_picture_and_the_argument_alone() -> None:
    images = pictures()
    before = images.clone()
    gaussian_blur(images, np.full(5, 1.5))
    assert torch.equal(images, before)
    torch.testing.assert_close(gaussian_blur(torch.full((2, 3, 8, 8), 0.7), np.array([0.3, 4.0])), torch.full((2, 3, 8, 8), 0.7))


@pytest.mark.parametrize("threads", [1, 2])
def test_filters_give_the_same_bits_alone_and_in_a_batch(threads: int) -> None:
    images, sigmas, factors = pictures(61, 61, 16), np.linspace(0.1, 3.0, 16), torch.linspace(0.1, 1.9, 16)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    blurred, sharper = gaussian_blur(images, sigmas), adjust_sharpness(images, factors)
    torch.set_num_threads(before)
    for row in range(16):
        one = slice(row, row + 1)
        assert torch.equal(gaussian_blur(images[one], sigmas[one]), blurred[one])
        assert torch.equal(adjust_sharpness(images[one], factors[one]), sharper[one])


def test_a_picture_of_one_pixel_has_nothing_to_blur() -> None:
    assert torch.equal(gaussian_blur(torch.full((1, 3, 1, 1), 0.5), np.array([2.0])), torch.full((1, 3, 1, 1), 0.5))
    assert torch.equal(adjust_sharpness(torch.full((1, 3, 2, 2), 0.5), torch.zeros(1)), torch.full((1, 3, 2, 2), 0.5))


def test_sharpness_is_pillows_but_for_its_rounding() -> None:
    bytes_ = np.random.default_rng(1).integers(0, 256, (4, 9, 12, 3), dtype=np.uint8)
    factors = [0.0, 0.5, 1.0, 1.9]
    images = torch.from_numpy(bytes_).permute(0, 3, 1, 2) / 255
    sharper = adjust_sharpness(images, torch.tensor(factors)) * 255
    for row, factor in enumerate(factors):
        expected = np.asarray(ImageEnhance.Sharpness(Image.fromarray(bytes_[row])).enhance(factor)).transpose(2, 0, 1)
        np.testing.assert_allclose(sharper[row].numpy(), expected, atol=1.6)
    assert torch.equal(adjust_sharpness(images, torch.ones(4)), images)
