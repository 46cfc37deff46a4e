import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from picturebook.data.view_colour import (
    adjust_colour,
    equalise,
    erase_rectangles,
    inside_rectangles,
    plane_means,
    posterise,
    shift_hue,
    solarise,
    stretch_contrast,
)

WEIGHTS = np.array([0.299, 0.587, 0.114])
FACTORS = torch.tensor([0.0, 0.5, 1.0, 1.7])
ONES = torch.ones(4)


def pictures(side: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).random((4, 3, side, side), dtype=np.float32))


def eight_bit(side: int = 24) -> torch.Tensor:
    """Pictures of few and of many values, one of a single value."""
    generator = np.random.default_rng(4)
    values = [generator.integers(*bounds, (3, side, side), dtype=np.uint8) for bounds in ((0, 256), (90, 110), (7, 8), (0, 3))]
    values[3][0] *= 60
    return torch.from_numpy(np.stack(values)) / 255


def through_pillow(images: torch.Tensor, change: object) -> np.ndarray:
    bytes_ = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in bytes_])
    return changed.transpose(0, 3, 1, 2)


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


def test_a_turned_hue_is_that_of_the_standard_library() -> None:
    images = pictures()
    images[0, :, 0] = images[0, :1, 0]  # a row of greys
    images[0, :, 1, 0], images[0, :, 1, 1] = 0, 1
    turns = torch.tensor([0.4, -0.1, 0.0, -0.97])
    turned = shift_hue(images, turns).numpy()
    for row in range(4):
        for y, x in np.ndindex(6, 6):
            hue, saturation, value = colorsys.rgb_to_hsv(*images[row, :, y, x].double().tolist())
            expected = colorsys.hsv_to_rgb((hue + turns[row].item()) % 1, saturation, value)
            np.testing.assert_allclose(turned[row, :, y, x], expected, atol=2e-6)


def test_a_third_of_a_turn_takes_red_to_green() -> None:
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    assert shift_hue(red, torch.tensor([1 / 3])).flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-6)


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_posterising_is_pillows(bits: int) -> None:
    images = eight_bit()
    posterised = posterise(images, torch.full((4,), bits)) * 255
    np.testing.assert_allclose(posterised.numpy(), through_pillow(images, lambda one: ImageOps.posterize(one, bits)), atol=1e-4)


@pytest.mark.parametrize("threshold", [0, 100, 128, 255])
def test_solarising_is_pillows(threshold: int) -> None:
    images = eight_bit()
    solarised = solarise(images, torch.full((4,), threshold / 255)) * 255
    np.testing.assert_allclose(
        solarised.numpy(), through_pillow(images, lambda one: ImageOps.solarize(one, threshold)), atol=1e-4
    )


def test_each_image_has_its_own_threshold_and_bits() -> None:
    images = pictures()
    assert torch.equal(solarise(images, torch.tensor([2.0, 0.0, 2.0, 2.0]))[[0, 2, 3]], images[[0, 2, 3]])
    bits = torch.tensor([8, 1, 8, 8])
    assert posterise(images, bits)[1].unique().numel() <= 2
    torch.testing.assert_close(posterise(images, bits)[0], images[0], atol=0.5 / 255 + 1e-6, rtol=0)


def test_equalising_is_pillows() -> None:
    images = eight_bit()
    np.testing.assert_allclose(equalise(images).numpy() * 255, through_pillow(images, ImageOps.equalize), atol=1e-4)


def test_stretched_contrast_is_pillows_but_for_its_rounding() -> None:
    images = eight_bit()
    stretched = stretch_contrast(images)
    np.testing.assert_allclose(stretched.numpy() * 255, through_pillow(images, ImageOps.autocontrast), atol=1.0)
    assert torch.equal(stretched[2], images[2])
    assert stretched[1].amin() == 0
    assert stretched[1].amax() == 1


def test_erasing_fills_the_rectangle_with_the_mean_of_each_channel() -> None:
    images = pictures()
    rectangles = torch.tensor([[1, 2, 3, 4], [0, 0, 6, 1], [5, 5, 1, 1], [0, 0, 0, 0]])
    erased = erase_rectangles(images, rectangles).numpy()
    for row, (left, top, width, height) in enumerate(rectangles.tolist()):
        expected = images[row].numpy().copy()
        expected[:, top : top + height, left : left + width] = expected.mean(axis=(1, 2))[:, None, None]
        np.testing.assert_allclose(erased[row], expected, atol=1e-6)


def test_a_rectangle_holds_its_pixels() -> None:
    inside = inside_rectangles(torch.tensor([[1, 0, 2, 3], [0, 0, 0, 4]]), height=4, width=5)
    expected = np.zeros((2, 1, 4, 5), dtype=bool)
    expected[0, 0, 0:3, 1:3] = True
    np.testing.assert_array_equal(inside.numpy(), expected)


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
