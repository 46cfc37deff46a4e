"""Where the words look: a test picture and its heat map, as PNG in a data URI."""

import base64
from io import BytesIO

import numpy as np
from jaxtyping import Float, UInt8

from picturebook.report.content import Attention

_PICTURE_SIDE = 256
"""Pixels of the longer side of a picture on the page."""


def plain_picture(attention: Attention) -> str:
    """Give the picture as a PNG data URI, scaled to the same size as its overlay."""
    return _png(_scaled_picture(attention.image))


def attention_overlay(attention: Attention) -> str:
    """Give the picture, greyed, under a heat map of its weights as a PNG data URI.

    Heat is the weight over the largest weight of this picture, or over three times the even weight where that is more:
    looking everywhere alike shows as an even, faint tint.
    """
    picture = _scaled_picture(attention.image)
    grey = picture @ np.array([0.2126, 0.7152, 0.0722])
    strength = attention.weights / max(float(attention.weights.max()), 3 / attention.weights.size)
    heat = np.clip(_resampled(strength.astype(np.float64)[..., None], *grey.shape)[..., 0], 0, 1)
    return _png(_heated(grey, heat))


def heat_key(num_stops: int = 7) -> tuple[str, ...]:
    """Give the overlay's colours over mid-grey as CSS colours, from no attention to most."""
    colours = _heated(np.full((1, num_stops), 0.5), np.linspace(0, 1, num_stops)[None])[0]
    return tuple("#" + "".join(f"{round(255 * channel):02x}" for channel in colour) for colour in colours)


def _heated(
    grey: Float[np.ndarray, "rows columns"], heat: Float[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns 3"]:
    from matplotlib import colormaps

    colours = colormaps["inferno"](0.3 + 0.65 * heat)[..., :3]
    share = 0.1 + 0.7 * heat[..., None]
    return np.asarray((1 - share) * (0.08 + 0.55 * grey[..., None]) + share * colours)


def _scaled_picture(image: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "rows columns 3"]:
    scale = _PICTURE_SIDE / max(image.shape[:2])
    rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
    return _resampled(image / 255, rows, columns)


def _resampled(
    values: Float[np.ndarray, "height width channels"], rows: int, columns: int
) -> Float[np.ndarray, "rows columns c"]:
    """Scale bilinearly; where the target is smaller, the triangle widens so that nothing is skipped."""
    down, across = _triangles(values.shape[0], rows), _triangles(values.shape[1], columns)
    return np.asarray(np.einsum("rh,hwc,vw->rvc", down, values, across, optimize=True))


def _triangles(source: int, target: int) -> Float[np.ndarray, "target source"]:
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    weights = np.clip(1 - np.abs(np.arange(source) - centres[:, None]) / max(1.0, source / target), 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _png(picture: Float[np.ndarray, "rows columns 3"]) -> str:
    from matplotlib.image import imsave

    stream = BytesIO()
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    imsave(stream, pixels, format="png", metadata={"Software": "picturebook"})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
