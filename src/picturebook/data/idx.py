"""IDX, the file format of MNIST and its successors: two zero bytes, a type, the number of dimensions, their sizes, raw values."""

import gzip
import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from picturebook.data.rows import Table, sample_ids
from picturebook.errors import DataError

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
"""Names of the classes 0, 1, … by the name of the data's folder: the files hold numbers only."""

_FILES = {"train": "train", "test": "t10k"}
_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 8
_MOST_BYTES = 2**30
"""That an IDX file may hold: 1.4 million pictures of 28 × 28."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzipped (told by its content); the array has the shape that the file states.

    Raises:
        DataError: the file is missing, no IDX file of unsigned bytes, or shorter or longer than it states.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if content.startswith(_GZIP_MAGIC):
        try:
            content = _unzipped(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is damaged: its gzip stream cannot be read ({error}). Fetch it again.") from None
    if len(content) > _MOST_BYTES:
        raise DataError(
            f"{path} holds more than {_MOST_BYTES:,} bytes of pictures: make it a folder of pictures, or parquet files."
        )
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE or content[3] == 0:
        raise DataError(
            f"{path} is no IDX file of unsigned bytes: it should begin with 00 00 08 and its number of dimensions, "
            f"but it begins with {content[:4].hex(' ') or 'nothing'}."
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(
            f"{path} is cut off: its header should have {start} bytes, but the file has {len(content)}. Fetch it again."
        )
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    stated, found = math.prod(shape), len(content) - start
    if stated != found:
        sizes = " × ".join(map(str, shape))
        raise DataError(f"{path} should hold {sizes} = {stated} bytes after its header, but it holds {found}. Fetch it again.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _unzipped(content: bytes) -> bytes:
    """What a gzip stream holds, up to one byte more than may be: a megabyte can hold gigabytes."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(_MOST_BYTES + 1)


def read_idx_table(root: Path) -> Table:
    """Read a folder of MNIST's layout: {train,t10k}-images-idx3-ubyte and -labels-idx1-ubyte, each with or without .gz.

    The rows are named "train/00000", …, "test/00000", …, and belong to the splits "train" and "test"; take validation from train.
    A picture's bytes are a grey PNG. There are no texts and no groups. Classes have the names of CLASS_NAMES when the folder is
    called so, in any other folder they are the numbers as text.

    Raises:
        DataError: a file is missing or damaged, or the files do not fit each other.
    """
    parts = {split: _read_part(root, prefix) for split, prefix in _FILES.items()}
    names = [f"{split}/{number:05d}" for split, (_, numbers) in parts.items() for number in range(len(numbers))]
    numbers = np.concatenate([numbers for _, numbers in parts.values()]).astype(np.int64)
    num_classes = int(numbers.max()) + 1
    spelt = CLASS_NAMES.get(root.resolve().name, tuple(str(number) for number in range(num_classes)))
    if num_classes > len(spelt):
        raise DataError(
            f"{root} should hold the {len(spelt)} classes of {root.resolve().name}, but it has a label {num_classes - 1}. "
            "Rename the folder: its name decides what the classes are called."
        )
    classes = tuple(sorted(spelt))
    label_of_number = np.array([classes.index(name) for name in spelt], dtype=np.int64)
    return Table(
        names=tuple(names),
        ids=sample_ids(names),
        labels=label_of_number[numbers],
        classes=classes,
        texts=None,
        splits=tuple(name.split("/")[0] for name in names),
        groups=None,
        read=_GreyPictures(tuple(images for images, _ in parts.values())),
        findings=(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _GreyPictures:
    """Gives the picture at a row as PNG; a class and not a closure, so that loader processes can receive it."""

    parts: tuple[NDArray[np.uint8], ...]

    def __call__(self, row: int) -> bytes:
        from PIL import Image

        for part in self.parts:
            if row < len(part):
                file = io.BytesIO()
                Image.fromarray(part[row]).save(file, format="PNG")
                return file.getvalue()
            row -= len(part)
        raise IndexError(row)


def _read_part(root: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, labels = (_read_either(root / f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    if images.ndim != 3 or labels.ndim != 1 or images.size == 0 or len(images) != len(labels):
        raise DataError(
            f"{root} should hold as many {prefix} labels as pictures (count × height × width), but the pictures have the sizes "
            f"{images.shape} and the labels {labels.shape}. Take both files from the same data set."
        )
    return images, labels


def _read_either(path: Path) -> NDArray[np.uint8]:
    zipped = path.with_name(f"{path.name}.gz")
    return read_idx(zipped if zipped.exists() else path)
