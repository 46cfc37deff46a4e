"""What the settings of views and crops may be: the ends of each range are in it, and what lies beyond is not."""

import math

import pytest
from pydantic import ValidationError

from picturebook.data.multi_crop import MultiCropOptions
from picturebook.data.views import ViewOptions

SHARES = dict.fromkeys(("flip", "brightness", "contrast", "saturation", "grey", "jitter"), (0.0, 1.0)) | {"hue": (0.0, 0.5)}
OF_VIEWS = SHARES | dict.fromkeys(("erase", "solarise", "posterise", "blur", "mixup", "cutmix"), (0.0, 1.0))
OF_VIEWS |= {"rotate": (0.0, 180.0), "shear": (0.0, 30.0)}


@pytest.mark.parametrize(
    ("options", "name", "ends"),
    [(ViewOptions, name, ends) for name, ends in OF_VIEWS.items()]
    + [(MultiCropOptions, name, ends) for name, ends in SHARES.items()],
)
def test_a_number_may_be_either_end_of_its_range_and_nothing_beyond(
    options: type[ViewOptions | MultiCropOptions], name: str, ends: tuple[float, float]
) -> None:
    for end in ends:
        assert getattr(options.model_validate({name: end}), name) == end
    for beyond in (math.nextafter(ends[0], -1), math.nextafter(ends[1], math.inf), math.nan):
        with pytest.raises(ValidationError, match=name):
            options.model_validate({name: beyond})


@pytest.mark.parametrize(
    ("options", "more", "name", "ends"),
    [
        (ViewOptions, {}, "crop_scale", (0.0, 1.0)),
        (ViewOptions, {}, "crop_ratio", (0.0, None)),
        (ViewOptions, {"blur": 0.5}, "blur_sigma", (0.0, 10.0)),
        (MultiCropOptions, {}, "global_scale", (0.0, 1.0)),
        (MultiCropOptions, {}, "local_scale", (0.0, 1.0)),
        (MultiCropOptions, {}, "crop_ratio", (0.0, None)),
        (MultiCropOptions, {}, "blur_sigma", (0.0, 10.0)),
    ],
)
def test_a_range_rises_from_above_its_least_to_its_greatest(
    options: type[ViewOptions | MultiCropOptions], more: dict[str, float], name: str, ends: tuple[float, float | None]
) -> None:
    least, greatest = ends
    top = 1e300 if greatest is None else greatest
    for good in ([top, top], [1e-9, top], [1e-9, 1e-9]):
        assert getattr(options.model_validate(more | {name: good}), name) == tuple(good)
    above = math.inf if greatest is None else math.nextafter(greatest, math.inf)
    for bad in ([least, top], [-1e-9, top], [top, above], [0.5, 0.4], [math.nan, top], [1e-9, math.nan]):
        with pytest.raises(
            ValidationError, match=name if name in ("crop_ratio", "blur_sigma", "crop_scale") else "a scale needs"
        ):
            options.model_validate(more | {name: bad})


@pytest.mark.parametrize("name", ["blur", "solarise"])
def test_each_kind_of_crop_has_a_probability(name: str) -> None:
    for good in ([0.0, 0.0, 1.0], [1.0, 1.0, 0.0]):
        assert getattr(MultiCropOptions.model_validate({name: good}), name) == tuple(good)
    for place in range(3):
        for beyond in (-1e-9, 1.0 + 1e-9):
            bad = [0.5, 0.5, 0.5]
            bad[place] = beyond
            with pytest.raises(ValidationError, match="three probabilities"):
                MultiCropOptions.model_validate({name: bad})


def test_counts_have_ends() -> None:
    for name, least, greatest in (("local_crops", 0, 16), ("local_size", 8, None)):
        assert getattr(MultiCropOptions.model_validate({name: least}), name) == least
        with pytest.raises(ValidationError, match=name):
            MultiCropOptions.model_validate({name: least - 1})
        if greatest is not None:
            assert getattr(MultiCropOptions.model_validate({name: greatest}), name) == greatest
            with pytest.raises(ValidationError, match=name):
                MultiCropOptions.model_validate({name: greatest + 1})
    for good in (0, 4):
        assert ViewOptions(randaugment=good).randaugment == good
    for bad in (-1, 5):
        with pytest.raises(ValidationError, match="randaugment"):
            ViewOptions(randaugment=bad)
    for magnitude in (0.0, 1.0):
        assert ViewOptions(randaugment=1, randaugment_magnitude=magnitude).randaugment_magnitude == magnitude
    for magnitude in (-1e-9, 1.0 + 1e-9):
        with pytest.raises(ValidationError, match="randaugment_magnitude"):
            ViewOptions(randaugment=1, randaugment_magnitude=magnitude)


def test_mixup_and_cutmix_may_share_all_views() -> None:
    assert ViewOptions(mixup=0.5, cutmix=0.5).mixes
    assert ViewOptions(mixup=1e-9).mixes
    assert ViewOptions(cutmix=1e-9).mixes
    assert not ViewOptions().mixes


def test_views_are_mild_where_nothing_is_said() -> None:
    """Stored targets belong to these views; docs/data.md names them."""
    said = {"crop_scale": (0.5, 1.0), "crop_ratio": (0.75, 1.3333), "flip": 0.5, "jitter": 1.0, "blur_sigma": (0.1, 2.0)}
    said |= dict.fromkeys(("brightness", "contrast", "saturation"), 0.2) | {"randaugment_magnitude": 0.5}
    off = ("rotate", "shear", "grey", "erase", "hue", "solarise", "posterise", "blur", "randaugment", "mixup", "cutmix")
    assert ViewOptions().model_dump() == said | dict.fromkeys(off, 0)


def test_crops_are_those_of_dino_where_nothing_is_said() -> None:
    """arXiv:2104.14294, appendix "implementation", but for fewer and smaller local crops."""
    published = {"global_scale": (0.4, 1.0), "local_scale": (0.05, 0.4), "crop_ratio": (0.75, 1.3333), "blur_sigma": (0.1, 2.0)}
    published |= {"jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey": 0.2, "flip": 0.5}
    published |= {"blur": (1.0, 0.1, 0.5), "solarise": (0.0, 0.2, 0.0)}
    assert MultiCropOptions().model_dump() == published | {"local_crops": 4, "local_size": 32}


def test_a_crop_is_blurred_within_the_sigmas_that_are_said_and_needs_none_where_it_is_not_blurred() -> None:
    options = MultiCropOptions(blur=(1.0, 0.0, 0.5), blur_sigma=(0.7, 1.1))
    assert [options.of_crop(number, 224).blur for number in range(5)] == [1.0, 0.0, 0.5, 0.5, 0.5]
    assert options.of_crop(0, 224).blur_sigma == options.of_crop(2, 224).blur_sigma == (0.7, 1.1)
    assert options.of_crop(1, 224).blur_sigma == ViewOptions().blur_sigma
