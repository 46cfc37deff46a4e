"""Small pictures for pages."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def thumbnail(canvas: UInt8[np.ndarray, "side side 3"], *, height: int, width: int, longer: int = 192) -> bytes:
    """A canvas as a PNG file in its original's proportions.

    Args:
        canvas: RGB.
        height: of the original, in pixels.
        width: the same.
        longer: pixels of the thumbnail's longer side.
    """
    scale = longer / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return png(np.asarray(Image.fromarray(canvas).resize(size, Image.Resampling.BICUBIC)))


def png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """RGB as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
