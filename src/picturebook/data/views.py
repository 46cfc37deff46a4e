"""What a model sees of a picture: pure functions of (canvas, sample id, view number, seed), batched on the canvas's device.

A view computed alone is bit for bit the view computed in any batch, in any order, by any number of threads, on the same
device and build of PyTorch; elsewhere it agrees to rounding.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64, UInt8
from pydantic import Field, field_validator
from torch import Tensor

from picturebook.data.counter import counter_uniforms
from picturebook.data.view_colour import adjust_colour, erase_rectangles
from picturebook.data.view_geometry import box_affines, centre_boxes, random_boxes, sample_affines
from picturebook.options import Options

Canvases = UInt8[Tensor, "batch side side 3"]
Sizes = Int[Tensor, "batch 2"] | Int[np.ndarray, "batch 2"]
Counters = Int64[Tensor, " batch"] | Int64[np.ndarray, " batch"]

_ERASED_SHARE = (0.02, 0.2)
_ERASED_RATIO = (1 / 3, 3.0)

# Which uniform number decides what. Stored targets belong to these places: add new ones at the end, move none.
_CROP, _FLIP, _ROTATE, _SHEAR = slice(0, 4), 4, 5, slice(6, 8)
_BRIGHTNESS, _CONTRAST, _SATURATION, _GREY = 8, 9, 10, 11
_ERASE, _ERASED = 12, slice(13, 17)
_NUM_UNIFORMS = 17


VIEWS_VERSION = 1
"""Counted up whenever a change makes other pixels of the same settings: it is part of the fingerprints of what is stored."""


class ViewOptions(Options):
    """How training views differ from the picture. Every choice is drawn by hash from (seed, sample id, view number)."""

    crop_scale: tuple[float, float] = Field((0.5, 1.0), strict=False)
    """Least and greatest share of the original's area that a crop shows, in (0, 1]."""
    crop_ratio: tuple[float, float] = Field((0.75, 1.3333), strict=False)
    """Least and greatest width / height of a crop, in pixels of the original; the view squeezes it to a square."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability that left and right change places; 0 where mirroring changes the class, as with letters."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Greatest rotation to either side, in degrees."""
    shear: float = Field(0.0, ge=0, le=30)
    """Greatest shear to either side along each axis, in degrees."""
    brightness: float = Field(0.2, ge=0, le=1)
    """Greatest relative change of brightness: the factor is uniform in [1 - this, 1 + this]."""
    contrast: float = Field(0.2, ge=0, le=1)
    """Greatest relative change of contrast about the view's mean grey."""
    saturation: float = Field(0.2, ge=0, le=1)
    """Greatest relative change of saturation."""
    grey: float = Field(0.0, ge=0, le=1)
    """Probability that a view loses its colour."""
    erase: float = Field(0.0, ge=0, le=1)
    """Probability that one rectangle of 2 to 20 % of the view is filled with the view's mean colour."""

    @field_validator("crop_scale")
    @classmethod
    def _scale_is_a_range_of_shares(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"crop_scale needs 0 < least ≤ greatest ≤ 1, got {list(value)}: write for example [0.5, 1.0].")
        return value

    @field_validator("crop_ratio")
    @classmethod
    def _ratio_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] < float("inf"):
            raise ValueError(f"crop_ratio needs 0 < least ≤ greatest, got {list(value)}: write for example [0.75, 1.3333].")
        return value


@torch.no_grad()
def training_views(
    canvases: Canvases, sizes: Sizes, ids: Counters, views: Counters, *, seed: int, image_size: int, options: ViewOptions
) -> Float[Tensor, "batch 3 {image_size} {image_size}"]:
    """Make one randomly cropped, mirrored, turned and coloured view of each canvas.

    Args:
        canvases: [B, S, S, 3], RGB in 0 … 255, each the whole original squeezed to a square; views are made on its device.
        sizes: [B, 2], (height, width) of the originals in pixels.
        ids: [B], sample ids.
        views: [B], view numbers.
        seed: of the run; any integer.
        image_size: side of the views in pixels.
        options: ranges and probabilities.

    Returns:
        RGB in [0, 1], float32. Row i is a function of its own row of the arguments; see the module for how exactly.
    """
    sizes = _on_host(sizes)
    uniforms = counter_uniforms(seed, _on_host(ids), _on_host(views), _NUM_UNIFORMS)
    affines = box_affines(
        random_boxes(uniforms[:, _CROP], sizes, scale=options.crop_scale, ratio=options.crop_ratio),
        sizes,
        flips=uniforms[:, _FLIP] < options.flip,
        degrees=_about_zero(uniforms[:, _ROTATE], options.rotate) if options.rotate else None,
        shears=_about_zero(uniforms[:, _SHEAR], options.shear) if options.shear else None,
    )
    images = sample_affines(canvases, affines, image_size=image_size)
    factors = _colour_factors(uniforms, options)
    if (factors != 1).any():
        brightness, contrast, saturation = torch.from_numpy(factors.astype(np.float32)).to(images.device)
        images = adjust_colour(images, brightness=brightness, contrast=contrast, saturation=saturation)
    if options.erase:
        rectangles = _erased_rectangles(uniforms[:, _ERASED], image_size)
        rectangles[uniforms[:, _ERASE] >= options.erase] = 0
        images = erase_rectangles(images, torch.from_numpy(rectangles).to(images.device))
    return images


@torch.no_grad()
def evaluation_views(
    canvases: Canvases, sizes: Sizes, *, image_size: int, crop_fraction: float = 1.0
) -> Float[Tensor, "batch 3 {image_size} {image_size}"]:
    """Show the square in the middle of each original, its side `crop_fraction` of the shorter side.

    The usual evaluation transform (shorter side to image_size / crop_fraction, then the central square of image_size), but
    with a middle that is not rounded to whole pixels.

    Args:
        canvases: [B, S, S, 3], RGB in 0 … 255, each the whole original squeezed to a square.
        sizes: [B, 2], (height, width) of the originals in pixels.
        image_size: side of the views in pixels.
        crop_fraction: in (0, 1].

    Returns:
        RGB in [0, 1], float32; exactly canvas / 255 for a whole square original when S is `image_size`.
    """
    assert 0 < crop_fraction <= 1, f"crop_fraction needs 0 < fraction ≤ 1, got {crop_fraction}"
    sizes = _on_host(sizes)
    return sample_affines(canvases, box_affines(centre_boxes(sizes, crop_fraction), sizes), image_size=image_size)


def _on_host(values: Int[Tensor, "*shape"] | Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    return values.numpy(force=True) if isinstance(values, Tensor) else values


def _about_zero(uniforms: Float64[np.ndarray, "*shape"], greatest: float) -> Float64[np.ndarray, "*shape"]:
    return (2 * uniforms - 1) * greatest


def _colour_factors(uniforms: Float64[np.ndarray, "batch _"], options: ViewOptions) -> Float64[np.ndarray, "3 batch"]:
    """Brightness, contrast and saturation, around 1; a grey view is one without saturation."""
    places = ((_BRIGHTNESS, options.brightness), (_CONTRAST, options.contrast), (_SATURATION, options.saturation))
    factors = np.stack([1 + _about_zero(uniforms[:, place], greatest) for place, greatest in places])
    factors[2, uniforms[:, _GREY] < options.grey] = 0
    return factors


def _erased_rectangles(uniforms: Float64[np.ndarray, "batch 4"], image_size: int) -> Int64[np.ndarray, "batch 4"]:
    """Boxes of 2 to 20 % of the view, 3:1 to 1:3, rounded to whole pixels; at this aspect each fits."""
    square = np.full((len(uniforms), 2), image_size)
    boxes = random_boxes(uniforms, square, scale=_ERASED_SHARE, ratio=_ERASED_RATIO)
    rectangles: Int64[np.ndarray, "batch 4"] = np.maximum(np.rint(boxes), (0, 0, 1, 1)).astype(np.int64)
    return rectangles
