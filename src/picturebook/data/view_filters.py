"""What a view does to neighbouring pixels: blur and sharpness, batched.

Sums go tap by tap, each one multiplication and one addition over whole images, so that an image's bits do not depend on its
batch; a convolution would leave their order to the library.
"""

from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import pad

from picturebook.types import to_device

Images = Float[Tensor, "batch 3 height width"]

_REACH = 3.0
"""Standard deviations after which a Gaussian is cut: .3 % of it lie outside."""


def gaussian_blur(images: Images, sigmas: Float64[np.ndarray, " batch"]) -> Images:
    """Blur each image by a Gaussian of its own width, along columns and rows in turn; edges are reflected.

    Args:
        images: RGB in [0, 1].
        sigmas: [B], standard deviations in pixels, above 0. The window reaches ⌈3 sigma⌉ pixels to either side, but no
            further than the image has pixels to reflect, and its weights sum to 1.
    """
    radii = np.minimum(np.ceil(_REACH * sigmas).astype(np.int64), min(images.shape[2:]) - 1)
    blurred = torch.empty_like(images)
    for radius in np.unique(radii):
        rows = np.flatnonzero(radii == radius)
        chosen = to_device(rows, images.device)
        blurred[chosen] = _blur_group(images[chosen], sigmas[rows], int(radius))
    return blurred


def _blur_group(images: Images, sigmas: Float64[np.ndarray, " batch"], radius: int) -> Images:
    taps = np.exp(-(np.arange(radius + 1) ** 2) / (2 * sigmas[:, None] ** 2))
    taps /= taps[:, :1] + 2 * taps[:, 1:].sum(axis=1, keepdims=True)
    weights = to_device(taps.astype(np.float32), images.device)[:, :, None, None, None]
    for axis in (2, 3):
        length = images.shape[axis]
        padded = pad(images, (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0), mode="reflect")
        images = images * weights[:, 0]
        for tap in range(1, radius + 1):
            both = padded.narrow(axis, radius - tap, length) + padded.narrow(axis, radius + tap, length)
            images.add_(both.mul_(weights[:, tap]))
    return images.clamp_(0, 1)


def adjust_sharpness(images: Images, factors: Float[Tensor, " batch"]) -> Images:
    """Mix each image with its smoothed self: f x + (1 - f) smooth(x), cut to [0, 1] (Pillow's Sharpness).

    Smoothing is Pillow's 3 x 3 window of ones with 5 in the middle, over 13; the outermost pixels have no full window and stay.

    Args:
        images: RGB in [0, 1].
        factors: [B], at least 0; 1 leaves the image, 0 is the smoothed one, more sharpens.
    """
    height, width = images.shape[2:]
    if min(height, width) < 3:
        return images
    middle = images[:, :, 1:-1, 1:-1]
    smooth = middle * 4
    for down, right in product(range(3), repeat=2):
        smooth.add_(images[:, :, down : height - 2 + down, right : width - 2 + right])
    factors = factors[:, None, None, None]
    sharper = images.clone()
    sharper[:, :, 1:-1, 1:-1] = (middle * factors).add_(smooth.div_(13).mul_(1 - factors)).clamp_(0, 1)
    return sharper
