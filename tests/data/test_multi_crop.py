from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from picturebook.data.loaders import BatchMaker, TrainingBatches, ViewMaker
from picturebook.data.multi_crop import MultiCropMaker, MultiCropOptions
from picturebook.data.pictures import Pictures
from picturebook.data.views import ViewOptions
from picturebook.errors import OptionError

PLAIN = {"flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": (0.0, 0.0, 0.0), "solarise": (0.0, 0.0, 0.0)}


def maker(pictures: Pictures, seed: int = 0, **options: object) -> MultiCropMaker:
    views = ViewMaker(pictures, ViewOptions(mixup=0.5, erase=1.0), 16, seed, torch.device("cpu"))
    return MultiCropMaker(views, MultiCropOptions.model_validate({"local_size": 8, **options}))


def everything(crops: MultiCropMaker, rows: np.ndarray, views: np.ndarray) -> list[torch.Tensor]:
    batch = crops.batch(rows, views)
    assert batch.images is not None
    return [batch.images, *batch.crops]


@pytest.fixture
def rows(toy_pictures: Pictures) -> np.ndarray:
    return toy_pictures.rows["train"][:20]


def test_two_global_crops_come_before_the_local_ones(toy_pictures: Pictures, rows: np.ndarray) -> None:
    batch = maker(toy_pictures, local_crops=3).batch(rows, np.zeros_like(rows))
    assert batch.images is not None
    assert batch.images.shape == (20, 3, 16, 16)
    assert [tuple(crop.shape) for crop in batch.crops] == [(20, 3, 16, 16)] + [(20, 3, 8, 8)] * 3
    assert batch.mixed is None
    assert torch.equal(batch.ids, torch.from_numpy(toy_pictures.ids[rows]))
    assert torch.equal(batch.labels, torch.from_numpy(toy_pictures.labels[rows]))
    without = maker(toy_pictures).batch(rows, np.zeros_like(rows), with_images=False)
    assert without.images is None
    assert without.crops == ()


def test_a_crop_is_the_same_bits_alone_in_any_batch_in_any_order(toy_pictures: Pictures, rows: np.ndarray) -> None:
    crops, views = maker(toy_pictures), np.arange(20) % 3
    whole, order = everything(crops, rows, views), np.random.default_rng(0).permutation(20)
    for one, shuffled in zip(whole, everything(crops, rows[order], views[order]), strict=True):
        assert torch.equal(one[order], shuffled)
    for row in range(0, 20, 6):
        for one, alone in zip(whole, everything(crops, rows[row : row + 1], views[row : row + 1]), strict=True):
            assert torch.equal(one[row : row + 1], alone)


def test_more_local_crops_leave_the_first_ones(toy_pictures: Pictures, rows: np.ndarray) -> None:
    few, many = (everything(maker(toy_pictures, local_crops=number), rows, np.zeros_like(rows)) for number in (1, 4))
    assert all(torch.equal(one, other) for one, other in zip(few, many[:3], strict=True))


def test_crops_views_and_seeds_differ(toy_pictures: Pictures, rows: np.ndarray) -> None:
    options = {**PLAIN, "local_size": 16, "local_scale": (0.4, 1.0)}
    found = []
    for seed, view in ((0, 0), (0, 1), (1, 0)):
        found += everything(maker(toy_pictures, seed=seed, **options), rows[:4], np.full(4, view))
    crops = torch.stack(found).flatten(2)
    for picture in range(4):
        distances = torch.cdist(crops[:, picture], crops[:, picture]) + torch.eye(len(found)) * 9
        assert distances.min() > 1e-3


def test_each_crop_is_blurred_and_solarised_at_its_own_rate(toy_pictures: Pictures) -> None:
    options = MultiCropOptions()
    rates = [(options.of_crop(number, 32).blur, options.of_crop(number, 32).solarise) for number in range(4)]
    assert rates == [(1.0, 0.0), (0.1, 0.2), (0.5, 0.0), (0.5, 0.0)]
    assert [options.of_crop(number, 32).crop_scale for number in range(3)] == [(0.4, 1.0), (0.4, 1.0), (0.05, 0.4)]
    first = options.of_crop(0, 32)
    assert (first.jitter, first.brightness, first.contrast, first.saturation, first.hue, first.grey) == (
        0.8,
        0.4,
        0.4,
        0.2,
        0.1,
        0.2,
    )
    assert first.blur_sigma == pytest.approx((0.1 / 7, 2 / 7))  # as wide in a view of 32 as 2 pixels are in one of 224
    assert options.of_crop(0, 224).blur_sigma == (0.1, 2.0)
    assert options.of_crop(0, 4096).blur_sigma[1] == 10.0  # no blur is wider
    assert not first.mixes
    MultiCropOptions(blur=(0.0, 0.0, 0.0), blur_sigma=(0.1, 0.5)).of_crop(2, 32)  # of no effect, but no mistake of a crop's


def test_blur_is_that_of_the_size_of_the_views(toy_pictures: Pictures, rows: np.ndarray) -> None:
    """What the batch holds, not only what the options say: a blur of 5 pixels is none of 5 in so small a view."""
    views = np.zeros_like(rows)
    sharp, blurred, flat = (
        everything(maker(toy_pictures, **{**PLAIN, **changes}), rows, views)[0]
        for changes in (
            {},
            {"blur": (1.0, 1.0, 1.0), "blur_sigma": (5.0, 5.0)},
            {"blur": (1.0, 1.0, 1.0), "blur_sigma": (10.0, 10.0)},
        )
    )
    edges = [float(images.diff(dim=3).abs().mean()) for images in (sharp, blurred, flat)]
    assert edges[0] > edges[1] > 0.7 * edges[0]
    assert edges[2] < 0.7 * edges[0]


def test_a_local_crop_shows_less(toy_pictures: Pictures, rows: np.ndarray) -> None:
    """A picture of its own coordinates: the spread of the values in a crop is the share of the side that it shows."""
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    canvases = np.zeros_like(toy_pictures.canvases)
    side = canvases.shape[1]
    canvases[..., 0] = ramp[:side][None, None, :]
    crops = maker(replace(toy_pictures, canvases=canvases), **PLAIN, crop_ratio=(1.0, 1.0))
    spreads = [(crop[:, 0].amax((1, 2)) - crop[:, 0].amin((1, 2))).max() for crop in everything(crops, rows, np.zeros_like(rows))]
    assert max(spreads[2:]) < 0.7 * max(spreads[:2])


def test_a_training_reads_crops_as_it_reads_views(toy_pictures: Pictures, rows: np.ndarray) -> None:
    crops: BatchMaker = maker(toy_pictures)
    assert isinstance(crops, BatchMaker)
    settings = {"batch_size": 10, "epochs": 1, "num_views": 1, "seed": 0}
    whole = TrainingBatches(crops, rows, **settings).at(1)
    half = TrainingBatches(crops, rows, share=(1, 2), **settings).at(1)
    assert all(torch.equal(one[5:], other) for one, other in zip(whole.crops, half.crops, strict=True))


def test_local_crops_larger_than_views_are_refused(toy_pictures: Pictures) -> None:
    with pytest.raises(OptionError, match=r"local_size: need at most 16 \(student.image_size\), got 17"):
        maker(toy_pictures, local_size=17)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_scale", [0.0, 1.0]),
        ("global_scale", [0.4, 1.1]),
        ("local_scale", [0.4, 0.1]),
        ("local_crops", -1),
        ("local_crops", 17),
        ("local_size", 4),
        ("crop_ratio", [0.0, 1.0]),
        ("blur", [1.0, 0.1]),
        ("blur", [1.0, 0.1, 1.5]),
        ("blur_sigma", [0.0, 1.0]),
        ("blur_sigma", [1.0, 11.0]),
        ("solarise", [-0.1, 0.0, 0.0]),
        ("hue", 0.6),
        ("jitter", 1.1),
        ("mixup", 0.5),
    ],
)
def test_impossible_options_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        MultiCropOptions.model_validate({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_scale", (0.3, 1.0)),
        ("local_scale", (0.1, 0.1)),
        ("crop_ratio", (0.5, 2.0)),
        ("blur", (0.0, 0.5, 1.0)),
        ("blur_sigma", (0.2, 10.0)),
        ("solarise", (1.0, 0.0, 0.3)),
    ],
)
def test_possible_options_are_taken(name: str, value: tuple[float, ...]) -> None:
    assert getattr(MultiCropOptions.model_validate({name: list(value)}), name) == value


def test_every_setting_is_described() -> None:
    assert all(field.description for field in MultiCropOptions.model_fields.values())
    assert MultiCropOptions.model_validate(MultiCropOptions().model_dump(mode="json")) == MultiCropOptions()
