"""Which random number decides what: stored targets belong to views, so that a setting may not draw from another's place."""

import numpy as np
import pytest
import torch

from picturebook.data.views import ViewOptions, training_views

STILL = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
VIEWS = [
    ({"crop_scale": (0.3, 0.6)}, [-3.659, -3.239, -6.612, 9.874, -4.81, 1.586]),
    ({"flip": 0.5}, [-3.273, 0.327, -2.326, 10.494, -6.991, -2.26]),
    ({"rotate": 40.0}, [-3.388, 0.12, -0.583, 11.159, -6.717, -5.08]),
    ({"shear": 20.0}, [-3.976, -0.238, 0.278, 10.995, -6.681, -3.515]),
    ({"brightness": 0.3, "contrast": 0.2, "saturation": 0.4, "jitter": 0.7}, [-2.694, 0.327, -2.061, 11.667, -6.216, -1.631]),
    ({"grey": 0.5}, [-2.144, 0.672, -1.483, 10.325, -0.269, -1.551]),
    ({"hue": 0.4}, [-3.032, 2.283, -5.56, 10.544, -1.935, -2.183]),
    ({"erase": 0.6}, [-2.571, 0.327, -3.783, 9.568, -6.991, -2.26]),
    ({"solarise": 0.5}, [-3.328, 0.182, -0.866, 10.325, -6.991, -2.586]),
    ({"posterise": 0.7}, [-3.328, 0.327, -2.326, 10.325, -6.991, -2.23]),
    ({"blur": 0.6}, [-3.297, 0.327, -1.486, 10.325, -7.129, -2.26]),
    ({"randaugment": 4}, [-3.095, -1.779, 0.994, 13.356, -4.065, -1.654]),
]
"""Settings, and Σ pixel × weight of six views, computed when VIEWS_VERSION was 1."""


@pytest.mark.parametrize(("settings", "expected"), VIEWS, ids=[", ".join(settings) for settings, _ in VIEWS])
def test_each_setting_makes_the_views_that_it_made(settings: dict[str, object], expected: list[float]) -> None:
    canvases = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8))
    options, rows = ViewOptions(**{**STILL, **settings}), np.arange(6)
    images = training_views(canvases, np.full((6, 2), 50), rows, rows % 2, seed=3, image_size=12, options=options)
    weights = torch.linspace(-1, 1, images[0].numel()).reshape(images[0].shape)
    torch.testing.assert_close((images * weights).sum(dim=(1, 2, 3)), torch.tensor(expected), atol=2e-3, rtol=0)
