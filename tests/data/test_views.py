from collections.abc import Iterator

import numpy as np
import pytest
import torch

from picturebook.data.view_geometry import box_affines, centre_boxes
from picturebook.data.views import ViewOptions, _erased_rectangles, evaluation_views, training_views

STILL = ViewOptions(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
EVERYTHING = ViewOptions(rotate=30.0, shear=15.0, grey=0.3, erase=0.5)
STRONG = ViewOptions(
    **{**EVERYTHING.model_dump(), "jitter": 0.7, "hue": 0.3, "blur": 0.6, "solarise": 0.4, "posterise": 0.4, "randaugment": 3}
)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def noise(batch: int, side: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8))


def originals(batch: int) -> np.ndarray:
    return np.random.default_rng(1).integers(20, 200, (batch, 2)).astype(np.int32)


def disc(height: int, width: int, radius: float, side: int) -> torch.Tensor:
    """A canvas of a white disc in the middle of a black original, squeezed by averaging."""
    y, x = np.mgrid[:height, :width] + 0.5
    original = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < radius**2) * 255.0
    squeezed = original.reshape(side, height // side, side, width // side).mean(axis=(1, 3))
    return torch.from_numpy(squeezed.round().astype(np.uint8))[None, :, :, None].repeat(1, 1, 1, 3)


@pytest.mark.parametrize(("side", "image_size"), [(16, 16), (32, 12), (13, 9)])
@pytest.mark.parametrize("options", [ViewOptions(), EVERYTHING, STRONG], ids=["default", "everything", "strong"])
def test_a_training_view_is_the_same_bits_alone_in_any_batch_in_any_order(
    side: int, image_size: int, options: ViewOptions, threads: int
) -> None:
    canvases, sizes, ids, views = noise(64, side), originals(64), np.arange(64) * 10**15 - 5, np.arange(64) % 3

    def views_of(rows: np.ndarray) -> torch.Tensor:
        return training_views(canvases[rows], sizes[rows], ids[rows], views[rows], seed=9, image_size=image_size, options=options)

    torch.set_num_threads(1)
    whole = views_of(np.arange(64))
    torch.set_num_threads(threads)
    order = np.random.default_rng(2).permutation(64)
    assert torch.equal(views_of(np.arange(64)), whole)
    assert torch.equal(views_of(order), whole[order])
    assert torch.equal(views_of(np.arange(7)), whole[:7])
    for row in range(0, 64, 5):
        assert torch.equal(views_of(np.array([row])), whole[row : row + 1])


@pytest.mark.parametrize("image_size", [16, 9])
def test_an_evaluation_view_is_the_same_bits_alone_and_in_a_batch(image_size: int, threads: int) -> None:
    canvases, sizes = noise(64, 16), originals(64)
    sizes[::3] = 50
    torch.set_num_threads(1)
    whole = evaluation_views(canvases, sizes, image_size=image_size)
    torch.set_num_threads(threads)
    assert torch.equal(evaluation_views(canvases, sizes, image_size=image_size), whole)
    for row in range(0, 64, 5):
        alone = evaluation_views(canvases[row : row + 1], sizes[row : row + 1], image_size=image_size)
        assert torch.equal(alone, whole[row : row + 1])


def test_large_views_are_the_same_bits_for_one_and_two_threads() -> None:
    canvases, sizes = noise(2, 96), originals(2)
    before, results = torch.get_num_threads(), []
    for threads, rows in ((1, 2), (2, 2), (2, 1)):
        torch.set_num_threads(threads)
        images = training_views(
            canvases[:rows], sizes[:rows], np.arange(rows), np.zeros(rows, int), seed=0, image_size=224, options=STRONG
        )
        results.append(images[0])
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_tensors_and_arrays_say_the_same() -> None:
    canvases, sizes, ids, views = noise(4, 8), originals(4), np.arange(4), np.arange(4)
    from_arrays = training_views(canvases, sizes, ids, views, seed=0, image_size=8, options=ViewOptions())
    tensors = [torch.from_numpy(values) for values in (sizes, ids, views)]
    assert torch.equal(training_views(canvases, *tensors, seed=0, image_size=8, options=ViewOptions()), from_arrays)


def test_views_samples_and_seeds_differ() -> None:
    canvas, sizes = noise(1, 16).repeat(3, 1, 1, 1), np.full((3, 2), 16)
    ids, views = np.array([1, 1, 2]), np.array([0, 1, 0])
    images = [training_views(canvas, sizes, ids, views, seed=seed, image_size=16, options=ViewOptions()) for seed in (0, 1)]
    distinct = torch.cat(images).flatten(1)
    assert (torch.cdist(distinct, distinct) + torch.eye(6) * 9).min() > 0.5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ViewOptions(rotate=20.0),
            [[0.073337, 0.299903, 0.526469], [0.076366, 0.302933, 0.529499], [0.079396, 0.305962, 0.532529]],
        ),
        (
            ViewOptions(shear=20.0, grey=0.5, erase=1.0),
            [[0.081549, 0.336164, 0.527951], [0.081549, 0.336164, 0.527951], [0.081549, 0.336164, 0.527951]],
        ),
        (
            ViewOptions(hue=0.3, jitter=0.9, blur=1.0, solarise=1.0, randaugment=4),
            [[0.170231, 0.2905, 0.363242], [0.167394, 0.288054, 0.365207], [0.17257, 0.291969, 0.362742]],
        ),
    ],
    ids=["plain", "erased", "strong"],
)
def test_a_view_stays_what_it_was(options: ViewOptions, expected: list[list[float]]) -> None:
    ramp = torch.arange(8 * 8 * 3, dtype=torch.uint8).reshape(1, 8, 8, 3)
    sizes, ids, views = np.array([[30, 40]]), np.array([-123]), np.array([4])
    image = training_views(ramp, sizes, ids, views, seed=5, image_size=8, options=options)
    torch.testing.assert_close(image[0, :, ::3, 3], torch.tensor(expected), atol=1e-5, rtol=0)


def test_without_change_a_training_view_is_the_canvas() -> None:
    canvases = noise(3, 12)
    images = training_views(canvases, np.full((3, 2), 77), np.arange(3), np.arange(3), seed=0, image_size=12, options=STILL)
    assert torch.equal(images, canvases.permute(0, 3, 1, 2) / 255)


def test_a_sure_flip_mirrors_the_picture() -> None:
    canvases = noise(2, 8)
    options = STILL.model_copy(update={"flip": 1.0})
    images = training_views(canvases, np.full((2, 2), 8), np.arange(2), np.arange(2), seed=0, image_size=8, options=options)
    torch.testing.assert_close(images, (canvases.permute(0, 3, 1, 2) / 255).flip(3), atol=1e-6, rtol=0)


def test_probabilities_are_kept() -> None:
    canvases = torch.zeros(2000, 8, 8, 3, dtype=torch.uint8)
    canvases[:, :, :4, 0] = 200
    options = STILL.model_copy(update={"flip": 0.3, "grey": 0.2})
    ids = np.arange(2000)
    images = training_views(canvases, np.full((2000, 2), 8), ids, ids * 0, seed=0, image_size=8, options=options)
    flipped = images[:, 0, :, 0].mean(1) < images[:, 0, :, 7].mean(1)
    grey = images[:, 2].flatten(1).amax(1) > 0.1
    assert flipped.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert grey.float().mean().item() == pytest.approx(0.2, abs=0.04)
    assert (flipped & grey).float().mean().item() == pytest.approx(0.06, abs=0.03)


@pytest.mark.parametrize("name", ["solarise", "posterise", "blur", "erase", "hue", "grey"])
def test_a_probability_of_0_changes_no_bit_and_one_of_a_third_a_third_of_the_views(name: str) -> None:
    canvases, ids = noise(600, 12), np.arange(600)

    def views_of(**changes: float) -> torch.Tensor:
        options = ViewOptions(**changes)
        return training_views(canvases, originals(600), ids, ids * 0, seed=0, image_size=12, options=options)

    plain = views_of()
    third = views_of(hue=0.5, jitter=1 / 3) if name == "hue" else views_of(**{name: 1 / 3})
    untouched = views_of(hue=0.5, jitter=0.0) if name == "hue" else views_of(**{name: 0.0})
    expected = views_of(jitter=0.0) if name == "hue" else plain
    assert torch.equal(untouched, expected)
    changed = (third != (expected if name == "hue" else plain)).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(1 / 3, abs=0.06)


def test_jitter_is_the_probability_that_colours_change_and_grey_has_its_own() -> None:
    canvases, ids = noise(600, 8), np.arange(600)

    def views_of(options: ViewOptions) -> torch.Tensor:
        return training_views(canvases, np.full((600, 2), 8), ids, ids * 0, seed=0, image_size=8, options=options)

    still, jumpy = (
        views_of(STILL),
        ViewOptions(**{**STILL.model_dump(), "brightness": 0.4, "contrast": 0.4, "hue": 0.1, "jitter": 0.8}),
    )
    changed = (views_of(jumpy) != still).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.8, abs=0.05)
    grey = views_of(jumpy.model_copy(update={"jitter": 0.0, "grey": 0.25}))
    assert (grey.std(dim=1).flatten(1).amax(1) < 1e-6).float().mean().item() == pytest.approx(0.25, abs=0.05)


def test_blur_is_drawn_between_its_sigmas() -> None:
    impulse = torch.zeros(400, 33, 33, 3, dtype=torch.uint8)
    impulse[:, 16, 16] = 255
    ids, options = np.arange(400), ViewOptions(**{**STILL.model_dump(), "blur": 1.0, "blur_sigma": (0.5, 2.0)})
    images = training_views(impulse, np.full((400, 2), 33), ids, ids * 0, seed=0, image_size=33, options=options)
    offsets = torch.arange(33.0) - 16
    sigmas = (images[:, 0].sum(1) * offsets**2).sum(1).sqrt()
    assert sigmas.min() == pytest.approx(0.5, abs=0.05)
    assert sigmas.max() == pytest.approx(2.0, abs=0.08)
    assert sigmas.mean() == pytest.approx(1.25, abs=0.08)
    torch.testing.assert_close(images.sum(dim=(2, 3)), torch.ones(400, 3), atol=1e-4, rtol=0)


def test_posterising_keeps_four_to_seven_bits() -> None:
    values = torch.arange(0, 256, 4, dtype=torch.uint8)
    canvases = values[None, None, :, None].expand(200, 64, 64, 3).contiguous()
    ids, options = np.arange(200), ViewOptions(**{**STILL.model_dump(), "posterise": 1.0})
    images = training_views(canvases, np.full((200, 2), 64), ids, ids * 0, seed=0, image_size=64, options=options)
    steps = {round(255 * image.unique().diff().min().item()) for image in images}
    assert steps == {16, 8, 4}, "of 4 bits, of 5, and of 6 or 7, which these values do not tell apart"


def test_another_stream_makes_another_view() -> None:
    canvases, ids = noise(2, 12), np.arange(2)
    first, other = (
        training_views(canvases, originals(2), ids, ids, seed=0, image_size=12, options=ViewOptions(), stream=stream)
        for stream in (0, 2)
    )
    assert not torch.equal(first, other)


def test_erasing_takes_between_two_and_twenty_per_cent_of_that_share_of_views() -> None:
    canvases = noise(400, 32)
    options = STILL.model_copy(update={"erase": 0.5})
    ids = np.arange(400)
    images = training_views(canvases, np.full((400, 2), 32), ids, ids * 0, seed=0, image_size=32, options=options)
    share = (images != canvases.permute(0, 3, 1, 2) / 255).any(dim=1).float().mean(dim=(1, 2)).numpy()
    assert (share > 0).mean() == pytest.approx(0.5, abs=0.1)
    assert share[share > 0].min() > 0.01
    assert share.max() < 0.23
    assert share[share > 0].mean() == pytest.approx(0.11, abs=0.02)


def test_in_the_smallest_views_a_pixel_is_erased() -> None:
    assert _erased_rectangles(np.zeros((1, 4)), 4)[0, 2:].min() == 1
    assert _erased_rectangles(np.array([[0, 0.999, 0, 0]]), 4)[0, 2:].min() == 1


def test_what_is_erased_is_up_to_three_times_as_wide_as_high_and_the_other_way_about() -> None:
    canvases, ids = noise(500, 64), np.arange(500)
    options = STILL.model_copy(update={"erase": 1.0})
    images = training_views(canvases, np.full((500, 2), 64), ids, ids * 0, seed=0, image_size=64, options=options)
    changed = (images != canvases.permute(0, 3, 1, 2) / 255).any(dim=1)
    widths, heights = (changed.any(dim=axis).sum(dim=1) for axis in (1, 2))
    large = changed.flatten(1).sum(dim=1) > 0.1 * 64**2  # where half a pixel is little
    ratios = (widths / heights)[large].log()
    assert ratios.max().item() == pytest.approx(np.log(3), abs=0.08)
    assert ratios.min().item() == pytest.approx(-np.log(3), abs=0.08)
    assert ratios.mean().item() == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("options", [ViewOptions(brightness=1.0, contrast=1.0, saturation=1.0), EVERYTHING, STRONG])
def test_views_are_float32_in_0_to_1(options: ViewOptions) -> None:
    canvases = torch.cat((noise(30, 16), torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.full((1, 16, 16, 3), 255).byte()))
    images = training_views(canvases, originals(32), np.arange(32), np.arange(32), seed=1, image_size=12, options=options)
    assert images.dtype == torch.float32
    assert images.shape == (32, 3, 12, 12)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images[:30].std() > 0.05


def test_an_evaluation_view_of_a_square_of_equal_size_is_the_canvas_even_among_others() -> None:
    canvases = noise(3, 11)
    images = evaluation_views(canvases, np.array([[50, 50], [7, 7], [30, 60]]), image_size=11)
    assert torch.equal(images[:2], canvases[:2].permute(0, 3, 1, 2) / 255)
    assert not torch.equal(images[2], canvases[2].permute(2, 0, 1) / 255)
    assert torch.equal(evaluation_views(canvases[:2], np.array([[50, 50], [7, 7]]), image_size=11), images[:2])


@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64), (64, 64)])
@pytest.mark.parametrize("image_size", [32, 15])
def test_a_circle_stays_a_circle(height: int, width: int, image_size: int) -> None:
    image = evaluation_views(disc(height, width, 24, 32), np.array([[height, width]]), image_size=image_size)[0, 0]
    area = image.mean().item()
    assert area == pytest.approx(np.pi * 24**2 / 64**2, rel=0.02)
    across, down = image[image_size // 2].mean().item(), image[:, image_size // 2].mean().item()
    assert across == pytest.approx(48 / 64, abs=0.05)
    assert down == pytest.approx(48 / 64, abs=0.05)
    torch.testing.assert_close(image, image.flip(0).flip(1), atol=1e-4, rtol=0)


def test_the_crop_fraction_is_of_the_shorter_side() -> None:
    sizes = np.array([[100, 200]])
    left, top, width, height = centre_boxes(sizes, 0.8)[0]
    assert (left, top, width, height) == (60, 10, 80, 80)
    image = evaluation_views(disc(64, 128, 24, 32), np.array([[64, 128]]), image_size=32, crop_fraction=0.75)[0, 0]
    assert image.mean().item() == pytest.approx(np.pi * 24**2 / 48**2, rel=0.02)


def test_square_training_crops_keep_the_aspect_of_any_original() -> None:
    sizes = originals(20)
    (affines) = box_affines(centre_boxes(sizes, 0.5), sizes)
    steps = affines[:, [0, 1], [0, 1]] * sizes[:, ::-1]
    np.testing.assert_allclose(steps[:, 0], steps[:, 1])
