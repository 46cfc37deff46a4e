"""An array of one record per (sample, view) in one memory-mapped file, with a header that says what it belongs to.

    STORE/header.json   fingerprint (field → value), number of views, record shape, dtype, and a note where one was made
    STORE/ids.npy       int64 [n], ascending
    STORE/values.npy    [n, num_views, *record]
    STORE/sums.npy      uint32 [n, num_views], each record's CRC-32, 0 where there is none, while it is filled as STORE.partial
    STORE/claims        by which processes that fill the store together hold their parts (sharing.py)

A store is filled under another name and renamed when it is whole, so an opened store is never a part. After an interruption
only records that do not have their sum are computed again: so the order in which pages reach the disk does not count, and
nobody waits for the disk before the store is whole.
"""

import fcntl
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool
from numpy.typing import DTypeLike

from picturebook.errors import StoreError
from picturebook.stores.sharing import Claim, Share, chunks_of, own_chunks, refuse_claimed, whole_chunks
from picturebook.writing import NPY_ERRORS, is_of_the_machine, npy, unreadable, unwritable, write_atomically, write_json

Fingerprint = Mapping[str, str]


class _BrokenError(StoreError):
    """A store is not there or not whole, so that it has to be made again: no other error is a reason to remove one."""


def tell_nobody(sentence: str) -> None:
    """Say nothing."""


def refuse_other_fingerprint(folder: Path, stored: Fingerprint, expected: Fingerprint) -> None:
    """Raise a StoreError that names the first field in which the two differ."""
    for field in sorted(stored.keys() | expected.keys()):
        ours, theirs = expected.get(field, "nothing"), stored.get(field, "nothing")
        if ours != theirs:
            raise StoreError(f"{folder} belongs to something else: its {field} is {theirs}, this run's is {ours}. Remove it.")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a store's lock, so that of two runs that need the same store one fills it and the other waits and finds it there.

    Raises:
        RunError: the place cannot be written.
    """
    path = folder.with_name(folder.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_stored(folder: Path, *, say: Callable[[str], None] = tell_nobody) -> bool:
    """Whether a store is there. One that is cut off, which its files' headers tell, is removed, to be filled again.

    Args:
        folder: the store's.
        say: gets a sentence where a store is removed.

    Raises:
        StoreError: the machine does not let it be read; it stays as it is.
    """
    if not folder.is_dir():
        return False
    try:
        PackedArray.open(folder, read_header(folder)["fingerprint"])
    except _BrokenError:
        shutil.rmtree(folder)
        say(f"{folder} was not whole, as after a power cut or a full disk: it was removed, and is made again.")
        return False
    return True


class PackedArray:
    """A whole store, open for reading."""

    def __init__(self, folder: Path, ids: np.ndarray, values: np.ndarray) -> None:
        self.folder = folder
        self.ids = ids
        self.values = values

    @classmethod
    def open(cls, folder: Path, fingerprint: Fingerprint) -> "PackedArray":
        """Open the store that was written for exactly this fingerprint.

        Raises:
            StoreError: there is none, it cannot be read, or a field of its fingerprint differs.
        """
        header = read_header(folder)
        refuse_other_fingerprint(folder, header["fingerprint"], fingerprint)
        with _reading(folder):
            return cls(folder, np.array(_mapped(folder / "ids.npy", "r")), _mapped(folder / "values.npy", "r"))

    def __deepcopy__(self, memo: dict[int, Any]) -> "PackedArray":
        return self  # a copy would read the same files, and take them into memory

    @property
    def num_views(self) -> int:
        return int(self.values.shape[1])

    def read(self, ids: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Records [B, *record] of `ids` int64 [B] at `views` int64 [B].

        Raises:
            StoreError: an id or a view is not in the store.
        """
        rows = np.searchsorted(self.ids, ids)
        known = (rows < len(self.ids)) & (self.ids[np.minimum(rows, len(self.ids) - 1)] == ids)
        if not known.all():
            raise StoreError(f"{self.folder} has no record of sample {ids[~known][0]}: it was written for other data.")
        if len(views) and (views.min() < 0 or views.max() >= self.num_views):
            raise StoreError(f"{self.folder} holds views 0 to {self.num_views - 1}, asked for view {views.max()}.")
        return np.asarray(self.values[rows, views])


class PackedWriter:
    """A store that is being filled; `missing` says what an earlier try left to do."""

    def __init__(self, folder: Path, partial: Path) -> None:
        self.folder = folder
        self._partial = partial
        self._ids = np.array(_mapped(partial / "ids.npy", "r"))
        self._values = _mapped(partial / "values.npy", "r+")
        self._sums = _mapped(partial / "sums.npy", "r+")
        self._chunks: range | None = None
        self._claim: Claim | None = None

    @classmethod
    def start(
        cls, folder: Path, *, ids: np.ndarray, num_views: int, record: Sequence[int], dtype: DTypeLike, fingerprint: Fingerprint
    ) -> "PackedWriter":
        """Begin to fill `folder`, or go on where an earlier try with the same fingerprint stopped.

        Raises:
            StoreError: other processes are filling it for something else, or what is there cannot be read.
        """
        partial = folder.with_name(folder.name + ".partial")
        header = {"fingerprint": dict(fingerprint), "num_views": num_views, "record": list(record), "dtype": str(np.dtype(dtype))}
        if (begun := _begun(folder, partial, header)) is not None:
            return begun
        refuse_claimed(partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "header.json").unlink(missing_ok=True)
        shape = (len(ids), num_views, *record)
        write_atomically(partial / "ids.npy", npy(np.sort(ids)))
        _reserve(partial / "values.npy", np.dtype(dtype), shape)
        _reserve(partial / "sums.npy", np.dtype(np.uint32), shape[:2])
        # The header comes last: with it, the folder is known to be whole enough to be taken up again.
        write_json(partial / "header.json", header)
        return cls(folder, partial)

    def take(self, share: Share) -> None:
        """Hold this process's part of the store against all others, and fill no other from now on.

        Raises:
            StoreError: another process holds some of it.
        """
        self._chunks = chunks_of(self._sums.size, share)
        self._claim = Claim(self._partial, self._chunks)

    def missing(self, *beside: "PackedWriter") -> tuple[np.ndarray, np.ndarray]:
        """(ids, views) still to be written here, or in stores `beside` of the same samples, view after view.

        Where a part was taken it is of this part alone, in whole chunks: CHUNK records at a time are those of one chunk.
        """
        ours = own_chunks(self._sums.T.shape, self._chunks)
        gaps = ~np.logical_and.reduce([writer._whole(ours) for writer in (self, *beside)])
        views, rows = np.nonzero(gaps if self._chunks is None else whole_chunks(gaps, self._chunks))
        return self._ids[rows], views.astype(np.int64)

    def write(self, ids: np.ndarray, views: np.ndarray, values: np.ndarray) -> None:
        """Store records [B, *record].

        Raises:
            StoreError: a value is not finite in the store's dtype.
        """
        rows = np.searchsorted(self._ids, ids)
        with np.errstate(over="ignore"):  # told below, in a sentence
            stored = values.astype(self._values.dtype)
        self.refuse_not_finite(stored)
        self._values[rows, views] = stored
        self._sums[rows, views] = [_sum(record) for record in stored]

    def _whole(self, ours: Bool[np.ndarray, "views samples"]) -> Bool[np.ndarray, "views samples"]:
        """Which records are there; those of `ours` are read, and one that does not have its sum is none."""
        for view, row in np.argwhere(ours & (self._sums.T != 0)):
            if _sum(self._values[row, view]) != self._sums[row, view]:
                self._sums[row, view] = 0
        return np.asarray(self._sums.T != 0)

    def refuse_not_finite(self, values: np.ndarray) -> None:
        """Refuse records in the store's precision that are no numbers.

        Raises:
            StoreError: a value is not finite.
        """
        if not np.isfinite(values).all():
            raise StoreError(f"{self.folder}: a value is not finite, or past the range of {values.dtype}; it cannot be stored.")

    @property
    def values(self) -> np.ndarray:
        """What was written so far, [n, num_views, *record]."""
        return self._values

    def finish(self, *, note: str | None = None) -> None:
        """Give the store its name; every record must be there. A `note` about what it holds goes into its header."""
        if not self._sums.all():
            raise StoreError(f"{self.folder} is incomplete: {int((self._sums == 0).sum())} records are missing.")
        self._values.flush()
        if note is not None:
            write_json(self._partial / "header.json", read_header(self._partial) | {"note": note})
        self._partial.rename(self.folder)
        if self._claim is not None:
            self._claim.release()
        (self.folder / "claims").unlink(missing_ok=True)
        (self.folder / "sums.npy").unlink()  # not before: a part without it is one that lost it


def _begun(folder: Path, partial: Path, header: dict[str, Any]) -> PackedWriter | None:
    """What an earlier try left, where it belongs to the same and is whole enough to be taken up."""
    try:
        found = read_header(partial)
        found.pop("note", None)  # of a try that was cut off between its note and its name
        if found != header:
            return None
        with _reading(partial):
            return PackedWriter(folder, partial)
    except _BrokenError:
        return None


def _sum(record: np.ndarray) -> int:
    """CRC-32 of a record's bytes; never 0, which stands for no record."""
    return zlib.crc32(record.tobytes()) or 1


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Within the block it is a sentence that files cannot be read, and another, a _BrokenError, that they are not whole."""
    try:
        yield
    except NPY_ERRORS as error:
        if is_of_the_machine(error):
            raise StoreError(unreadable(folder, error)) from error
        raise _BrokenError(f"{folder} is not whole ({error}): remove it, and it is made again.") from error


def _mapped(path: Path, mode: Literal["r", "r+"]) -> np.memmap[Any, Any]:
    """An array on disk; np.load would take whatever it finds, archives and pickles too."""
    np.lib.format.open_memmap(path, mode="r")  # looks at the length, which opening to write would make what it should be
    return np.lib.format.open_memmap(path, mode=mode)


def _reserve(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Make a file of zeros that really has its place: where a sparse one meets a full disk, the process is killed."""
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
    if sys.platform == "linux":
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def read_header(folder: Path) -> dict[str, Any]:
    """What a store belongs to and holds.

    Raises:
        StoreError: there is none, it is broken, or it cannot be read.
    """
    path = folder / "header.json"
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _BrokenError(f"There is no store in {folder}.") from None
    except (OSError, MemoryError) as error:
        raise StoreError(unreadable(folder, error)) from error
    except (ValueError, RecursionError) as error:
        raise _BrokenError(f"{path} is not whole ({error}): remove {folder}.") from None
    if not isinstance(header, dict) or not isinstance(header.get("fingerprint"), dict):
        raise _BrokenError(f"{path} is not whole (it names no fingerprint): remove {folder}.")
    return header
