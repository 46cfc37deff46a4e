"""What a person names on the command line, as pictures: files, folders, patterns and tables."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from picturebook.data.images import EXTENSIONS
from picturebook.data.metadata import read_records
from picturebook.errors import DataError

TABLES = (".csv", ".jsonl", ".parquet")
"""Endings of tables that name pictures."""
COLUMN = "file_name"
"""Their column of names: absolute, or relative to the table's folder."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to predict."""

    name: str
    """As it is written in the answer."""
    path: Path


def list_pictures(arguments: Sequence[str | Path]) -> list[Picture]:
    """Every picture that the arguments stand for, in their order; those of a folder or a pattern are sorted.

    A folder stands for the pictures in it and below it; a .csv, .jsonl or .parquet file for the pictures in its column
    file_name; a path that is not there and holds *, ? or [ for the pictures and folders that match (** for any folders).
    Any other file stands for itself, whatever its ending.

    Raises:
        DataError: a path does not exist, a table cannot be read, or there is no picture.
    """
    pictures = [picture for argument in arguments for picture in _pictures(Path(argument))]
    if not pictures:
        raise DataError(f"No pictures ({', '.join(sorted(EXTENSIONS))}) in {', '.join(map(str, arguments))}.")
    return pictures


def _pictures(path: Path) -> Iterator[Picture]:
    if path.is_dir():
        yield from map(_named, _in_folder(path))
    elif path.is_file():
        yield from _in_table(path) if path.suffix.lower() in TABLES else [_named(path)]
    elif glob.has_magic(str(path)):
        yield from map(_named, _matching(path))
    else:
        raise DataError(f"There is no file or folder {path}.")


def _named(path: Path) -> Picture:
    return Picture(str(path), path)


def _in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _is_picture(path))


def _in_table(path: Path) -> Iterator[Picture]:
    _, records = read_records(path, file_name=COLUMN)
    for place, record in records:
        name = record.get(COLUMN, "")
        if not name:
            raise DataError(f"{path}, {place}, names no picture: fill in {COLUMN}, or drop the row.")
        yield Picture(name, path.parent / name)


def _matching(pattern: Path) -> list[Path]:
    found = {Path(name) for name in glob.iglob(str(pattern), recursive=True)}  # noqa: PTH207 - pathlib takes no absolute pattern
    pictures = {path for path in found if _is_picture(path)}
    pictures |= {path for folder in found if folder.is_dir() for path in _in_folder(folder)}
    if not pictures:
        raise DataError(f"No picture matches {pattern}.")
    return sorted(pictures)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()
