"""What the shards of a data set say, put together: columns that all of them have, and the split of each row."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from picturebook.data.findings import Finding, first_names
from picturebook.data.folders import stamp
from picturebook.data.rows import SPLIT_NAMES, ColumnOptions, Rows, check_named_columns, column_or_none, read_splits
from picturebook.data.shards.files import ShardFiles
from picturebook.errors import DataError

ROLES = ("label", "text", "split", "group", "domain", "kind")
"""Columns that are read; the fields of ColumnOptions of those names say what they are called."""


@dataclass(slots=True)
class Shard:
    """What one shard says of its pictures."""

    name: str
    """Relative to the shards' folder."""
    columns: tuple[str, ...]
    """All that there are, used or not."""
    keys: list[str] = field(default_factory=list)
    """One a picture, distinct within the shard."""
    values: dict[str, list[str]] = field(default_factory=dict)
    """Role to a text a picture, for the roles whose column is there."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(why, name in the shard) of what gives no picture."""


def gather(
    shards: Sequence[Shard],
    files: ShardFiles,
    columns: ColumnOptions,
    *,
    read: Callable[[int], bytes],
    findings: Iterable[Finding],
) -> Rows:
    """All shards' rows, in the order of the shards. A row is called "<shard>/<key>".

    Raises:
        DataError: no picture; a shard lacks a column that another has; a named column is nowhere; names of shards that say a
            split only in part.
    """
    filled = [shard for shard in shards if shard.keys]
    if not filled:
        raise DataError(f"There is no picture in {files.source} ({len(shards)} shards).")
    present = tuple(dict.fromkeys(column for shard in filled for column in shard.columns))
    check_named_columns(columns, present, files.source)
    names = tuple(f"{shard.name}/{key}" for shard in filled for key in shard.keys)
    found = {role: _column(filled, role, getattr(columns, role)) for role in ROLES}
    splits = found["split"] or _splits_of_names(filled, files.source)
    empty = tuple(shard.name for shard in shards if not shard.keys)
    return Rows(
        names=names,
        labels=found["label"] or _labels_of_folders(filled, columns, files.source),
        texts=found["text"],
        splits=column_or_none(read_splits(splits, names, files.source)),
        groups=found["group"],
        read=read,
        findings=(*findings, *((Finding("warned", "shard without pictures", empty, "shard"),) if empty else ())),
        columns=present,
        source=files.source,
        stamp=stamp(files.folder, files.names),
        domains=found["domain"],
        kinds=found["kind"],
    )


def _column(shards: Sequence[Shard], role: str, column: str) -> tuple[str, ...] | None:
    """A column of all shards; None where no shard has it, or nothing is in it."""
    lacking = [shard.name for shard in shards if role not in shard.values]
    if len(lacking) == len(shards):
        return None
    if lacking and role == "kind":  # nobody asked for it: what is not said is not known
        return column_or_none(tuple(text for shard in shards for text in shard.values.get(role, [""] * len(shard.keys))))
    if lacking:
        other = next(shard.name for shard in shards if role in shard.values)
        raise DataError(
            f"data.columns.{role}: {first_names(lacking)} has no {column!r}, but {other} has: give it to every shard, empty "
            "where nothing is known, or read other shards."
        )
    known: dict[str, str] = {}  # so that a label that comes a million times is one text
    return column_or_none(tuple(known.setdefault(value, value) for shard in shards for value in shard.values[role]))


def _splits_of_names(shards: Sequence[Shard], source: str) -> tuple[str, ...]:
    """The split that each row's shard is called after ("train-00000.tar", "test/0.parquet"); "train" where none is."""
    splits = {shard.name: _split_of_name(shard.name) for shard in shards}
    unnamed = [name for name, split in splits.items() if not split]
    if len(unnamed) == len(splits):
        splits = dict.fromkeys(splits, "train")
    elif unnamed:
        raise DataError(
            f"Some shards in {source} name no split ({first_names(unnamed)}) beside others that do: "
            "put train, validation or test into every name, or into none."
        )
    return tuple(splits[shard.name] for shard in shards for _ in shard.keys)


def _split_of_name(name: str) -> str:
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_NAMES]
    return SPLIT_NAMES[words[0]] if words else ""


def _labels_of_folders(shards: Sequence[Shard], columns: ColumnOptions, source: str) -> tuple[str, ...]:
    """The first folder of each key, where shards hold class folders and nothing else says a label."""
    if any("/" in key for shard in shards for key in shard.keys):
        known: dict[str, str] = {}
        folders = (key.split("/")[0] if "/" in key else "" for shard in shards for key in shard.keys)
        return tuple(known.setdefault(folder, folder) for folder in folders)
    listing = ", ".join(dict.fromkeys(column for shard in shards for column in shard.columns))
    raise DataError(
        f"The pictures in {source} have no labels: there is no column {columns.label!r} and they lie in no class folders. "
        f"Columns: {listing}. Set data.columns.label."
    )
