import math

import numpy as np
import pytest
import torch

from picturebook.data.counter import counter_uniforms
from picturebook.data.view_geometry import box_affines, centre_boxes, random_boxes, sample_affines
from picturebook.data.views import ViewOptions, training_views


def noise(batch: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (batch, side, side, 3), dtype=np.uint8))


def reflect(position: float, length: int) -> float:
    while not -0.5 <= position <= length - 0.5:
        position = -1 - position if position < -0.5 else 2 * length - 1 - position
    return min(max(position, 0.0), length - 1.0)


def slow_bilinear(canvas: np.ndarray, x: float, y: float) -> np.ndarray:
    """`x` and `y` in canvas pixels, from the outer edge of the first."""
    x, y = reflect(x - 0.5, canvas.shape[1]), reflect(y - 0.5, canvas.shape[0])
    total = np.zeros(3)
    for row in (math.floor(y), math.ceil(y + 1e-12)):
        for column in (math.floor(x), math.ceil(x + 1e-12)):
            weight = max(0.0, 1 - abs(row - y)) * max(0.0, 1 - abs(column - x))
            if weight > 0:
                total += weight * canvas[row, column]
    return total / 255


def slow_view(
    canvas: np.ndarray, size: tuple[int, int], numbers: np.ndarray, image_size: int, options: ViewOptions
) -> np.ndarray:
    """Geometry of one training view, pixel by pixel, in pixels of the original; the drawn crop must fit."""
    height, width = size
    share = options.crop_scale[0] + numbers[0] * (options.crop_scale[1] - options.crop_scale[0])
    least = max(options.crop_ratio[0], share * width / height)
    greatest = min(options.crop_ratio[1], width / height / share)
    assert least <= greatest
    aspect = math.exp(math.log(least) + numbers[1] * math.log(greatest / least))
    crop_width, crop_height = math.sqrt(share * width * height * aspect), math.sqrt(share * width * height / aspect)
    middle_x = numbers[2] * (width - crop_width) + crop_width / 2
    middle_y = numbers[3] * (height - crop_height) + crop_height / 2
    angle = math.radians((2 * numbers[5] - 1) * options.rotate)
    lean_x, lean_y = (math.tan(math.radians((2 * number - 1) * options.shear)) for number in numbers[6:8])
    view = np.zeros((3, image_size, image_size))
    for row in range(image_size):
        for column in range(image_size):
            across = ((column + 0.5) / image_size - 0.5) * crop_width
            down = ((row + 0.5) / image_size - 0.5) * crop_height
            if numbers[4] < options.flip:
                across = -across
            across, down = across + lean_x * down, down + lean_y * across
            x = middle_x + math.cos(angle) * across - math.sin(angle) * down
            y = middle_y + math.sin(angle) * across + math.cos(angle) * down
            view[:, row, column] = slow_bilinear(canvas, x / width * canvas.shape[1], y / height * canvas.shape[0])
    return view


@pytest.mark.parametrize(("rotate", "shear"), [(0.0, 0.0), (40.0, 0.0), (0.0, 20.0), (180.0, 30.0)])
@pytest.mark.parametrize("size", [(12, 12), (20, 16), (30, 40)])
def test_training_views_are_the_slow_geometry(size: tuple[int, int], rotate: float, shear: float) -> None:
    plain = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    options = ViewOptions(rotate=rotate, shear=shear, **plain)
    canvases, ids, views = noise(3, 8), np.array([5, -6, 7]), np.array([0, 1, 2])
    images = training_views(canvases, np.array([size] * 3), ids, views, seed=3, image_size=9, options=options).numpy()
    numbers = counter_uniforms(3, ids, views, 8)
    for row in range(3):
        expected = slow_view(canvases[row].numpy(), size, numbers[row], 9, options)
        np.testing.assert_allclose(images[row], expected, atol=2e-5)


def test_crops_lie_inside_with_the_asked_area_and_aspect() -> None:
    uniforms = np.random.default_rng(0).random((5000, 4))
    sizes = np.array([[60, 80]] * 5000)
    left, top, width, height = random_boxes(uniforms, sizes, scale=(0.3, 0.9), ratio=(0.75, 4 / 3)).T
    area, aspect = width * height / 4800, width / height
    assert left.min() >= 0
    assert top.min() >= 0
    assert (left + width).max() <= 80 + 1e-9
    assert (top + height).max() <= 60 + 1e-9
    assert area.min() == pytest.approx(0.3, abs=0.001)
    assert area.max() == pytest.approx(0.9, abs=0.001)
    assert area.mean() == pytest.approx(0.6, abs=0.01)
    assert aspect.min() == pytest.approx(0.75, abs=0.01)
    assert aspect.max() == pytest.approx(4 / 3, abs=0.01)


def test_a_panorama_gives_up_area_and_keeps_the_aspect() -> None:
    uniforms = np.random.default_rng(0).random((100, 4))
    for size in ([10, 100], [100, 10]):
        left, top, width, height = random_boxes(uniforms, np.array([size] * 100), scale=(0.5, 1.0), ratio=(1.0, 1.0)).T
        np.testing.assert_allclose(width, 10)
        np.testing.assert_allclose(height, 10)
        assert np.ptp(left) + np.ptp(top) > 80


def test_rotation_and_shear_happen_in_pixels_of_the_original() -> None:
    sizes = np.array([[50, 200]])
    (affine,) = box_affines(centre_boxes(sizes, 0.5), sizes, degrees=np.array([30.0]))
    frame = affine[:, :2] * np.array([[200.0], [50.0]]) / 2
    np.testing.assert_allclose(frame.T @ frame, np.eye(2) * 12.5**2, atol=1e-9)
    assert math.degrees(math.atan2(frame[1, 0], frame[0, 0])) == pytest.approx(30)
    (affine,) = box_affines(centre_boxes(sizes, 0.5), sizes, shears=np.array([[20.0, 0.0]]))
    frame = affine[:, :2] * np.array([[200.0], [50.0]]) / 2
    assert math.degrees(math.atan2(frame[0, 1], frame[1, 1])) == pytest.approx(20)
    assert frame[1, 0] == 0


def test_a_quarter_turn_of_the_frame_turns_the_picture() -> None:
    canvases, sizes = noise(1, 8), np.array([[8, 8]])
    affines = box_affines(centre_boxes(sizes, 1.0), sizes, degrees=np.array([90.0]))
    image = sample_affines(canvases, affines, image_size=8)
    expected = torch.rot90(canvases[0].permute(2, 0, 1) / 255, 1, (1, 2))
    torch.testing.assert_close(image[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("side", "image_size", "factor"), [(16, 8, 2), (16, 4, 4), (24, 3, 8)])
def test_shrinking_averages_blocks(side: int, image_size: int, factor: int) -> None:
    canvases, sizes = noise(2, side), np.array([[side, side]] * 2)
    images = sample_affines(canvases, box_affines(centre_boxes(sizes, 1.0), sizes), image_size=image_size)
    blocks = canvases.numpy().reshape(2, image_size, factor, image_size, factor, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(images.numpy(), blocks.transpose(0, 3, 1, 2), atol=1e-5)


def test_shrinking_an_odd_canvas_keeps_places() -> None:
    ramp = np.arange(15) * 16 + 8
    canvases = torch.from_numpy(np.broadcast_to(ramp[:, None], (15, 15))[None, ..., None].repeat(3, -1).astype(np.uint8))
    sizes = np.array([[15, 15]])
    image = sample_affines(canvases, box_affines(centre_boxes(sizes, 1.0), sizes), image_size=5).numpy()
    expected = ((np.arange(5) + 0.5) * 3 * 16 / 255)[1:4]
    np.testing.assert_allclose(image[0, 0, 1:4], np.broadcast_to(expected[:, None], (3, 5)), atol=1e-3)


def test_fine_stripes_do_not_alias() -> None:
    stripes = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 255
    sizes = np.array([[64, 64]])
    affines = box_affines(centre_boxes(sizes, 0.9), sizes)
    image = sample_affines(torch.from_numpy(stripes), affines, image_size=24)
    assert (image - 0.5).abs().max() < 0.01


def test_halving_is_decided_for_each_axis() -> None:
    stripes = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    stripes[:, ::2] = 255  # rows alternate; the original is 4 wide by 1 high, so its middle square shrinks the rows alone
    sizes = np.array([[100, 400]])
    image = sample_affines(torch.from_numpy(stripes), box_affines(centre_boxes(sizes, 1.0), sizes), image_size=16)
    assert (image - 0.5).abs().max() < 0.01
    columns = torch.from_numpy(stripes.swapaxes(1, 2).copy())
    image = sample_affines(columns, box_affines(centre_boxes(sizes, 1.0), sizes), image_size=16)
    assert image.min() < 0.3
    assert image.max() > 0.7
