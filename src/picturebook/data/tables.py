"""Any data root to one table: names, ids, labels, texts, splits, groups, and a way to the bytes."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from picturebook.data.findings import Finding, quantity
from picturebook.data.folders import read_folder, stamp
from picturebook.data.hub import read_hub
from picturebook.data.idx import read_idx_table
from picturebook.data.rows import ColumnOptions, Rows, Table, no_column, sample_ids
from picturebook.data.shards import find_shards, read_parquet_shards, read_tar_shards
from picturebook.data.splits import SplitOptions
from picturebook.data.supervision import SupervisionOptions
from picturebook.errors import DataError, TextError
from picturebook.options import Options
from picturebook.types import UNLABELLED

__all__ = ["ColumnOptions", "DataOptions", "Table", "read_table"]

_SMALL_CLASS = 5
_SPELT_NOTHING = frozenset({"nan", "none", "null", "n/a", "<na>"})
"""What programs write into a table where they have nothing."""


class DataOptions(Options):
    """Where the pictures are, and how they are read and split."""

    root: str
    """A folder; a .parquet or .tar file, a folder of them or a pattern, "shards/train-*.tar"; or a hub data set, "owner/name"."""
    metadata: str | None = None
    """Path of the metadata file, relative to the root; by default metadata.csv, .jsonl, .parquet or captions.csv in it."""
    columns: ColumnOptions = ColumnOptions()
    """What the metadata's columns are called."""
    split: SplitOptions = SplitOptions()
    """How pictures are split where the data do not say it."""
    supervision: SupervisionOptions = SupervisionOptions()
    """How much of the training labels is used, and how right they are."""
    canvas_size: int = Field(default=64, ge=8)
    """Height and width of the square to which each picture is decoded once, in pixels; at least what the student sees."""
    canvas_budget_gb: float = Field(default=256.0, ge=0)
    """Disk that decoded pictures may take, in 10^9 bytes; past it each is decoded whenever it is shown, in threads."""
    max_broken_share: float = Field(default=0.1, ge=0, le=1)
    """Share of unreadable pictures past which reading stops."""


def read_table(
    options: DataOptions,
    *,
    text_column: str | None = None,
    to_train: bool = True,
    needs_labels: bool = True,
    cache: Path | None = None,
) -> Table:
    """Read the rows of a data root, without decoding a picture.

    Args:
        options: the data root and its layout.
        text_column: a column of texts that must be there; None reads `options.columns.text` where there is one.
        to_train: refuse what a classifier cannot be trained on, fewer than two classes.
        needs_labels: refuse folders and hub data sets that have no labels at all.
        cache: where the index of shards is kept; None reads it anew.

    Raises:
        DataError: the root, its metadata or its labels cannot be used.
        TextError: a text column was asked for and is missing or empty.
    """
    columns = options.columns
    asked = text_column or (columns.text if columns.text != ColumnOptions().text else None)
    if asked is not None:
        columns = columns.model_copy(update={"text": asked})
    root = Path(options.root)
    if root.is_dir() and _is_idx(root):
        if asked is not None:
            raise TextError(f"There is no column {asked!r}: IDX files hold no texts.")
        files = tuple(sorted(path.name for path in root.iterdir() if path.is_file()))
        return replace(read_idx_table(root), stamp=stamp(root, files))
    rows = _rows(root, options, columns, cache, needs_labels=needs_labels)
    if asked is not None:
        _check_texts(asked, rows)
    return _table(rows, options.root, to_train=to_train)


def _is_idx(root: Path) -> bool:
    return any((root / name).is_file() for name in ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"))


def _rows(root: Path, options: DataOptions, columns: ColumnOptions, cache: Path | None, *, needs_labels: bool) -> Rows:
    shards = find_shards(options.root)
    if shards is None and root.is_file():
        raise DataError(
            f"data.root: {root} is a file; expected a folder, a .parquet or .tar file, or the name of a hub data set."
        )
    is_hub = not root.parent.exists() and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", options.root) is not None
    if shards is None and not root.exists() and not is_hub:
        raise DataError(f"data.root: there is no folder or file {root}. Relative paths start at the working directory.")
    if shards is None and not is_hub:
        return read_folder(root, columns, options.metadata, needs_labels=needs_labels)
    if options.metadata is not None:
        raise DataError("data.metadata stands beside a folder of pictures; shards and hub data sets have their own columns.")
    if shards is None:
        return read_hub(options.root, columns, needs_labels=needs_labels)
    return read_tar_shards(shards, columns, cache=cache) if shards.kind == "tar" else read_parquet_shards(shards, columns)


def _check_texts(asked: str, rows: Rows) -> None:
    if asked not in rows.columns:
        raise TextError(no_column(asked, rows.columns, rows.source))
    if rows.texts is None:
        raise TextError(f"The text column {asked!r} of {rows.source} is empty in every row: fill it in, or name another.")


def _table(rows: Rows, root: str, *, to_train: bool) -> Table:
    classes = tuple(sorted(set(rows.labels) - {""}))
    if to_train and len(classes) < 2:
        listing = f"the label {classes[0]!r}" if classes else "no label"
        raise DataError(
            f"All {quantity(len(rows.names), 'picture')} in {root} have {listing}; a classifier needs two classes or more. "
            "Are the class folders one level below or above data.root?"
        )
    if odd := [name for name in classes if not _is_utf8(name)]:
        raise DataError(f"The class {odd[0]!r} of {root} has a name that is not UTF-8, which no model file can hold: rename it.")
    index = {name: number for number, name in enumerate(classes)} | {"": UNLABELLED}
    ids = sample_ids(rows.names)
    assert len(np.unique(ids)) == len(ids), "two names share a 64-bit hash"
    return Table(
        names=rows.names,
        ids=ids,
        labels=np.array([index[label] for label in rows.labels], dtype=np.int64),
        classes=classes,
        texts=rows.texts,
        splits=rows.splits,
        groups=rows.groups,
        read=rows.read,
        findings=(*rows.findings, *_notable(rows, classes)),
        stamp=rows.stamp,
        domains=rows.domains,
        kinds=rows.kinds,
    )


def _is_utf8(name: str) -> bool:
    """Whether it can be written as text: bytes on disk that are not UTF-8 come to Python as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _notable(rows: Rows, classes: tuple[str, ...]) -> tuple[Finding, ...]:
    counts = Counter(rows.labels)
    small = tuple(name for name in classes if counts[name] < _SMALL_CLASS)
    nameless = tuple(name for name in classes if name.lower() in _SPELT_NOTHING - {"none"})  # which may be a class
    unlabelled = tuple(name for name, label in zip(rows.names, rows.labels, strict=True) if not label)
    findings = [
        Finding("warned", f"fewer than {_SMALL_CLASS} pictures", small, "class"),
        Finding("warned", "no label", unlabelled),
        Finding("warned", "a name that seems to stand for no label (if so, leave the label empty)", nameless, "class"),
    ]
    if rows.texts is not None:
        without = tuple(name for name, text in zip(rows.names, rows.texts, strict=True) if not text)
        findings.append(Finding("warned", "no text", without))
        spelt = [name for name, text in zip(rows.names, rows.texts, strict=True) if text.lower() in _SPELT_NOTHING]
        findings.append(Finding("warned", "a text that seems to stand for none (if so, leave it empty)", tuple(spelt)))
    return tuple(finding for finding in findings if finding.names)
