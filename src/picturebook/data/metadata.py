"""A table beside the pictures: metadata.csv, .jsonl or .parquet, read as text and checked row by row."""

import csv
import json
import math
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picturebook.errors import DataError

FILE_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "captions.csv")
"""What a metadata file may be called to be found by itself."""
_MAX_FIELD = 16 * 2**20
_PARQUET_ROWS = 256
"""That are held at a time."""
PARQUET_ERRORS = (OSError, ValueError, KeyError, TypeError, NotImplementedError, MemoryError, OverflowError)
"""What pyarrow says of a file that is no parquet, or a damaged one: its errors are derived from these."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The rows of one or more metadata files."""

    name: str
    """The file's name, for messages."""
    columns: tuple[str, ...]
    """In the file's order."""
    rows: dict[str, dict[str, str]]
    """File name (posix, relative to the data root) to column to text; what is missing or null is the empty text."""

    def values(self, column: str, files: Iterable[str]) -> tuple[str, ...]:
        """Read a column for some files; a file without a row, or a row without the column, gives the empty text."""
        return tuple(self.rows.get(file, {}).get(column, "") for file in files)

    def is_filled(self, column: str) -> bool:
        """Say whether any row has a text in the column."""
        return any(row.get(column) for row in self.rows.values())


def read_metadata(path: Path, *, file_name: str, prefix: str = "") -> Metadata:
    """Read one metadata file. Values keep their spelling ("01" stays "01"), without blanks at both ends.

    Args:
        path: a .csv (comma, with a header), .jsonl (one object a line) or .parquet file; text is UTF-8, with or without BOM.
        file_name: the column that names the picture, relative to the metadata file's folder.
        prefix: that folder, relative to the data root; "" for the root itself.

    Raises:
        DataError: the file cannot be read, lacks the column, names one picture twice or a path outside the root.
    """
    columns, records = read_records(path, file_name=file_name)
    rows: dict[str, dict[str, str]] = {}
    lines: dict[str, str] = {}
    for line, record in records:
        own = inside(record.get(file_name, ""), f"{path}, {line}")
        name = posixpath.join(prefix, own)
        if name in rows:
            hint = "keep one" if (path.parent / own).is_file() else "names start at the table's folder, as in bird/001.jpg"
            raise DataError(f"{path} has two rows for {name} ({lines[name]} and {line}): {hint}.")
        rows[name], lines[name] = record, line
    return Metadata(path.name, columns, rows)


def read_records(path: Path, *, file_name: str) -> tuple[tuple[str, ...], Iterable[tuple[str, dict[str, str]]]]:
    """Read a table that names pictures, in its own order and unchecked but for its columns.

    Args:
        path: a .csv, .jsonl or .parquet file, as for `read_metadata`.
        file_name: the column that names the picture.

    Returns:
        The columns, and (place in the file, column to text) a row.

    Raises:
        DataError: the file cannot be read, or lacks the column.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is no metadata file that can be read: expected .csv, .jsonl or .parquet.")
    try:
        columns, records = reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start:,}): save it again as UTF-8.") from None
    if file_name not in columns:
        raise DataError(
            f"{path} has no column {file_name!r} with the pictures' file names; its columns are: "
            f"{', '.join(columns) or 'none'}. Rename one, or set data.columns.file_name."
        )
    return columns, records


def join(parts: list[Metadata]) -> Metadata:
    """Put the metadata of several split folders together; their files are apart."""
    columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))
    rows = {name: row for part in parts for name, row in part.rows.items()}
    return Metadata(" and ".join(sorted({part.name for part in parts})), columns, rows)


def as_text(value: Any) -> str:
    """Write a field's value as text; null and the number NaN are the empty text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value).strip()


_Table = tuple[tuple[str, ...], Iterable[tuple[str, dict[str, str]]]]


def _read_csv(path: Path) -> _Table:
    records = []
    previous_limit = csv.field_size_limit(_MAX_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = tuple(column.strip() for column in next(reader, []))
            for fields in reader:
                if fields:
                    _check_width(path, reader.line_num, fields, columns)
                    records.append((f"line {reader.line_num}", dict(zip(columns, map(str.strip, fields), strict=True))))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}, is not valid CSV: {error}. Quote texts with commas or quotes."
        ) from None
    finally:
        csv.field_size_limit(previous_limit)
    if len(set(columns)) < len(columns):
        raise DataError(f"{path} names a column twice: {', '.join(columns)}. Rename one.")
    return columns, records


def _check_width(path: Path, line: int, fields: list[str], columns: tuple[str, ...]) -> None:
    if len(fields) != len(columns):
        raise DataError(
            f"{path}, line {line}, has {len(fields)} fields where the header has {len(columns)}: "
            "put texts that hold commas in double quotes."
        )


def _read_jsonl(path: Path) -> _Table:
    records = []
    columns: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = parse_record(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number}, is not valid JSON: {error.msg} at column {error.colno}.") from None
            except RecursionError:
                raise DataError(f"{path}, line {number}, is nested too deeply to be read.") from None
            if not isinstance(record, dict):
                raise DataError(f'{path}, line {number}: expected a JSON object such as {{"file_name": …}}, got {line[:40]!r}.')
            texts = {column: as_text(value) for column, value in record.items()}
            if not is_text("".join((*texts, *texts.values()))):
                raise DataError(f"{path}, line {number}, holds half of a surrogate pair, which is no text: write it anew.")
            columns |= dict.fromkeys(record)
            records.append((f"line {number}", texts))
    return tuple(columns), records


def parse_record(text: str) -> Any:
    """Read JSON whose numbers keep the file's spelling; NaN is how tables write that there is nothing.

    Raises:
        json.JSONDecodeError, RecursionError: it is none, or nested too deeply.
    """
    constant = {"NaN": None}
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda name: constant.get(name, name))


def is_text(text: str) -> bool:
    """Say whether a text can be written down: half of a surrogate pair cannot."""
    try:
        text.encode("utf-8", "surrogateescape")  # as names on disk come that are not UTF-8
    except UnicodeEncodeError:
        return False
    return True


def _read_parquet(path: Path) -> _Table:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        columns = tuple(file.schema_arrow.names)
    except PARQUET_ERRORS as error:
        raise _unreadable(path, error) from None
    return columns, _parquet_rows(path, file)


def _parquet_rows(path: Path, file: Any) -> Iterator[tuple[str, dict[str, str]]]:
    # Row by row, since a small file can hold one long text a million times.
    number = 0
    try:
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS, use_threads=False):
            for record in batch.to_pylist():
                number += 1
                yield f"row {number}", {column: as_text(value) for column, value in record.items()}
    except PARQUET_ERRORS as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as parquet: {str(error).splitlines()[0] if str(error) else type(error).__name__}.")


def inside(file_name: str, where: str) -> str:
    """Give the name as a plain relative posix path, or refuse it where it leads out of the data root."""
    if not file_name:
        raise DataError(f"{where} names no file: fill in the file name or drop the row.")
    name = posixpath.normpath(file_name.replace("\\", "/"))
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or name.split("/")[0] == "..":
        raise DataError(f"{where} names {file_name!r}, outside the data root: file names must be relative and stay inside it.")
    return name
