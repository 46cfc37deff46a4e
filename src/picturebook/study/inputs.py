"""What the arms of a study read, opened before the first of them is trained."""

import json
from collections.abc import Iterable

from picturebook.caching import cache_folder
from picturebook.data.tables import Table, read_table
from picturebook.data.texts import TextOptions, check_files
from picturebook.errors import PicturebookError
from picturebook.recipes.alignment import naming
from picturebook.study.cells import Cell
from picturebook.study.records import known


def check_inputs(cells: Iterable[Cell], source: str) -> None:
    """Read tables of pictures with their column of texts, and files of words, once for each arm that has anything to do.

    An arm whose table another arm's run is to write is left out.

    Raises:
        PicturebookError: one cannot be read; the message names the arm.
    """
    tables: dict[str, Table] = {}
    first: dict[str, Cell] = {}
    for cell in cells:
        if not known(cell) and not (cell.needs and cell.options.data.metadata is not None):
            first.setdefault(cell.arm, cell)
    for cell in first.values():
        try:
            _read(cell, tables)
        except PicturebookError as error:
            raise type(error)(f"{source}, arm {cell.arm}: {error}") from None


def _read(cell: Cell, tables: dict[str, Table]) -> None:
    data, words = cell.options.data, _words(cell)
    columns = [options.column or data.columns.text for options in words.values() if options.source == "column"]
    column = columns[0] if columns else None  # a run reads one
    key = json.dumps([data.root, data.metadata, data.columns.model_dump(), column])
    if key not in tables:
        tables[key] = read_table(data, text_column=column, cache=cache_folder(cell.options.cache))
    for name, options in words.items():
        with naming(name):
            check_files(options, tables[key].classes)


def _words(cell: Cell) -> dict[str, TextOptions]:
    """Setting's name → words."""
    values = {name: getattr(cell.options, name) for name in type(cell.options).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, TextOptions)}
