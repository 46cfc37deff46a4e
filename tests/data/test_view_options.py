"""Settings of views: what is taken, and what is refused in which words."""

import pytest
from pydantic import ValidationError

from picturebook.data.views import ViewOptions


def test_options_load_from_plain_lists_and_know_their_defaults() -> None:
    options = ViewOptions.model_validate({"crop_scale": [0.3, 1], "crop_ratio": [1.0, 1.0], "rotate": 10})
    assert options.crop_scale == (0.3, 1.0)
    assert options.rotate == 10.0
    assert ViewOptions().crop_scale == (0.5, 1.0)
    assert ViewOptions.model_validate(ViewOptions().model_dump(mode="json")) == ViewOptions()
    assert all(field.description for field in ViewOptions.model_fields.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_scale", [0.0, 1.0]),
        ("crop_scale", [0.5, 1.1]),
        ("crop_scale", [0.9, 0.5]),
        ("crop_scale", [0.5]),
        ("crop_scale", ["0.5", "1.0"]),
        ("crop_scale", [float("nan"), 1.0]),
        ("crop_ratio", [-1.0, 1.0]),
        ("crop_ratio", [1.3, 0.7]),
        ("crop_ratio", [1.0, float("inf")]),
        ("flip", 1.5),
        ("flip", -0.1),
        ("rotate", 181.0),
        ("shear", 31.0),
        ("brightness", -0.1),
        ("contrast", 1.1),
        ("saturation", "much"),
        ("grey", 2.0),
        ("erase", float("nan")),
        ("rotation", 10.0),
        ("jitter", 1.1),
        ("hue", 0.6),
        ("solarise", -0.1),
        ("posterise", 2.0),
        ("blur", float("nan")),
        ("blur_sigma", [0.0, 1.0]),
        ("blur_sigma", [1.0, 0.5]),
        ("blur_sigma", [1.0, 11.0]),
        ("randaugment", 5),
        ("randaugment", 1.5),
        ("randaugment_magnitude", 1.1),
        ("mixup", 1.1),
        ("cutmix", -0.1),
    ],
)
def test_impossible_options_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        ViewOptions.model_validate({name: value})


def test_a_wrong_range_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValidationError, match=r"crop_scale needs 0 < least ≤ greatest ≤ 1, got \[0.9, 0.5\]: write"):
        ViewOptions(crop_scale=(0.9, 0.5))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mixup": 0.7, "cutmix": 0.7}, r"mixup \+ cutmix need to be 1 at most, got 0.7 \+ 0.7"),
        ({"blur_sigma": (0.1, 1.0)}, "blur_sigma takes no effect with blur = 0: remove it"),
        ({"randaugment_magnitude": 0.9}, "randaugment_magnitude takes no effect with randaugment = 0: remove it"),
        ({"blur": 0.5, "blur_sigma": (0.0, 1.0)}, r"blur_sigma needs 0 < least ≤ greatest ≤ 10, got \[0.0, 1.0\]: write"),
    ],
)
def test_settings_that_cannot_go_together_are_refused_in_a_sentence(changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        ViewOptions(**changes)
