"""Checksums that tell whether files still are what was written."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from picturebook.errors import RunError
from picturebook.writing import read_json

CHECKSUMS = "checksums.json"
"""In a folder: its files by relative name, each with its number of bytes and its BLAKE2b."""


def checksum(content: bytes | Path) -> dict[str, Any]:
    """Number of bytes and BLAKE2b of a file, or of what is going to be in one."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(content, bytes):
        digest.update(content)
        return {"bytes": len(content), "blake2b": digest.hexdigest()}
    size = 0
    with content.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
            size += len(part)
    return {"bytes": size, "blake2b": digest.hexdigest()}


def checksums_of(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """The checksums of some of a folder's files."""
    return {name: checksum(folder / name) for name in names}


def checksums_below(path: Path, name: str) -> dict[str, Any]:
    """The checksums of a file, or of all files of a folder, that is going to be called `name`."""
    if path.is_file():
        return {name: checksum(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {f"{name}/{file.relative_to(path).as_posix()}": checksum(file) for file in files}


def damage(folder: Path, *, thorough: bool) -> str | None:
    """What is wrong with a folder's files by its checksums; None where nothing is, or where it has none.

    Args:
        folder: which holds checksums.json.
        thorough: read every file; else only their lengths are looked at, which tell what was cut off.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return None
    try:
        return damage_by(read_json(path), folder, thorough=thorough)
    except (RunError, ValueError, TypeError, KeyError, AttributeError):
        return f"{CHECKSUMS} is not whole"


def damage_by(sums: Mapping[str, Any], folder: Path, *, thorough: bool) -> str | None:
    """As `damage`, by checksums that are kept elsewhere.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: they are no checksums.
    """
    noted = {str(name): (int(one["bytes"]), str(one["blake2b"])) for name, one in sums.items()}
    for name, (size, digest) in noted.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if (found := file.stat().st_size) != size:
            return f"{name} has {found:,} bytes, {size:,} were written"
        if thorough and checksum(file)["blake2b"] != digest:
            return f"{name} does not hold what was written"
    return None
