"""Decoding a table into a canvas store, chunk by chunk: an interrupted decoding goes on where it stopped.

A store that is being filled holds, beside what is in a whole one (canvases.py), decoded.jsonl: a line a chunk with what came of
its rows and a hash of what is stored of them. On taking it up, a chunk whose line or canvases are not whole is decoded again.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from picturebook.data.duplicates import THUMBNAIL, block_means
from picturebook.data.findings import Finding, by_kind
from picturebook.data.images import Broken, Decoded, decode
from picturebook.data.tables import Table
from picturebook.types import Progress

CANVASES, JOURNAL = "canvases.bin", "decoded.jsonl"
CHUNK = 256
"""Rows that are decoded at a time, and again at most after an interruption."""


@dataclass(slots=True)
class Decoding:
    """What came of the rows so far."""

    next_row: int = 0
    rows: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    converted: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    """Of all canvases, or of the chunks' hashes of them where thumbnails alone are stored."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*by_kind("skipped", self.skipped), *by_kind("converted", self.converted))

    def add(self, chunk: dict[str, Any], content: bytes) -> None:
        """Take in what came of a chunk, and what is stored of it."""
        self.next_row = chunk["next_row"]
        self.rows += chunk["rows"]
        self.sizes += [(height, width) for height, width in chunk["sizes"]]
        self.converted += [(kind, name) for kind, name in chunk["converted"]]
        self.skipped += [(kind, name) for kind, name in chunk["skipped"]]
        self.digest.update(chunk["canvases"].encode() if "canvases" in chunk else content)


def decode_table(folder: Path, table: Table, side: int, progress: Progress, *, keep: bool = True) -> Decoding:
    """Decode all rows into `folder`'s canvases.bin, from where an earlier try stopped.

    Args:
        folder: of the unfinished store, made if missing.
        table: the rows.
        side: height and width of a canvas, in pixels.
        progress: called with (rows decoded, rows in all).
        keep: store the canvases; else thumbnails of THUMBNAIL pixels in their place, by which duplicates are found.
    """
    stored = side if keep else THUMBNAIL
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CANVASES, JOURNAL):
        (folder / name).touch()
    num = len(table.names)
    with (folder / CANVASES).open("r+b") as canvases, (folder / JOURNAL).open("r+b") as journal:
        done = _taken_up(canvases, journal, stored)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while done.next_row < num:
                end = min(done.next_row + CHUNK, num)
                chunk, content = _decode_chunk(pool, table, range(done.next_row, end), side, progress)
                if not keep:
                    chunk, content = _thumbnails(chunk, content, side)
                canvases.write(content)
                canvases.flush()
                journal.write(json.dumps(chunk).encode() + b"\n")
                journal.flush()
                done.add(chunk, content)
    return done


def _taken_up(canvases: BinaryIO, journal: BinaryIO, side: int) -> Decoding:
    """Read what an earlier try left, and cut both files behind the last chunk that is whole."""
    done = Decoding()
    length = 0
    for line in journal:
        try:
            chunk = json.loads(line)
            content = canvases.read(len(chunk["rows"]) * side * side * 3)
            if not line.endswith(b"\n") or chunk["blake2b"] != _hash(content):
                break
        except (ValueError, KeyError, TypeError):
            break
        done.add(chunk, content)
        length += len(line)
    for file, end in ((canvases, len(done.rows) * side * side * 3), (journal, length)):
        file.seek(end)
        file.truncate()
    return done


def _decode_chunk(
    pool: ThreadPoolExecutor, table: Table, rows: range, side: int, progress: Progress
) -> tuple[dict[str, Any], bytes]:
    """The journal's line of some rows, and their canvases one after the other."""
    chunk: dict[str, Any] = {"next_row": rows.stop, "rows": [], "sizes": [], "converted": [], "skipped": []}
    parts = []
    for row, result in zip(rows, _decode_rows(pool, table, rows, side), strict=True):
        name = table.names[row]
        if isinstance(result, Broken):
            chunk["skipped"].append((result.kind, name))
        else:
            parts.append(np.ascontiguousarray(result.canvas).tobytes())
            chunk["rows"].append(row)
            chunk["sizes"].append((result.height, result.width))
            chunk["converted"] += [(kind, name) for kind in result.converted]
        progress(row + 1, len(table.names))
    content = b"".join(parts)
    return chunk | {"blake2b": _hash(content)}, content


def _thumbnails(chunk: dict[str, Any], content: bytes, side: int) -> tuple[dict[str, Any], bytes]:
    """The same chunk with thumbnails in place of its canvases, whose hash it keeps."""
    canvases = np.frombuffer(content, np.uint8).reshape(-1, side, side, 3)
    small = np.rint(block_means(canvases, THUMBNAIL) * 255).astype(np.uint8).tobytes()
    return chunk | {"canvases": chunk["blake2b"], "blake2b": _hash(small)}, small


def _decode_rows(pool: ThreadPoolExecutor, table: Table, rows: range, side: int) -> Iterator[Decoded | Broken]:
    """Decode in threads (Pillow works outside the interpreter's lock) and in order."""

    def attempt(row: int) -> Decoded | Broken:
        try:
            return decode(table.read(row), side)
        except Broken as broken:
            return broken

    return pool.map(attempt, rows)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
