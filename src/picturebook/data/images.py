"""Bytes of a picture to RGB, with a note of what had to change on the way.

Everything that Pillow can say about a file ends here: broken files are `Broken` with a kind, and no warning gets out.
"""

import io
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

MAX_PIXELS: Final = 100_000_000
"""Height times width, by the file's header, past which a picture is taken for a decompression bomb and not decoded."""
MAX_BYTES: Final = 2**29
"""Of a picture's file, past which it is not read."""
EXTENSIONS: Final = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Endings (lower case) of the files that count as pictures."""
# Named, so that bytes from outside cannot reach Pillow's readers that start other programs or fetch other files.
_FORMATS: Final = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error, zlib.error)
_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Broken(Exception):  # noqa: N818 - a state of the file that callers list, not an error that reaches the user
    """A file that gives no picture."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One picture as a canvas."""

    canvas: UInt8[np.ndarray, "side side 3"]
    """RGB, the whole picture squeezed into a square."""
    height: int
    """Pixels of the original, as it is to be looked at (after the rotation that EXIF asks for)."""
    width: int
    converted: tuple[str, ...]
    """What had to change, by kind; empty for a plain RGB picture."""


def picture_bytes(path: Path) -> bytes:
    """Read a picture's file.

    Raises:
        Broken: it is no file with an end (a pipe, a device), or longer than MAX_BYTES.
        OSError: it is missing, or cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Broken("not a file")
    if status.st_size > MAX_BYTES:
        raise Broken("too large a file")
    with path.open("rb") as file:
        return file.read(MAX_BYTES)  # files of the system are longer than they say


def decode(data: bytes, side: int) -> Decoded:
    """Squeeze a whole picture into a square RGB canvas, by Pillow's antialiased bicubic filter.

    A large JPEG is decoded at a fraction of its size, at least twice `side`, which is several times faster.

    Args:
        data: the file's bytes.
        side: height and width of the canvas, in pixels.

    Raises:
        Broken: the bytes give no picture; `kind` says why.
    """
    with _silent_pillow():
        image, orientation, converted, (width, height) = _load(data, draft=2 * side)
        canvas = image.resize((side, side), Image.Resampling.BICUBIC)
        canvas = _rotate(canvas, orientation)
    if orientation >= 5:
        width, height = height, width
    return Decoded(np.array(canvas), height, width, converted)


def open_rgb(data: bytes) -> Image.Image:
    """Decode a picture at its full size to RGB, with the same conversions as `decode`, for a transform of your own.

    Raises:
        Broken: the bytes give no picture; `kind` says why.
    """
    with _silent_pillow():
        image, orientation, _, _ = _load(data, draft=None)
        return _rotate(image, orientation)


def _load(data: bytes, *, draft: int | None) -> tuple[Image.Image, int, tuple[str, ...], tuple[int, int]]:
    """Give the RGB picture before rotation, its EXIF orientation, the conversions, and (width, height) of the file."""
    image = _open(data)
    size = image.size
    if size[0] * size[1] > MAX_PIXELS:
        raise Broken("decompression bomb")
    try:
        converted = _frame_and_depth(image)
        if draft is not None:
            image.draft(None, (draft, draft))
        image.load()
        orientation = _orientation(image)
        rgb, kinds = _to_rgb(image)
    except Image.DecompressionBombError:
        raise Broken("decompression bomb") from None
    except MemoryError:
        raise Broken("too large for this machine's memory") from None
    except _DAMAGE as error:
        raise Broken("truncated file" if "truncated" in str(error).lower() else "damaged file") from None
    rotated = ("EXIF-rotated",) if orientation != 1 else ()
    return rgb, orientation, (*converted, *kinds, *rotated), size


def _open(data: bytes) -> Image.Image:
    if not data:
        raise Broken("zero-byte file")
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError:
        raise Broken("not an image") from None
    except Image.DecompressionBombError:
        raise Broken("decompression bomb") from None
    except _DAMAGE:
        raise Broken("damaged file") from None


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _frame_and_depth(image: Image.Image) -> tuple[str, ...]:
    """Note what only the unloaded file tells: frames beyond the first, and 16-bit samples that Pillow cuts to 8."""
    converted = []
    # A camera's MPO file holds previews beside its picture, no animation.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        image.seek(0)
        converted.append("animated, first frame taken")
    tiles = getattr(image, "tile", [])
    if image.mode.startswith("I") or any("16" in str(tile[3]) for tile in tiles):
        converted.append("16-bit")
    return tuple(converted)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:  # a picture is good without its EXIF block
        return 1
    return orientation if orientation in _TRANSPOSITIONS else 1


def _rotate(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_TRANSPOSITIONS[orientation])


def _to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    kinds: tuple[str, ...] = ()
    if image.mode in {"1", "L", "LA"}:
        kinds = ("grey",)
    elif image.mode == "CMYK":
        kinds = ("CMYK",)
    if image.mode in {"LA", "RGBA", "PA", "La", "RGBa"} or "transparency" in image.info:
        palette = image.mode in {"P", "PA"}
        image = image.convert("RGBA")
        # Most RGBA files are opaque all over: nothing is lost in them, so nothing is noted.
        if image.getchannel("A").histogram()[255] < image.width * image.height:
            kinds = (*kinds, "palette with transparency" if palette else "alpha")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), kinds


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 0 … 65535 to 0 … 255, where Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise Broken("pixels of unknown range")
    grey = Image.fromarray(np.round(values / 257.0).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


_lock = Lock()
_silence = ExitStack()
_num_inside = 0


@contextmanager
def _silent_pillow() -> Iterator[None]:
    """Keep Pillow's warnings in. Threads share one change of the filters, since each would else restore the other's."""
    global _num_inside  # noqa: PLW0603 - warnings' filters are global, so their count is
    with _lock:
        if _num_inside == 0:
            _silence.enter_context(warnings.catch_warnings(action="ignore"))
        _num_inside += 1
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                _silence.close()
