"""Pictures from Python: paths, PIL images or arrays, to bytes, and to a folder that is read as any other."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from picturebook.data.images import EXTENSIONS, Broken, Decoded, decode
from picturebook.data.thumbnails import png
from picturebook.errors import DataError

_PNG_MODES = frozenset({"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"})
"""What PNG holds without a loss; `decode` makes RGB of each of them."""


def write_folder(
    root: Path,
    pictures: Sequence[object],
    labels: Sequence[str],
    *,
    texts: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> None:
    """Write a new data root: a file a picture, named by its place, and metadata.csv. Files are linked to, not copied.

    Args:
        root: made; must not exist.
        pictures: each a path, a PIL image or a uint8 array [height, width, 3].
        labels: one name a picture.
        texts: words beside each picture; "" where there are none.
        groups: what must stay in one split; "" is a group of its own.

    Raises:
        DataError: a picture is none of these, or its file is not there.
    """
    root.mkdir(parents=True)
    names = [_write(root, place, picture) for place, picture in enumerate(pictures)]
    columns = {"file_name": names, "label": labels, "text": texts, "group": groups}
    filled = {name: values for name, values in columns.items() if values is not None}
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(filled)
        writer.writerows(zip(*filled.values(), strict=True))


def decode_picture(picture: object, place: int, side: int) -> Decoded:
    """A picture from Python as a canvas of `side` pixels.

    Args:
        picture: a path, a PIL image or a uint8 array [height, width, 3].
        place: its place among the pictures, for messages.
        side: height and width of the canvas.

    Raises:
        DataError: it is none of these, or gives no picture.
    """
    data = _file(picture, place).read_bytes() if isinstance(picture, str | Path) else _encoded(picture, place)
    try:
        return decode(data, side)
    except Broken as error:
        name = picture if isinstance(picture, str | Path) else type(picture).__name__
        raise DataError(f"X[{place}] ({name}) gives no picture: {error.kind}. Mend it, or leave it out.") from None


def _write(root: Path, place: int, picture: object) -> str:
    if isinstance(picture, str | Path):
        file = _file(picture, place)
        suffix = file.suffix.lower()
        # The bytes say what a file is; its ending only says that it counts as a picture.
        name = f"{place:08d}{suffix if suffix in EXTENSIONS else '.png'}"
        (root / name).symlink_to(file.resolve())
    else:
        name = f"{place:08d}.png"
        (root / name).write_bytes(_encoded(picture, place))
    return name


def _file(path: str | Path, place: int) -> Path:
    if not Path(path).is_file():
        raise DataError(f"X[{place}]: there is no file {path}.")
    return Path(path)


def _encoded(picture: object, place: int) -> bytes:
    if isinstance(picture, Image.Image):
        upright = ImageOps.exif_transpose(picture)  # as files are read
        return _png(upright if upright.mode in _PNG_MODES else upright.convert("RGB"))
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"X[{place}]: expected a path, a PIL image or a uint8 array [height, width, 3], got {type(picture).__name__}."
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise DataError(
            f"X[{place}]: expected a uint8 array [height, width, 3], RGB in 0 … 255, got {picture.dtype} {list(picture.shape)}."
        )
    return png(picture)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
