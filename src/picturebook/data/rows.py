"""Rows as they were found, before labels become numbers; and what the columns and splits may be called."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from picturebook.data.findings import Finding
from picturebook.errors import DataError, unknown_name
from picturebook.options import Options

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What a split may be called (lower case), to what we call it."""


class ColumnOptions(Options):
    """What the columns of the metadata file or data set are called. A name other than the default must be there."""

    file_name: str = "file_name"
    """The picture's path, relative to the metadata file's folder."""
    image: str = "image"
    """The picture itself, in parquet files and data sets of the hub; in tar shards its ending, by default any picture's."""
    label: str = "label"
    """The class; wins over the class folder where any row has one. An empty label is an unlabelled picture."""
    text: str = "text"
    """The words beside the picture."""
    split: str = "split"
    """train, val (validation, valid, dev) or test; wins over split folders."""
    group: str = "group"
    """What must stay in one split, such as one patient, one animal or one scene."""
    domain: str = "domain"
    """Where or how a picture was made, such as a hospital, a camera or a vendor: what data.split.held_out holds out."""
    kind: str = "kind"
    """What the words beside the picture may know, as picturebook describe notes it (label_blind, privileged); "" reads none."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Pictures and what stands beside them, each tuple in the same order."""

    names: tuple[str, ...]
    """Path relative to the data root, or "<split>/<index>"."""
    labels: tuple[str, ...]
    """Class names; "" is unlabelled."""
    texts: tuple[str, ...] | None
    """None where there is no such column, or nothing in it."""
    splits: tuple[str, ...] | None
    """"train", "val", "test" or ""."""
    groups: tuple[str, ...] | None
    read: Callable[[int], bytes]
    findings: tuple[Finding, ...]
    columns: tuple[str, ...]
    """All columns that there are, used or not."""
    source: str
    """Where the columns stand, for messages."""
    stamp: str
    """Changes when a picture's bytes may have changed; "" where only the bytes themselves tell."""
    domains: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None


def sample_id(key: str) -> int:
    """Hash a path or key to a signed 64-bit id: BLAKE2b with 8 bytes, big-endian."""
    # Names that are not UTF-8 on disk come to Python as surrogates.
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def sample_ids(keys: Iterable[str]) -> Int64[np.ndarray, " rows"]:
    """Hash every path or key by `sample_id`."""
    return np.array([sample_id(key) for key in keys], dtype=np.int64)


def check_named_columns(columns: ColumnOptions, present: tuple[str, ...], source: str) -> None:
    """Refuse a column that the user named and that is not there.

    Raises:
        DataError: label, split, group, domain or kind is not the default and not among `present`.
    """
    defaults = ColumnOptions()
    for field in ("label", "split", "group", "domain", "kind"):
        name = getattr(columns, field)
        if name not in ("", getattr(defaults, field)) and name not in present:
            raise DataError(f"data.columns.{field}: {no_column(name, present, source)}")


def no_column(name: str, present: tuple[str, ...], source: str) -> str:
    """Say that a column is not there, and which ones are."""
    if not present:
        return f"There is no column {name!r}: {source} has no metadata file beside its pictures. Add metadata.csv with it."
    return f"{unknown_name('column', name, present)} Columns of {source}: {', '.join(present)}."


def column_or_none(values: tuple[str, ...]) -> tuple[str, ...] | None:
    """Give the column, or None where all of it is empty."""
    return values if any(values) else None


def read_splits(values: tuple[str, ...], names: tuple[str, ...], source: str) -> tuple[str, ...]:
    """Give our name for each split.

    Raises:
        DataError: a value is no known split.
    """
    for value, name in zip(values, names, strict=True):
        if value and value.lower() not in SPLIT_NAMES:
            raise DataError(f"{source} puts {name} in the split {value!r}: expected train, val (or validation) or test.")
    return tuple(SPLIT_NAMES[value.lower()] if value else "" for value in values)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One row a picture, in the order of the names on disk or of the data set."""

    names: tuple[str, ...]
    """Path relative to the data root, or "<split>/<index>"."""
    ids: Int64[np.ndarray, " rows"]
    """64-bit hashes of the names."""
    labels: Int64[np.ndarray, " rows"]
    """Indices into `classes`, or UNLABELLED."""
    classes: tuple[str, ...]
    """Sorted."""
    texts: tuple[str, ...] | None
    """"" where a row has none; None where no row has one."""
    splits: tuple[str, ...] | None
    """"train", "val", "test" or "" a row; None where the data do not say it."""
    groups: tuple[str, ...] | None
    read: Callable[[int], bytes]
    """Original bytes by row."""
    findings: tuple[Finding, ...]
    stamp: str = ""
    """Changes when a picture's bytes may have changed; "" where only the bytes themselves tell."""
    domains: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
