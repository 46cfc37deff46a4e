"""What a model sees of a picture: pure functions of (canvas, sample id, view number, seed), batched on the canvas's device.

A view computed alone is bit for bit the view computed in any batch, in any order, by any number of threads, on the same
device and build of PyTorch; elsewhere it agrees to rounding.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64, UInt8
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from picturebook.data.counter import counter_uniforms
from picturebook.data.view_colour import adjust_colour, erase_rectangles, posterise, shift_hue, solarise
from picturebook.data.view_filters import gaussian_blur
from picturebook.data.view_geometry import box_affines, centre_boxes, random_boxes, sample_affines
from picturebook.data.view_strong import draw_operations, move, recolour
from picturebook.options import Options
from picturebook.types import to_device

Canvases = UInt8[Tensor, "batch side side 3"]
Sizes = Int[Tensor, "batch 2"] | Int[np.ndarray, "batch 2"]
Images = Float[Tensor, "batch 3 height width"]
Uniforms = Float64[np.ndarray, "batch _"]
Counters = Int64[Tensor, " batch"] | Int64[np.ndarray, " batch"]

_ERASED_SHARE = (0.02, 0.2)
_ERASED_RATIO = (1 / 3, 3.0)

# Which uniform number decides what. Stored targets belong to these places: add new ones at the end, move none.
_CROP, _FLIP, _ROTATE, _SHEAR = slice(0, 4), 4, 5, slice(6, 8)
_BRIGHTNESS, _CONTRAST, _SATURATION, _GREY = 8, 9, 10, 11
_ERASE, _ERASED = 12, slice(13, 17)
_JITTER, _HUE, _SOLARISE, _POSTERISE, _BITS, _BLUR, _SIGMA = 17, 18, 19, 20, 21, 22, 23
_RANDAUGMENT = slice(24, 32)
_NUM_UNIFORMS = 32

_SOLARISED_FROM = 0.5
_LEAST_BITS, _GREATEST_BITS = 4, 7
_GREATEST_SIGMA = 10


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
    jitter: float = Field(1.0, ge=0, le=1)
    """Probability that brightness, contrast, saturation and hue change at all."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Greatest turn of the hue to either side, as a share of the colour circle."""
    solarise: float = Field(0.0, ge=0, le=1)
    """Probability that channel values from half the range up are inverted."""
    posterise: float = Field(0.0, ge=0, le=1)
    """Probability that 4 to 7 of each channel's 8 bits are kept."""
    blur: float = Field(0.0, ge=0, le=1)
    """Probability of a Gaussian blur."""
    blur_sigma: tuple[float, float] = Field((0.1, 2.0), strict=False)
    """Least and greatest standard deviation of the blur in pixels of the view, in (0, 10]; published for views of 224 pixels."""
    randaugment: int = Field(0, ge=0, le=4)
    """RandAugment's operations a view, drawn from 14 (arXiv:1909.13719); 0 is off."""
    randaugment_magnitude: float = Field(0.5, ge=0, le=1)
    """How strong they are, as a share of the greatest: rotation 30°, shear .3, translation .45 of the side, factors 1 ± .9, …"""
    mixup: float = Field(0.0, ge=0, le=1)
    """Probability that another training picture's view is blended in, its share uniform in [0, 1] (arXiv:1710.09412)."""
    cutmix: float = Field(0.0, ge=0, le=1)
    """Probability that a square of another training picture's view is pasted, its area uniform in [0, 1] (arXiv:1905.04899)."""

    @property
    def mixes(self) -> bool:
        """Whether a view may hold something of another picture."""
        return self.mixup + self.cutmix > 0

    def whole(self) -> "ViewOptions":
        """The same without mixing."""
        return self.model_copy(update={"mixup": 0.0, "cutmix": 0.0})

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

    @field_validator("blur_sigma")
    @classmethod
    def _sigma_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= _GREATEST_SIGMA:
            raise ValueError(f"blur_sigma needs 0 < least ≤ greatest ≤ 10, got {list(value)}: write for example [0.1, 2.0].")
        return value

    @model_validator(mode="after")
    def _settings_take_effect(self) -> "ViewOptions":
        if self.mixup + self.cutmix > 1:
            raise ValueError(f"mixup + cutmix need to be 1 at most, got {self.mixup} + {self.cutmix}: a view is mixed once")
        fields = type(self).model_fields
        for name, switch in (("blur_sigma", "blur"), ("randaugment_magnitude", "randaugment")):
            if not getattr(self, switch) and getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} takes no effect with {switch} = 0: remove it")
        return self


@torch.no_grad()
def training_views(
    canvases: Canvases,
    sizes: Sizes,
    ids: Counters,
    views: Counters,
    *,
    seed: int,
    image_size: int,
    options: ViewOptions,
    stream: int = 0,
) -> Float[Tensor, "batch 3 {image_size} {image_size}"]:
    """Make one view of each canvas: cropped, mirrored, turned, then its colours changed, blurred and partly erased.

    The order is RandAugment; hue, brightness, contrast, saturation, grey; blur; posterise; solarise; erase. Mixing pictures
    is `data.mixing`'s.

    Args:
        canvases: [B, S, S, 3], RGB in 0 … 255, each the whole original squeezed to a square; views are made on its device.
        sizes: [B, 2], (height, width) of the originals in pixels.
        ids: [B], sample ids.
        views: [B], view numbers.
        seed: of the run; any integer.
        image_size: side of the views in pixels.
        options: ranges and probabilities; those of mixing are not read here.
        stream: what else the views differ by, as crops of one view do; see `counter_uniforms`.

    Returns:
        RGB in [0, 1], float32. Row i is a function of its own row of the arguments; see the module for how exactly.
    """
    sizes = _on_host(sizes)
    uniforms = counter_uniforms(seed, _on_host(ids), _on_host(views), _NUM_UNIFORMS, stream=stream)
    affines = box_affines(
        random_boxes(uniforms[:, _CROP], sizes, scale=options.crop_scale, ratio=options.crop_ratio),
        sizes,
        flips=uniforms[:, _FLIP] < options.flip,
        degrees=_about_zero(uniforms[:, _ROTATE], options.rotate) if options.rotate else None,
        shears=_about_zero(uniforms[:, _SHEAR], options.shear) if options.shear else None,
    )
    if options.randaugment:
        drawn = uniforms[:, _RANDAUGMENT][:, : 2 * options.randaugment]
        operations = draw_operations(drawn, options.randaugment_magnitude)
        images = recolour(sample_affines(canvases, move(affines, operations), image_size=image_size), operations)
    else:
        images = sample_affines(canvases, affines, image_size=image_size)
    return _erase(_filter(_jitter(images, uniforms, options), uniforms, options), uniforms, options)


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


def _jitter(images: Images, uniforms: Uniforms, options: ViewOptions) -> Images:
    """Hue first, so that grey comes last."""
    jittered = uniforms[:, _JITTER] < options.jitter
    if options.hue:
        turns = _about_zero(uniforms[jittered, _HUE], options.hue).astype(np.float32)
        images = _changed(images, jittered, lambda some: shift_hue(some, to_device(turns, some.device)))
    factors = _colour_factors(uniforms, jittered, options)
    if (factors != 1).any():
        brightness, contrast, saturation = to_device(factors.astype(np.float32), images.device)
        images = adjust_colour(images, brightness=brightness, contrast=contrast, saturation=saturation)
    return images


def _colour_factors(
    uniforms: Uniforms, jittered: Bool[np.ndarray, " batch"], options: ViewOptions
) -> Float64[np.ndarray, "3 batch"]:
    """Brightness, contrast and saturation, around 1; a grey view is one without saturation."""
    places = ((_BRIGHTNESS, options.brightness), (_CONTRAST, options.contrast), (_SATURATION, options.saturation))
    factors = np.stack([1 + _about_zero(uniforms[:, place], greatest) for place, greatest in places])
    factors[:, ~jittered] = 1
    factors[2, uniforms[:, _GREY] < options.grey] = 0
    return factors


def _filter(images: Images, uniforms: Uniforms, options: ViewOptions) -> Images:
    if options.blur:
        blurred = uniforms[:, _BLUR] < options.blur
        least, greatest = options.blur_sigma
        sigmas = least + (greatest - least) * uniforms[blurred, _SIGMA]
        images = _changed(images, blurred, lambda some: gaussian_blur(some, sigmas))
    if options.posterise:
        posterised = uniforms[:, _POSTERISE] < options.posterise
        bits = _LEAST_BITS + np.floor(uniforms[posterised, _BITS] * (_GREATEST_BITS - _LEAST_BITS + 1)).astype(np.int64)
        images = _changed(images, posterised, lambda some: posterise(some, to_device(bits, some.device)))
    if options.solarise:
        solarised = uniforms[:, _SOLARISE] < options.solarise
        images = _changed(images, solarised, lambda some: solarise(some, some.new_full((len(some),), _SOLARISED_FROM)))
    return images


def _changed(images: Images, which: Bool[np.ndarray, " batch"], change: Callable[[Images], Images]) -> Images:
    """The images with some of them changed, together."""
    if which.all():
        return change(images)
    rows = to_device(np.flatnonzero(which), images.device)
    return images.index_copy(0, rows, change(images[rows])) if len(rows) else images


def _erase(images: Images, uniforms: Uniforms, options: ViewOptions) -> Images:
    if not options.erase:
        return images
    rectangles = _erased_rectangles(uniforms[:, _ERASED], images.shape[2])
    rectangles[uniforms[:, _ERASE] >= options.erase] = 0
    return erase_rectangles(images, to_device(rectangles, images.device))


def _erased_rectangles(uniforms: Float64[np.ndarray, "batch 4"], image_size: int) -> Int64[np.ndarray, "batch 4"]:
    """Boxes of 2 to 20 % of the view, 3:1 to 1:3, rounded to whole pixels; at this aspect each fits."""
    square = np.full((len(uniforms), 2), image_size)
    boxes = random_boxes(uniforms, square, scale=_ERASED_SHARE, ratio=_ERASED_RATIO)
    rectangles: Int64[np.ndarray, "batch 4"] = np.maximum(np.rint(boxes), (0, 0, 1, 1)).astype(np.int64)
    return rectangles
