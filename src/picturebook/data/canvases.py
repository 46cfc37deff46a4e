"""The canvas store: each picture decoded once, then mapped from disk.

A store is a folder `cache/<key>/` that is filled under the name `cache/<key>.partial` (decoding.py) and renamed when it is whole:
    canvases.bin    uint8 [n, S, S, 3], the pictures that decoded, in table order
    rows.npy        int64 [n], their rows in the table
    sizes.npy       int32 [n, 2], height and width of the originals
    clusters.npy    int64 [n], number of the near-duplicate cluster (duplicates.py)
    store.json      fingerprint of the canvases, and the findings
Past the budget canvases.bin holds thumbnails, and pictures are decoded whenever they are asked for (on_demand.py).
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from picturebook.data.decoding import CANVASES, JOURNAL, decode_table
from picturebook.data.duplicates import THUMBNAIL, duplicate_groups
from picturebook.data.findings import Finding, from_json, to_json
from picturebook.data.on_demand import DecodedOnDemand
from picturebook.data.tables import Table
from picturebook.errors import RunError
from picturebook.stores.packed import locked
from picturebook.types import Progress, no_progress
from picturebook.writing import (
    disk_errors_told,
    is_of_the_machine,
    npy,
    read_npy,
    sync_folder,
    unreadable,
    write_atomically,
    write_json,
)

_FORMAT = 1
"""Goes into the key: another way to decode or to store is another store."""


@dataclass(frozen=True, slots=True, eq=False)
class CanvasStore:
    """What decoding a table gave."""

    canvases: UInt8[np.ndarray, "pictures side side 3"] | DecodedOnDemand
    """Memory-mapped, read only; or decoded on demand."""
    rows: Int64[np.ndarray, " pictures"]
    """Rows of the table that decoded, ascending."""
    sizes: Int32[np.ndarray, "pictures 2"]
    """Original height and width, in pixels."""
    clusters: Int64[np.ndarray, " pictures"]
    """Pictures of one number are near duplicates."""
    fingerprint: str
    """Hash of all canvases."""
    findings: tuple[Finding, ...]
    """Conversions, and files that were skipped because they gave no picture."""


def open_canvases(
    table: Table, *, side: int, root: str, cache: Path, budget: float = float("inf"), progress: Progress = no_progress
) -> CanvasStore:
    """Open the table's store, after making it where it is not there.

    Args:
        table: the rows to decode.
        side: height and width of a canvas, in pixels.
        root: the data root, part of the store's key.
        cache: the folder of stores.
        budget: bytes that the canvases may take.
        progress: called with (rows decoded, rows in all) while the store is made.

    Raises:
        RunError: the cache cannot be written, or a store in it cannot be read.
    """
    keep = are_kept(len(table.names), side, budget)
    folder = cache / _key(table, side, root, keep)
    stored = side if keep else THUMBNAIL
    store = _opened(folder, stored)
    if store is None:
        with disk_errors_told(cache), locked(folder):
            if (store := _opened(folder, stored)) is None:  # or another process made it meanwhile
                _make(folder, table, side, progress, keep=keep)
                store = _opened(folder, stored)
    assert store is not None
    return store if keep else replace(store, canvases=DecodedOnDemand(table, store.rows, side))


def are_kept(num_pictures: int, side: int, budget: float) -> bool:
    """Whether canvases of `side` pixels of so many pictures stay within `budget` bytes; else thumbnails alone are stored."""
    return canvas_bytes(num_pictures, side) <= budget


def canvas_bytes(num_pictures: int, side: int) -> int:
    """Bytes of so many canvases, or thumbnails, of `side` pixels."""
    return num_pictures * side * side * 3


def _key(table: Table, side: int, root: str, keep: bool) -> str:
    digest = hashlib.blake2b(digest_size=16)
    location = str(Path(root).resolve()) if Path(root).exists() else root
    digest.update(f"{_FORMAT}\0{side}\0{location}\0{table.stamp}\0".encode("utf-8", "surrogateescape"))
    if not keep:
        digest.update(b"thumbnails\0")
    for row, name in enumerate(table.names):
        digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        if not table.stamp:
            digest.update(hashlib.blake2b(table.read(row), digest_size=16).digest())
    return digest.hexdigest()


def _make(folder: Path, table: Table, side: int, progress: Progress, *, keep: bool) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    done = decode_table(partial, table, side, progress, keep=keep)
    clusters = duplicate_groups(_map(partial / CANVASES, side if keep else THUMBNAIL))
    write_atomically(partial / "rows.npy", npy(np.array(done.rows, dtype=np.int64)))
    write_atomically(partial / "sizes.npy", npy(np.array(done.sizes, dtype=np.int32).reshape(-1, 2)))
    write_atomically(partial / "clusters.npy", npy(clusters))
    description = {"fingerprint": done.digest.hexdigest(), "findings": json.loads(to_json(done.findings))}
    write_json(partial / "store.json", description)
    sync_folder(partial)
    if folder.exists():
        shutil.rmtree(folder)  # it is damaged
    partial.rename(folder)
    (folder / JOURNAL).unlink()


def _opened(folder: Path, side: int) -> CanvasStore | None:
    """The store; None where there is none, or one that was cut off.

    Raises:
        RunError: the machine does not let it be read: what it holds would be decoded again.
    """
    try:
        description = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        store = CanvasStore(
            canvases=_map(folder / CANVASES, side),
            rows=read_npy(folder / "rows.npy"),
            sizes=read_npy(folder / "sizes.npy"),
            clusters=read_npy(folder / "clusters.npy"),
            fingerprint=description["fingerprint"],
            findings=from_json(json.dumps(description["findings"])),
        )
    except (RunError, OSError, MemoryError, ValueError, KeyError, TypeError) as error:
        trouble = error.__cause__ if isinstance(error, RunError) else error
        if is_of_the_machine(trouble):
            raise RunError(unreadable(folder, trouble)) from trouble
        return None
    expected = len(store.rows) * side * side * 3
    is_whole = (folder / CANVASES).stat().st_size == expected and len(store.sizes) == len(store.clusters) == len(store.rows)
    return store if is_whole else None


def _map(path: Path, side: int) -> UInt8[np.ndarray, "pictures {side} {side} 3"]:
    num = path.stat().st_size // (side * side * 3)
    if num == 0:  # an empty file cannot be mapped
        return np.empty((0, side, side, 3), dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(num, side, side, 3))
