"""Settings of a run that is started from Python: what `picturebook init` would choose, under what the caller says."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from picturebook.caching import cache_folder
from picturebook.config import RECIPES
from picturebook.errors import OptionError, unknown_name
from picturebook.options import put
from picturebook.recipes import own
from picturebook.recipes.options import RecipeOptions
from picturebook.start import look_at, run_file
from picturebook.terminal import Terminal
from picturebook.types import Reporter, Silence

SOURCE = "settings"
"""Where settings come from, for messages."""
Settings = Mapping[str, Any]
"""Path of a setting, as `--set` takes it ("train.epochs"), to its value."""
_ARGUMENTS = {"data.root": "the data", "objective": "the objective", "out": "out", "recipe": "recipe"}


def settings_for(data: str | Path, *, recipe: str, text: str | None, said: Settings, reporter: Reporter) -> dict[str, Any]:
    """Look at the data and choose a run's settings.

    Args:
        data: anything that data.root takes.
        recipe: a name of RECIPES, or "own".
        text: the column of words that the recipe reads; None leaves the recipe without, or with class names.
        said: what goes before every choice.
        reporter: where it tells how it goes.

    Raises:
        OptionError: there is no such recipe, it reads no words, or a path leads nowhere.
        DataError: the data cannot be used.
    """
    if recipe != own.NAME and recipe not in RECIPES:
        raise OptionError(unknown_name("recipe", recipe, RECIPES))
    of_data: dict[str, Any] = {"data": {}}
    for path, value in said.items():
        if path.split(".")[0] == "data":
            put(of_data, path, _plain(value), source=SOURCE)
    if text is not None:
        of_data["data"] = {**of_data["data"], "columns": {**of_data["data"].get("columns", {}), "text": text}}
    cache = Path(said["cache"]) if "cache" in said else cache_folder()
    look = look_at(str(data), of_data["data"], source=SOURCE, cache=cache, reporter=reporter)
    chosen = tomllib.loads(run_file(look.inspection, file=Path("RUN.toml"), words=look.words, model=said.get("student.model")))
    if chosen["recipe"] != recipe:  # what every recipe has fits this one too
        chosen = {name: value for name, value in chosen.items() if name in RecipeOptions.model_fields}
    chosen["recipe"] = recipe
    if text is not None:
        _read_words(chosen, recipe, text, masked=look.words.tell_classes)
    for path, value in said.items():
        put(chosen, path, _plain(value), source=SOURCE)
    return chosen


def of_caller(settings: Settings | None) -> dict[str, Any]:
    """The caller's settings.

    Raises:
        OptionError: one of them is an argument too.
    """
    for path in settings or ():
        if path in _ARGUMENTS:
            raise OptionError(f"settings: {path} is said by an argument of its own, {_ARGUMENTS[path]}.")
    return dict(settings or {})


@contextmanager
def reporting(verbose: bool) -> Iterator[Reporter]:
    """Bars and remarks in the terminal, or nothing."""
    if not verbose:
        yield Silence()
        return
    with Terminal() as terminal:
        yield terminal


def _read_words(chosen: dict[str, Any], recipe: str, column: str, *, masked: bool) -> None:
    if recipe == own.NAME or "text" not in RECIPES[recipe].options.model_fields:
        readers = sorted(name for name, one in RECIPES.items() if "text" in one.options.model_fields)
        raise OptionError(f"recipe = {recipe!r} reads no words: leave text out, or take one of {', '.join(readers)}.")
    chosen["text"] = {"source": "column", "column": column, "kind": "unknown"} | ({"mask_class_words": True} if masked else {})
    if recipe == "image_text":
        chosen["teacher"] = {**chosen.get("teacher", {}), "head": {"mode": "own"}}


def _plain(value: Any) -> Any:
    """The value as TOML would give it: numbers of numpy and paths come from Python."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
