"""The names that settings take."""

from collections.abc import Callable
from fnmatch import fnmatch

from picturebook.config import RECIPES
from picturebook.errors import OptionError, unknown_name
from picturebook.options import Options

_SHOWN = ("clip", "supervised", "be_your_own_teacher", "dino", "distil", "born_again", "image_text")
"""Recipes whose defaults are shown where recipes differ, the last one first."""


def catalogue(what: str, pattern: str = "*") -> dict[str, str]:
    """Names of one kind that match a shell pattern, each with a word about it.

    Raises:
        OptionError: there is no such kind, or nothing matches.
    """
    if what not in KINDS:
        raise OptionError(unknown_name("list", what, KINDS))
    found = {name: note for name, note in KINDS[what]().items() if fnmatch(name, pattern)}
    if not found:
        raise OptionError(f"None of the {what} matches {pattern!r}: `picturebook list {what}` shows all.")
    return found


def _models() -> dict[str, str]:
    from picturebook.models.sources import list_image_encoders, note_on

    return {name: note_on(name) for name in list_image_encoders()}


def _recipes() -> dict[str, str]:
    return {name: (recipe.options.__doc__ or "") for name, recipe in RECIPES.items()}


def _objectives() -> dict[str, str]:
    from picturebook.objectives import OBJECTIVES

    return {name: (objective.__doc__ or "").splitlines()[0] for name, objective in OBJECTIVES.items()}


def _texts() -> dict[str, str]:
    return {
        "classes": "class names in templates; a bank, or privileged as a picture's own text",
        "descriptions": "sentences about each class, from a JSON file; a bank, or privileged as a picture's own text",
        "column": "one text per picture, from a column of the table; text.mask_class_words takes the classes' words out of it",
        "none": "no words, for teacher.head.mode = 'learned' or 'linear'",
    }


def _controls() -> dict[str, str]:
    return {
        "random_words": "as many texts of as many words, drawn at random",
        "scramble": "the words of each text in random order",
        "other_class": "another class's descriptions beside a class's name; as a picture's own text, another class's text",
        "other_row": "another picture's own text",
        "permuted_bank": "every class has another class's texts",
        "empty": "pictures' own texts without a word",
    }


def _settings() -> dict[str, str]:
    """Every recipe's settings by path, with default and help, as their Options classes say them."""
    found: dict[str, str] = {}
    for name in (*(name for name in RECIPES if name not in _SHOWN), *_SHOWN):
        _gather(RECIPES[name].options, "", found)
    return found


def _gather(options: type[Options], path: str, found: dict[str, str]) -> None:
    for name, field in options.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            _gather(field.annotation, f"{path}{name}.", found)
        else:
            default = "needed" if field.is_required() else f"{field.get_default(call_default_factory=True)!r}"
            found[f"{path}{name}"] = f"({default}) {field.description or ''}"


KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "controls": _controls,
    "models": _models,
    "objectives": _objectives,
    "recipes": _recipes,
    "settings": _settings,
    "texts": _texts,
}
