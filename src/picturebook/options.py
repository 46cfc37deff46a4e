"""The base of every Options class, and how settings that a person wrote become one: checked, refused in sentences."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from picturebook.errors import OptionError, unknown_name


class Options(BaseModel):
    """A part's settings. Subclasses stand in the file of the part that uses them, one docstring under each field."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def validate(model: type[AnyOptions], settings: dict[str, Any], *, source: str) -> AnyOptions:
    """Check settings as they come from TOML.

    Raises:
        OptionError: a setting is unknown, misspelt or impossible: its path, `source`, and the nearest name or what is wrong.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise OptionError("\n".join(f"{source}: {_sentence(model, detail)}" for detail in error.errors())) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        OptionError: it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise
    except RecursionError:
        raise OptionError(f"{path} is no TOML that can be read: it is nested too deeply.") from None
    except (ValueError, OSError) as error:
        raise OptionError(f"{path} is no TOML that can be read: {error}.") from None


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Put "a.b=value" into nested settings, the value as in TOML; a bare word is taken as text.

    Raises:
        OptionError: it is not of that form, or goes through a value that is no table.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise OptionError(f"--set {override!r}: need path.to.setting=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    put(settings, path.strip(), value, source=f"--set {override!r}")


def put(settings: dict[str, Any], path: str, value: Any, *, source: str) -> None:
    """Put a value into nested settings at a path, "a.b".

    Raises:
        OptionError: the path goes through a value that is no table; the message begins with `source`.
    """
    *parents, last = path.split(".")
    table = settings
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise OptionError(f"{source}: {parent} is a value, not a table.")
    table[last] = value


def without(settings: dict[str, Any], path: tuple[str, str]) -> dict[str, Any]:
    """Settings but for one (table, name)."""
    table, name = path
    kept = settings.get(table)
    if not isinstance(kept, dict):
        return settings
    return settings | {table: {key: value for key, value in kept.items() if key != name}}


def first_difference(theirs: dict[str, Any], ours: dict[str, Any], path: str = "") -> str:
    """Say in which setting two differ."""
    for name in sorted(theirs.keys() | ours.keys()):
        left, right = theirs.get(name), ours.get(name)
        if isinstance(left, dict) and isinstance(right, dict) and left != right:
            return first_difference(left, right, f"{path}{name}.")
        if left != right:
            return f"{path}{name} is {left!r} there and {right!r} here"
    return "they are written differently"


def _sentence(model: type[Options], detail: Any) -> str:
    path = [str(part) for part in detail["loc"]]
    where = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"{where}: " + unknown_name("setting", path[-1], _names_beside(model, path[:-1]))
    if detail["type"] == "missing":
        return f"{where}: this setting is needed."
    if detail["type"] == "model_type":
        names = ", ".join(_names_beside(model, path))
        return f"{where}: expected a table of settings ({names}), got {detail['input']!r}."
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    # A table says itself which of its settings do not go together.
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):
        return f"{where}: {message}." if where else f"{message}."
    return f"{where}: {message}, got {detail['input']!r}."


def _names_beside(model: Any, path: Sequence[str]) -> list[str]:
    for part in path:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
