"""Multi-crop (SwAV, arXiv:2006.09882; DINO, arXiv:2104.14294): two large and several small crops of each picture.

A crop is a pure function of (sample id, view number, its own number, seed); defaults are DINO's.
"""

from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field, field_validator

from picturebook.data.loaders import ViewMaker, labelled_batch
from picturebook.data.views import ViewOptions, training_views
from picturebook.errors import OptionError
from picturebook.options import Options
from picturebook.types import Batch, to_device

_FIRST_STREAM = 2
"""Crop k draws from stream 2 + k; views have stream 0, mixing has 1."""
_GLOBAL_CROPS = 2


class MultiCropOptions(Options):
    """How crops differ from the picture and from each other."""

    global_scale: tuple[float, float] = Field((0.4, 1.0), strict=False)
    """Least and greatest share of the original's area that the two global crops show, in (0, 1]."""
    local_crops: int = Field(4, ge=0, le=16)
    """Local crops of each picture; the source has 8."""
    local_scale: tuple[float, float] = Field((0.05, 0.4), strict=False)
    """Least and greatest share of the original's area that a local crop shows, in (0, 1]."""
    local_size: int = Field(32, ge=8)
    """Height and width of a local crop in pixels; at most that of a view. The source has 96 beside 224."""
    crop_ratio: tuple[float, float] = Field((0.75, 1.3333), strict=False)
    """Least and greatest width / height of a crop, in pixels of the original."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability that left and right change places."""
    jitter: float = Field(0.8, ge=0, le=1)
    """Probability that brightness, contrast, saturation and hue change at all."""
    brightness: float = Field(0.4, ge=0, le=1)
    """Greatest relative change of brightness."""
    contrast: float = Field(0.4, ge=0, le=1)
    """Greatest relative change of contrast."""
    saturation: float = Field(0.2, ge=0, le=1)
    """Greatest relative change of saturation."""
    hue: float = Field(0.1, ge=0, le=0.5)
    """Greatest turn of the hue to either side, as a share of the colour circle."""
    grey: float = Field(0.2, ge=0, le=1)
    """Probability that a crop loses its colour."""
    blur: tuple[float, float, float] = Field((1.0, 0.1, 0.5), strict=False)
    """Probabilities of a Gaussian blur: first global crop, second, each local one."""
    blur_sigma: tuple[float, float] = Field((0.1, 2.0), strict=False)
    """Least and greatest standard deviation of the blur, in pixels where views have the source's 224, in (0, 10]; crops beside
    smaller views get so much less: 2 pixels of 32 leave nothing to see."""
    solarise: tuple[float, float, float] = Field((0.0, 0.2, 0.0), strict=False)
    """Probabilities that bright values are inverted: first global crop, second, each local one."""

    @field_validator("global_scale", "local_scale")
    @classmethod
    def _scale_is_a_range_of_shares(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"a scale needs 0 < least ≤ greatest ≤ 1, got {list(value)}: write for example [0.4, 1.0].")
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
        if not 0 < value[0] <= value[1] <= 10:
            raise ValueError(f"blur_sigma needs 0 < least ≤ greatest ≤ 10, got {list(value)}: write for example [0.1, 2.0].")
        return value

    @field_validator("blur", "solarise")
    @classmethod
    def _three_are_probabilities(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(0 <= probability <= 1 for probability in value):
            raise ValueError(f"need three probabilities in [0, 1], got {list(value)}: write for example [1.0, 0.1, 0.5].")
        return value

    def of_crop(self, number: int, image_size: int) -> ViewOptions:
        """The options of one crop: 0 and 1 are global, with views of `image_size` pixels, from 2 on they are local."""
        kind = min(number, _GLOBAL_CROPS)
        same = {name: getattr(self, name) for name in _SHARED}
        if self.blur[kind]:
            least, greatest = (min(sigma * image_size / _SOURCE_SIZE, 10.0) for sigma in self.blur_sigma)
            same["blur_sigma"] = (least, greatest)
        return ViewOptions(
            crop_scale=self.local_scale if kind == _GLOBAL_CROPS else self.global_scale,
            blur=self.blur[kind],
            solarise=self.solarise[kind],
            **same,
        )


_SOURCE_SIZE = 224
"""Height and width of the source's global crops in pixels."""
_SHARED = ("crop_ratio", "flip", "jitter", "brightness", "contrast", "saturation", "hue", "grey")


@dataclass(frozen=True, slots=True)
class MultiCropMaker:
    """Makes batches of crops: `images` are the first global crops, `crops` the second ones and then the local ones.

    Pictures, size of the global crops, seed and device are the view maker's; its view options are not read.

    Raises:
        OptionError: local crops are larger than global ones.
    """

    maker: ViewMaker
    options: MultiCropOptions

    def __post_init__(self) -> None:
        if self.options.local_size > self.maker.image_size:
            raise OptionError(
                f"local_size: need at most {self.maker.image_size} (student.image_size), got {self.options.local_size}: lower it."
            )

    def batch(self, rows: np.ndarray, views: np.ndarray, *, with_images: bool = True) -> Batch:
        """The samples at `rows` int64 [B] in their views `views` int64 [B]; `with_images` off leaves the pictures undecoded."""
        pictures, seed, device = self.maker.pictures, self.maker.seed, self.maker.device
        batch = labelled_batch(pictures, rows, views).to(device)
        if not with_images:
            return batch
        canvases, sizes = to_device(pictures.canvases[rows], device), pictures.sizes[rows].astype(np.int64)
        crops = [
            training_views(
                canvases,
                sizes,
                pictures.ids[rows],
                views,
                seed=seed,
                image_size=self.maker.image_size if number < _GLOBAL_CROPS else self.options.local_size,
                options=self.options.of_crop(number, self.maker.image_size),
                stream=_FIRST_STREAM + number,
            )
            for number in range(_GLOBAL_CROPS + self.options.local_crops)
        ]
        return replace(batch, images=crops[0], crops=tuple(crops[1:]))

    def expect(self, rows: np.ndarray) -> None:
        """Say which rows the next batch will hold, so that they are decoded meanwhile where no canvases are kept."""
        self.maker.expect(rows)
