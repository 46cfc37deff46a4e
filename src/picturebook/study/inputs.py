"""What the arms of a study read, opened before the first of them is trained."""

import json
from collections.abc import Iterable

from picturebook.caching import cache_folder
from picturebook.config import RECIPES
from picturebook.data.tables import Table, read_table
from picturebook.data.texts import TextOptions, check_files
from picturebook.errors import PicturebookError
from picturebook.recipes.options import RecipeOptions
from picturebook.study.cells import Cell
from picturebook.study.records import known


def check_inputs(cells: Iterable[Cell], source: str) -> None:
    """Read each table of pictures with its column of texts, and each file of words, of the arms that have anything to do.

    Raises:
        PicturebookError: one cannot be read; the message names the arm.
    """
    tables: dict[str, Table] = {}
    first: dict[str, Cell] = {}
    for cell in cells:
        if not known(cell):
            first.setdefault(cell.arm, cell)
    for cell in first.values():
        try:
            _read(cell, tables)
        except PicturebookError as error:
            raise type(error)(f"{source}, arm {cell.arm}: {error}") from None


def _read(cell: Cell, tables: dict[str, Table]) -> None:
    options = cell.options
    # What learns from a run cannot be looked at whole before that is there.
    column = None if cell.needs else RECIPES[options.recipe].check(options)
    data = options.data
    key = json.dumps([data.root, data.metadata, data.columns.model_dump(), column])
    if key not in tables:
        tables[key] = read_table(data, text_column=column, cache=cache_folder(options.cache))
    for words in _words(options):
        check_files(words, tables[key].classes)


def _words(options: RecipeOptions) -> list[TextOptions]:
    values = (getattr(options, name) for name in type(options).model_fields)
    return [value for value in values if isinstance(value, TextOptions)]
