"""An array of one record per (sample, view) in one memory-mapped file, with a header that says what it belongs to.

    STORE/header.json   fingerprint (field → value), number of views, record shape, dtype
    STORE/ids.npy       int64 [n], ascending
    STORE/values.npy    [n, num_views, *record]
    STORE/written.npy   bool [n, num_views], while the store is being filled under STORE.partial

A store is filled under another name and renamed when it is whole, so an opened store is never a part. A record's flag is
set after its values are on disk; after an interruption only records without a flag are computed again.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from picturebook.errors import StoreError
from picturebook.runs import write_json

Fingerprint = Mapping[str, str]


def refuse_other_fingerprint(folder: Path, stored: Fingerprint, expected: Fingerprint) -> None:
    """Raise a StoreError that names the first field in which the two differ."""
    for field in sorted(stored.keys() | expected.keys()):
        ours, theirs = expected.get(field, "nothing"), stored.get(field, "nothing")
        if ours != theirs:
            raise StoreError(f"{folder} belongs to something else: its {field} is {theirs}, this run's is {ours}. Remove it.")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a store's lock, so that of two runs that need the same store one fills it and the other waits and finds it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
            StoreError: there is none, or a field of its fingerprint differs.
        """
        header = read_header(folder)
        refuse_other_fingerprint(folder, header["fingerprint"], fingerprint)
        return cls(folder, np.load(folder / "ids.npy"), np.load(folder / "values.npy", mmap_mode="r"))

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
        self._ids = np.load(partial / "ids.npy")
        self._values = np.load(partial / "values.npy", mmap_mode="r+")
        self._written = np.load(partial / "written.npy", mmap_mode="r+")

    @classmethod
    def start(
        cls, folder: Path, *, ids: np.ndarray, num_views: int, record: Sequence[int], dtype: DTypeLike, fingerprint: Fingerprint
    ) -> "PackedWriter":
        """Begin to fill `folder`, or go on where an earlier try with the same fingerprint stopped."""
        partial = folder.with_name(folder.name + ".partial")
        header = {"fingerprint": dict(fingerprint), "num_views": num_views, "record": list(record), "dtype": str(np.dtype(dtype))}
        if (partial / "header.json").is_file() and read_header(partial) == header:
            return cls(folder, partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "header.json").unlink(missing_ok=True)
        shape = (len(ids), num_views, *record)
        np.save(partial / "ids.npy", np.sort(ids))
        np.lib.format.open_memmap(partial / "values.npy", mode="w+", dtype=dtype, shape=shape).flush()
        np.lib.format.open_memmap(partial / "written.npy", mode="w+", dtype=np.bool_, shape=shape[:2]).flush()
        # The header comes last: with it, the folder is known to be whole enough to be taken up again.
        write_json(partial / "header.json", header)
        return cls(folder, partial)

    def missing(self) -> tuple[np.ndarray, np.ndarray]:
        """(ids, views) still to be written, view after view, so that a batch shares its view number."""
        views, rows = np.nonzero(~self._written.T)
        return self._ids[rows], views.astype(np.int64)

    def write(self, ids: np.ndarray, views: np.ndarray, values: np.ndarray) -> None:
        """Store records [B, *record].

        Raises:
            StoreError: a value is not finite in the store's dtype.
        """
        rows = np.searchsorted(self._ids, ids)
        with np.errstate(over="ignore"):  # told below, in a sentence
            stored = values.astype(self._values.dtype)
        if not np.isfinite(stored).all():
            raise StoreError(
                f"{self.folder}: a value is not finite, or past the range of {self._values.dtype}; it cannot be stored."
            )
        self._values[rows, views] = stored
        self._values.flush()
        self._written[rows, views] = True

    def finish(self) -> None:
        """Give the store its name; every record must be there."""
        if not self._written.all():
            raise StoreError(f"{self.folder} is incomplete: {int((~self._written).sum())} records are missing.")
        self._values.flush()
        (self._partial / "written.npy").unlink()
        self._partial.rename(self.folder)


def read_header(folder: Path) -> dict[str, Any]:
    """What a store belongs to and holds.

    Raises:
        StoreError: there is none, or it is broken.
    """
    path = folder / "header.json"
    try:
        header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"There is no store in {folder}.") from None
    except ValueError as error:
        raise StoreError(f"{path} is not whole ({error}): remove {folder}.") from None
    return header
