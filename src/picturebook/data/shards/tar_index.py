"""Where the members of a tar file lie, found by its headers alone: nothing is unpacked, linked or made.

Read are ustar (POSIX.1-1988), long names as GNU tar writes them, and names and sizes in pax headers (POSIX.1-2001). A file
that is cut off or damaged anywhere is refused: a tar file ends in a block of zeros, so one that was cut at the end of a
member is told too.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from picturebook.errors import DataError

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_MOST_HEADER = 2**20
"""Bytes of a long name or of a pax header, past which they are refused."""
_FILES = frozenset((b"0", b"\0", b"7"))
_WITHOUT_CONTENT = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
"""Links, devices, folders and pipes, whatever size they state."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a tar file that is no folder."""

    name: str
    offset: int
    """Of its first byte in the tar file."""
    size: int
    """Bytes."""
    is_file: bool
    """Or a link, a device or a pipe, which are never followed."""


def tar_members(path: Path) -> Iterator[Member]:
    """The members of a tar file, in its order.

    Raises:
        DataError: it cannot be read, is no tar file, is cut off or damaged.
    """
    try:
        with path.open("rb") as file:
            yield from _members(file.fileno(), path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _members(file: int, path: Path) -> Iterator[Member]:
    length = os.fstat(file).st_size
    offset, said = 0, dict[str, str]()
    while (block := os.pread(file, _BLOCK, offset)) != _ZEROS:
        if len(block) < _BLOCK:
            raise _cut_off(path, offset)
        if not _is_header(block):
            what = "is damaged: there is no tar header" if offset else "is no tar file: it does not begin with a tar header"
            raise DataError(f"{path} {what} at byte {offset:,}. Fetch it again, or remove it.")
        kind, start = block[156:157], offset + _BLOCK
        size = 0 if kind in _WITHOUT_CONTENT else _size(block, said, path, offset)
        if start + size > length:
            raise _cut_off(path, offset)
        offset = start + -(-size // _BLOCK) * _BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            said |= _said(os.pread(file, _header_size(size, path, offset), start), kind, path)
            continue
        if kind == b"S" or "GNU.sparse.major" in said:
            raise DataError(f"{path} holds a sparse file: write it again without --sparse.")
        name, said = said.get("path") or _name(block), {}
        if kind != b"5" and not name.endswith("/"):
            yield Member(name, start, size, kind in _FILES)


def _cut_off(path: Path, offset: int) -> DataError:
    return DataError(f"{path} is cut off: its last member starts at byte {offset:,} and is not whole. Fetch it again.")


def _is_header(block: bytes) -> bool:
    try:
        stated = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    unsigned = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if stated == unsigned:
        return True
    # Some old programs summed up signed bytes.
    return stated == unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


def _size(block: bytes, said: dict[str, str], path: Path, offset: int) -> int:
    field = block[124:136]
    try:
        if "size" in said:
            size = int(said["size"])
        elif field[0] & 128:  # a number of 11 bytes, GNU's way past 8 GB
            size = int.from_bytes(field[1:], "big")
        else:
            size = int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        size = -1
    if size < 0:
        raise DataError(f"{path} is damaged: the member at byte {offset:,} states no size. Fetch it again.")
    return size


def _header_size(size: int, path: Path, offset: int) -> int:
    if size > _MOST_HEADER:
        raise DataError(f"{path} is damaged: a name of {size:,} bytes before byte {offset:,}. Fetch it again.")
    return size


def _said(content: bytes, kind: bytes, path: Path) -> dict[str, str]:
    """What a header says of the next member. What one says of all of them is no name and no size of a member."""
    if kind in (b"g", b"K"):
        return {}
    if kind == b"L":
        return {"path": _text(content.rstrip(b"\0"))}
    records: dict[str, str] = {}
    while content.strip(b"\0"):
        length, _, _ = content.partition(b" ")
        # int() alone would take signs and underscores too.
        num = int(length) if length.isdigit() and len(length) < 8 else 0
        record = content[len(length) + 1 : num]
        if not record.endswith(b"\n") or b"=" not in record:
            raise DataError(f"{path} is damaged: one of its pax headers cannot be read. Fetch it again.")
        name, _, value = record[:-1].partition(b"=")
        records[_text(name)] = _text(value)
        content = content[num:]
    return records


def _name(block: bytes) -> str:
    name, prefix = (part.split(b"\0", 1)[0] for part in (block[:100], block[345:500]))
    # GNU's own format keeps times where POSIX has the prefix.
    is_posix = block[257:263] == b"ustar\0"
    return _text(prefix + b"/" + name if prefix and is_posix else name)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
