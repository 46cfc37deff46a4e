"""Tar shards in WebDataset's layout: files that lie one after the other and share all of their path up to the first dot of the
last part are one sample ("n01/0042.jpg", "n01/0042.cls", "n01/0042.json"), and what follows that dot is a column.

Of a sample, the member with a picture's ending is the picture, `cls` is its label, `txt` its text, and each entry of the object
in `json` is a column of its own; a `label` or `text` in `json`, where it is not empty, goes before `cls` and `txt`. Only headers
and these small members are read; a picture is read where it lies when it is decoded.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from picturebook.data.findings import by_kind, first_names
from picturebook.data.images import EXTENSIONS, MAX_BYTES, Broken
from picturebook.data.metadata import as_text, inside, is_text, parse_record
from picturebook.data.rows import ColumnOptions, Rows
from picturebook.data.shards.files import ShardFiles
from picturebook.data.shards.gathering import ROLES, Shard, gather
from picturebook.data.shards.kept import Index, kept_index
from picturebook.data.shards.tar_index import Member, tar_members
from picturebook.errors import DataError

_MOST_TEXT = 16 * 2**20
"""Bytes of a cls, txt or json member."""
_ALIASES = {"cls": "label", "txt": "text"}
"""Members to the columns that they are."""


def read_tar_shards(files: ShardFiles, columns: ColumnOptions, *, cache: Path | None = None) -> Rows:
    """Read the index of tar shards, which holds no more of a picture than where it lies; in `cache` it is kept.

    Raises:
        DataError: a shard is cut off or damaged, names a path outside, has two samples of one key, or lacks pictures or a column
            that another shard has.
    """
    shards, places = [], []
    for path, name in zip(files.paths, files.names, strict=True):
        shard, places_in_it = kept_index(path, columns, cache=cache, read=partial(_read, path, name, columns))
        shards.append(replace(shard, name=name))
        places.append(places_in_it)
    skipped = by_kind("skipped", ((why, f"{shard.name}/{name}") for shard in shards for why, name in shard.skipped))
    read = _TarPictures(files.paths, np.repeat(np.arange(len(shards)), list(map(len, places))), np.concatenate(places))
    return gather(shards, files, columns, read=read, findings=skipped)


def _read(path: Path, name: str, columns: ColumnOptions) -> Index:
    reading = _Reading(path, name, columns)
    reading.read()
    return reading.shard, reading.places


@dataclass(frozen=True, slots=True, eq=False)
class _TarPictures:
    """Bytes of the picture at a row."""

    paths: tuple[Path, ...]
    shards: Int64[np.ndarray, " rows"]
    places: Int64[np.ndarray, "rows 2"]
    """Offset and size."""

    def __call__(self, row: int) -> bytes:
        offset, size = self.places[row].tolist()
        if size > MAX_BYTES:
            raise Broken("too large a file")
        try:
            with self.paths[self.shards[row]].open("rb") as file:
                data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise Broken(f"a shard that cannot be read ({error.strerror or error})") from error
        if len(data) < size:
            raise Broken("a shard that was cut off")
        return data


@dataclass(slots=True)
class _Sample:
    key: str
    members: dict[str, Member] = field(default_factory=dict)


class _Reading:
    """The index of one shard."""

    def __init__(self, path: Path, name: str, columns: ColumnOptions) -> None:
        self._path, self._columns = path, columns
        self._image = columns.image if columns.image != ColumnOptions().image else None
        self._roles = {role: str(getattr(columns, role)) for role in ROLES}
        self.shard = Shard(name, ())
        self.places: Int64[np.ndarray, "rows 2"] = np.empty((0, 2), dtype=np.int64)

    def read(self) -> None:
        keys: set[str] = set()
        present: dict[str, None] = {}
        rows: list[dict[str, str]] = []
        places: list[tuple[int, int]] = []
        with self._path.open("rb") as file:
            for sample in self._samples():
                if sample.key in keys:
                    raise DataError(f"{self._path} has two samples called {sample.key!r}: give each a name of its own.")
                keys.add(sample.key)
                picture = self._picture(sample)
                values = self._values(sample, file.fileno(), present)
                if picture is None:
                    self.shard.skipped.append(("a sample without a picture", sample.key))
                    continue
                self.shard.keys.append(sample.key)
                places.append((picture.offset, picture.size))
                rows.append(values)
        if keys and not rows:
            raise self._no_picture(present)
        self.places = np.array(places, dtype=np.int64).reshape(-1, 2)
        self.shard.columns = tuple(present)
        self.shard.values = {role: [row.get(role, "") for row in rows] for role, name in self._roles.items() if name in present}

    def _samples(self) -> Iterator[_Sample]:
        named = ((*self._key_and_field(member), member) for member in self._plain_members())
        for key, group in groupby(named, key=lambda entry: entry[0]):
            sample = _Sample(key)
            for _, name, member in group:
                if name in sample.members:
                    raise DataError(f"{self._path} has two members called {member.name!r}: keep one.")
                sample.members[name] = member
            yield sample

    def _plain_members(self) -> Iterator[Member]:
        for member in tar_members(self._path):
            base = member.name.rsplit("/", 1)[-1]
            if base.startswith("."):
                continue
            if member.is_file and "." in base:
                yield member
            else:
                kind = "a name without an ending" if member.is_file else "a link, device or pipe in a shard"
                self.shard.skipped.append((kind, member.name))

    def _key_and_field(self, member: Member) -> tuple[str, str]:
        name = inside(member.name, str(self._path))
        folder, slash, base = name.rpartition("/")
        stem, _, ending = base.partition(".")
        return folder + slash + stem, ending.lower()

    def _picture(self, sample: _Sample) -> Member | None:
        if self._image is not None:
            return sample.members.get(self._image)
        found = [name for name in sample.members if f".{name}" in EXTENSIONS]
        if len(found) > 1:
            raise DataError(
                f"{self._path}: the sample {sample.key!r} has several pictures ({', '.join(found)}): name one in "
                "data.columns.image."
            )
        return sample.members[found[0]] if found else None

    def _no_picture(self, present: dict[str, None]) -> DataError:
        wanted = repr(self._image) if self._image else "a picture's ending"
        return DataError(
            f"data.columns.image: {self._path} has no member with {wanted}, only {first_names(present)}. "
            "Set data.columns.image to the ending of its pictures."
        )

    def _values(self, sample: _Sample, file: int, present: dict[str, None]) -> dict[str, str]:
        """Texts of the roles, by role; columns that are met are added to `present`."""
        record: dict[str, str] = {}
        for name, member in sample.members.items():
            present.setdefault(name)
            if (column := _ALIASES.get(name, name)) in self._roles.values() or name in self._roles.values():
                record |= dict.fromkeys((column, name), self._text(file, member).strip())
                present.setdefault(column)
        if "json" in sample.members:
            entries = self._entries(file, sample.members["json"])
            present |= dict.fromkeys(entries)
            record |= {name: text for name in self._roles.values() if (text := as_text(entries.get(name)))}
        return {role: record[name] for role, name in self._roles.items() if record.get(name)}

    def _text(self, file: int, member: Member) -> str:
        if member.size > _MOST_TEXT:
            raise DataError(f"{self._path}: {member.name} has {member.size:,} bytes, {_MOST_TEXT:,} is the most for a text.")
        try:
            return os.pread(file, member.size, member.offset).decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise DataError(f"{self._path}: {member.name} is not UTF-8 (byte {error.start:,}): write it anew.") from None

    def _entries(self, file: int, member: Member) -> dict[str, Any]:
        try:
            # Numbers keep the file's spelling.
            record = parse_record(self._text(file, member))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self._path}: {member.name} is not valid JSON ({error}): write it anew.") from None
        if not isinstance(record, dict):
            raise DataError(f"{self._path}: {member.name} holds no JSON object: expected column names with their values.")
        if not all(is_text(as_text(record[name])) for name in self._roles.values() if name in record):
            raise DataError(f"{self._path}: {member.name} holds half of a surrogate pair, which is no text: write it anew.")
        return record
