import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from picturebook.data.view_geometry import box_affines, centre_boxes, sample_affines
from picturebook.data.view_strong import OPERATIONS, Operations, draw_operations, move, recolour

MOVES = ("rotate", "shear x", "shear y", "translate x", "translate y")
SIDE = 20


def of(name: str, amount: float, batch: int = 3) -> Operations:
    return Operations(np.full((batch, 1), OPERATIONS.index(name)), np.full((batch, 1), amount))


def canvases(batch: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 3), dtype=np.uint8))


def images(batch: int = 3) -> torch.Tensor:
    return canvases(batch).permute(0, 3, 1, 2) / 255


def whole(batch: int = 3) -> np.ndarray:
    sizes = np.full((batch, 2), SIDE)
    return box_affines(centre_boxes(sizes, 1.0), sizes)


def slow_colour(image: np.ndarray, name: str, amount: float) -> np.ndarray:
    """By Pillow, [3, H, W] in 0 ... 255."""
    picture = Image.fromarray(image)
    factor = 1 + 0.9 * amount
    changed = {
        "auto-contrast": lambda: ImageOps.autocontrast(picture),
        "equalise": lambda: ImageOps.equalize(picture),
        "posterise": lambda: ImageOps.posterize(picture, 8 - round(4 * abs(amount))),
        "solarise": lambda: ImageOps.solarize(picture, int(np.ceil(255 * (1 - abs(amount))))),
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(factor),
        "saturation": lambda: ImageEnhance.Color(picture).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(factor),
    }[name]()
    return np.asarray(changed).transpose(2, 0, 1)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - set(MOVES) - {"identity"}))
@pytest.mark.parametrize("amount", [-0.7, 0.4])
def test_a_change_of_colours_is_pillows_but_for_its_rounding(name: str, amount: float) -> None:
    changed = recolour(images(), of(name, amount)).numpy() * 255
    for row in range(3):
        np.testing.assert_allclose(changed[row], slow_colour(canvases()[row].numpy(), name, amount), atol=2.0)


@pytest.mark.parametrize(
    ("name", "corner"),
    [
        ("rotate", [np.cos(np.pi / 12) - np.sin(np.pi / 12), np.sin(np.pi / 12) + np.cos(np.pi / 12)]),
        ("shear x", [1.15, 1.0]),
        ("shear y", [1.0, 1.15]),
        ("translate x", [1.45, 1.0]),
        ("translate y", [1.0, 1.45]),
    ],
)
def test_a_move_of_half_its_magnitude_takes_the_corner_where_it_should(name: str, corner: list[float]) -> None:
    affine = move(whole(1), of(name, 0.5, 1))[0]
    np.testing.assert_allclose(affine @ [1, 1, 1], corner, atol=1e-12)


def test_a_shift_by_whole_pixels_shows_the_pixels_beside() -> None:
    shifted = sample_affines(canvases(), move(whole(), of("translate x", 2 / SIDE / 0.45)), image_size=SIDE)
    torch.testing.assert_close(shifted[..., : SIDE - 2], images()[..., 2:], atol=1e-5, rtol=0)


def test_moves_follow_each_other_and_come_before_the_crop() -> None:
    sizes = np.array([[30, 50]])
    crop = box_affines(np.array([[5.0, 3.0, 20.0, 10.0]]), sizes)
    kinds = np.array([[OPERATIONS.index(name) for name in ("rotate", "brightness", "translate y")]])
    moved = move(crop, Operations(kinds, np.array([[0.3, 0.3, -0.8]])))
    square = np.concatenate((crop[0], [[0, 0, 1]]))
    angle = np.radians(9)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shift = np.array([[1, 0, 0], [0, 1, -0.72], [0, 0, 1]])
    np.testing.assert_allclose(moved[0], (square @ turn @ shift)[:2], atol=1e-12)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_an_operation_does_not_touch_keeps_its_bits(name: str) -> None:
    operations = of(name, 0.6)
    moved, changed = move(whole(), operations), recolour(images(), operations)
    assert np.array_equal(moved, whole()) == (name not in MOVES)
    assert torch.equal(changed, images()) == (name in MOVES or name == "identity")


def test_operations_of_one_view_follow_their_order() -> None:
    kinds = np.array(
        [[OPERATIONS.index(name) for name in names] for names in (("solarise", "brightness"), ("brightness", "solarise"))]
    )
    pair = recolour(images(1).repeat(2, 1, 1, 1), Operations(kinds, np.full((2, 2), 0.5)))
    one = recolour(recolour(images(1), of("solarise", 0.5, 1)), of("brightness", 0.5, 1))
    assert torch.equal(pair[:1], one)
    assert not torch.allclose(pair[0], pair[1], atol=0.05)


def test_every_operation_and_sign_is_as_likely() -> None:
    drawn = draw_operations(np.random.default_rng(0).random((7000, 4)), 0.3)
    assert drawn.kinds.shape == drawn.amounts.shape == (7000, 2)
    counts = np.bincount(drawn.kinds.ravel(), minlength=len(OPERATIONS))
    assert len(counts) == 14
    np.testing.assert_allclose(counts / 1000, 1, atol=0.15)
    assert set(drawn.amounts.ravel()) == {-0.3, 0.3}
    assert (drawn.amounts > 0).mean() == pytest.approx(0.5, abs=0.02)


def test_the_greatest_magnitude_keeps_values_in_range() -> None:
    for name in OPERATIONS:
        for amount in (-1.0, 1.0):
            changed = recolour(images(), of(name, amount))
            assert changed.isfinite().all()
            assert changed.min() >= 0
            assert changed.max() <= 1
            assert np.isfinite(move(whole(), of(name, amount))).all()
