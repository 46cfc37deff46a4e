"""The canvas store: each picture decoded once, then mapped from disk.

A store is a folder `cache/<key>/` that is written elsewhere and moved into place when it is whole:
    canvases.bin    uint8 [n, S, S, 3], the pictures that decoded, in table order
    rows.npy        int64 [n], their rows in the table
    sizes.npy       int32 [n, 2], height and width of the originals
    clusters.npy    int64 [n], number of the near-duplicate cluster (duplicates.py)
    store.json      fingerprint of the canvases, and the findings
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from picturebook.data.duplicates import duplicate_groups
from picturebook.data.findings import Finding, by_kind, from_json, to_json
from picturebook.data.images import Broken, Decoded, decode
from picturebook.data.tables import Table
from picturebook.types import Progress, no_progress

_FORMAT = 1
"""Goes into the key: another way to decode or to store is another store."""
_CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class CanvasStore:
    """What decoding a table gave."""

    canvases: UInt8[np.ndarray, "pictures side side 3"]
    """Memory-mapped, read only."""
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


def open_canvases(table: Table, *, side: int, root: str, cache: Path, progress: Progress = no_progress) -> CanvasStore:
    """Open the table's store, after making it where it is not there.

    Args:
        table: the rows to decode.
        side: height and width of a canvas, in pixels.
        root: the data root, part of the store's key.
        cache: the folder of stores.
        progress: called with (rows decoded, rows in all) while the store is made.
    """
    folder = cache / _key(table, side, root)
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
        try:
            _write(unfinished, table, side, progress)
            _move(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return _open(folder, side)


def _key(table: Table, side: int, root: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    location = str(Path(root).resolve()) if Path(root).exists() else root
    digest.update(f"{_FORMAT}\0{side}\0{location}\0{table.stamp}\0".encode("utf-8", "surrogateescape"))
    for row, name in enumerate(table.names):
        digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        if not table.stamp:
            digest.update(hashlib.blake2b(table.read(row), digest_size=16).digest())
    return digest.hexdigest()


def _write(folder: Path, table: Table, side: int, progress: Progress) -> None:
    rows, sizes = [], []
    converted: list[tuple[str, str]] = []
    skipped: list[tuple[str, str]] = []
    digest = hashlib.blake2b(digest_size=16)
    with (folder / "canvases.bin").open("wb") as file:
        for row, result in enumerate(_decode_all(table, side)):
            name = table.names[row]
            if isinstance(result, Broken):
                skipped.append((result.kind, name))
            else:
                file.write(result.canvas.data)
                digest.update(result.canvas.data)
                rows.append(row)
                sizes.append((result.height, result.width))
                converted += [(kind, name) for kind in result.converted]
            progress(row + 1, len(table.names))
    canvases = _map(folder / "canvases.bin", side)
    np.save(folder / "rows.npy", np.array(rows, dtype=np.int64))
    np.save(folder / "sizes.npy", np.array(sizes, dtype=np.int32).reshape(-1, 2))
    np.save(folder / "clusters.npy", duplicate_groups(canvases))
    findings = (*by_kind("skipped", skipped), *by_kind("converted", converted))
    description = {"fingerprint": digest.hexdigest(), "findings": json.loads(to_json(findings))}
    (folder / "store.json").write_text(json.dumps(description), encoding="utf-8")


def _decode_all(table: Table, side: int) -> Iterator[Decoded | Broken]:
    """Decode in threads (Pillow works outside the interpreter's lock) and in order, a chunk ahead at most."""

    def attempt(row: int) -> Decoded | Broken:
        try:
            return decode(table.read(row), side)
        except Broken as broken:
            return broken

    n = len(table.names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, n, _CHUNK):
            yield from pool.map(attempt, range(start, min(start + _CHUNK, n)))


def _move(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.replace(folder)
    except OSError:
        # Another process made the same store meanwhile; its content is the same.
        if not folder.exists():
            raise


def _open(folder: Path, side: int) -> CanvasStore:
    description = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    return CanvasStore(
        canvases=_map(folder / "canvases.bin", side),
        rows=np.load(folder / "rows.npy"),
        sizes=np.load(folder / "sizes.npy"),
        clusters=np.load(folder / "clusters.npy"),
        fingerprint=description["fingerprint"],
        findings=from_json(json.dumps(description["findings"])),
    )


def _map(path: Path, side: int) -> UInt8[np.ndarray, "pictures {side} {side} 3"]:
    num = path.stat().st_size // (side * side * 3)
    if num == 0:  # an empty file cannot be mapped
        return np.empty((0, side, side, 3), dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=(num, side, side, 3))
