"""Files that are there whole or not at all.

What is written goes to the disk under another name and is then renamed: a reader sees the old content or the new one, and so does
whoever comes after a power cut.
"""

import errno
import io
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, TypeGuard

import numpy as np

from picturebook.errors import RunError

MOST_BYTES = 2**31
"""That an array file may hold."""
UNFINISHED = ".unfinished"
"""How the names end under which things are written."""
_OUTSIDE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENOENT,
        errno.ENOLCK,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
    }
)
"""What a disk does to a program that did nothing wrong."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Raises:
        RunError: the place cannot be written.
    """
    with atomic_file(path) as new:
        new.write_bytes(content)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a temporary file; it is brought to the disk and takes the name `path` when the block ends without an error.

    Raises:
        RunError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        new = Path(name)
        try:
            os.fchmod(handle, 0o666 & ~_umask())  # mkstemp's files are for nobody else; runs and caches are shared
            os.close(handle)
            yield new
            sync(new)
            new.replace(path)
            sync(path.parent)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RunError:
    """That a place cannot be written, in a sentence."""
    return RunError(f"{path} cannot be written ({error.strerror or error}): name another place, or mend this one.")


def _umask() -> int:
    umask = os.umask(0)  # reading it means setting it
    os.umask(umask)
    return umask


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Bring all that is in a folder to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent) / name)
        sync(Path(parent))


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Fill a temporary folder; it is brought to the disk and takes the name `folder` when the block ends without an error.

    Raises:
        RunError: the place cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=UNFINISHED) as work:
            new, old = Path(work) / "new", Path(work) / "old"
            new.mkdir()
            yield new
            sync_folder(new)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            sync(folder.parent)
    except OSError as error:
        raise unwritable(folder, error) from error


@contextmanager
def disk_errors_told(where: Path) -> Iterator[None]:
    """Within the block a full, vanished, read-only or broken disk is a sentence.

    Raises:
        RunError: the block met one.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OUTSIDE:
            raise
        named = error.filename2 or error.filename or where
        raise RunError(
            f"{named}: {error.strerror}. What was done is kept where it could be written: mend this, and go on with --resume."
        ) from error


def holds_something(folder: Path, *, but: str) -> bool:
    """Whether a folder holds more than one name and what writes that were cut off left."""
    return any(path.name != but and not path.name.endswith(UNFINISHED) for path in folder.iterdir())


def remove_leftovers(folder: Path, *, of: str = "*") -> None:
    """Remove what writes that were cut off left in a folder; `of` is what was being written. Nobody else may be writing it."""
    for path in folder.glob(f".{of}.*{UNFINISHED}"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def npy(values: np.ndarray) -> bytes:
    """An array in numpy's file format."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays in numpy's file format, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's keywords are typed as its one flag
    return buffer.getvalue()


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read what `npz` wrote.

    Raises:
        RunError: the file is missing or broken, or holds more than MOST_BYTES once it is unpacked.
    """
    try:
        packed = io.BytesIO(path.read_bytes())  # numpy leaves the file of a broken archive open
        with zipfile.ZipFile(packed) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise RunError(f"{path} would take {size:,} bytes of memory, and {MOST_BYTES:,} is the most.")
        with np.load(packed, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} is not whole ({error}): run again, or take another run folder.") from error


NPY_ERRORS = (OSError, ValueError, EOFError, TypeError, KeyError, SyntaxError, MemoryError, OverflowError, TokenError)
"""What numpy says of a file that is no array, or is shorter than its header says."""


def is_of_the_machine(error: BaseException | None) -> TypeGuard[OSError | MemoryError]:
    """Whether an error of reading tells of the machine (no rights, files, memory or disk), and nothing of what the file holds.

    A file that is not there is none, and such an error tells of that; numpy and decompressors raise OSErrors without a number.
    """
    if isinstance(error, OSError):
        return error.errno is not None and not isinstance(error, FileNotFoundError)
    return isinstance(error, MemoryError)


def unreadable(place: Path, error: OSError | MemoryError) -> str:
    """That the machine does not let something be read, in a sentence."""
    why = getattr(error, "strerror", None) or str(error) or "no memory is left"
    return f"{place} cannot be read ({why}). Nothing of it was removed: mend this, and run again."


def read_npy(path: Path) -> np.ndarray:
    """Read what `npy` wrote.

    Raises:
        RunError: the file is missing or broken.
    """
    try:
        values: np.ndarray = np.lib.format.open_memmap(path, mode="r")  # which looks at the length before it takes memory
        return np.array(values)
    except NPY_ERRORS as error:
        raise RunError(f"{path} is not whole ({error}): run again, or take another run folder.") from error


def json_bytes(value: Any) -> bytes:
    """Indented JSON."""
    # Names on disk that are not UTF-8 come with surrogates, which are written as JSON's escapes.
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomically(path, json_bytes(value))


def read_json(path: Path) -> Any:
    """Read a JSON file that picturebook wrote; a missing or broken one is a RunError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run was not finished, or this is no run folder.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error}): mend or remove it.") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not whole ({error}): run again, or take another run folder.") from None
