import numpy as np
import pytest
import torch

from picturebook.data.view_colour import adjust_colour, erase_rectangles, plane_means

WEIGHTS = np.array([0.299, 0.587, 0.114])
FACTORS = torch.tensor([0.0, 0.5, 1.0, 1.7])
ONES = torch.ones(4)


def pictures(side: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).random((4, 3, side, side), dtype=np.float32))


def grey_of(image: np.ndarray) -> np.ndarray:
    return np.tensordot(WEIGHTS, image, axes=1)


def slow_colour(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    brighter = image.astype(np.float64) * brightness
    mean = grey_of(brighter).mean()
    steeper = contrast * brighter + (1 - contrast) * mean
    fuller = saturation * steeper + (1 - saturation) * grey_of(steeper)
    return np.clip(fuller, 0, 1)


def check(brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor) -> None:
    images = pictures()
    adjusted = adjust_colour(images, brightness=brightness, contrast=contrast, saturation=saturation).numpy()
    for row in range(4):
        expected = slow_colour(images[row].numpy(), brightness[row].item(), contrast[row].item(), saturation[row].item())
        np.testing.assert_allclose(adjusted[row], expected, atol=1e-6)


def test_brightness_is_its_formula() -> None:
    check(FACTORS, ONES, ONES)


def test_contrast_is_its_formula() -> None:
    check(ONES, FACTORS, ONES)


def test_saturation_is_its_formula() -> None:
    check(ONES, ONES, FACTORS)


def test_the_three_together_are_brightness_then_contrast_then_saturation() -> None:
    check(FACTORS.flip(0), FACTORS.roll(1), FACTORS)


def test_factors_of_one_leave_the_image_and_the_argument_alone() -> None:
    images = pictures()
    before = images.clone()
    assert torch.equal(adjust_colour(images, brightness=ONES, contrast=ONES, saturation=ONES), before)
    adjust_colour(images, brightness=FACTORS, contrast=FACTORS, saturation=FACTORS)
    assert torch.equal(images, before)


def test_erasing_fills_the_rectangle_with_the_mean_of_each_channel() -> None:
    images = pictures()
    rectangles = torch.tensor([[1, 2, 3, 4], [0, 0, 6, 1], [5, 5, 1, 1], [0, 0, 0, 0]])
    erased = erase_rectangles(images, rectangles).numpy()
    for row, (left, top, width, height) in enumerate(rectangles.tolist()):
        expected = images[row].numpy().copy()
        expected[:, top : top + height, left : left + width] = expected.mean(axis=(1, 2))[:, None, None]
        np.testing.assert_allclose(erased[row], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 6), (8, 8), (5, 9), (31, 33)])
def test_plane_means_are_means(shape: tuple[int, int]) -> None:
    planes = torch.from_numpy(np.random.default_rng(2).random((3, 2, *shape), dtype=np.float32))
    np.testing.assert_allclose(plane_means(planes).numpy(), planes.numpy().mean(axis=(2, 3), dtype=np.float64), rtol=1e-6)


def test_plane_means_are_the_same_bits_alone_in_a_batch_and_with_more_threads() -> None:
    planes = torch.from_numpy(np.random.default_rng(3).random((12, 1, 224, 224), dtype=np.float32))
    before, means = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        means += [plane_means(planes), torch.cat([plane_means(plane[None]) for plane in planes])]
    torch.set_num_threads(before)
    assert all(torch.equal(mean, means[0]) for mean in means[1:])
