"""Prompts with places to fill in, and how many tokens they may be."""

import hashlib
import re
from collections.abc import Mapping, Sequence

_PLACE = re.compile(r"\{([A-Za-z_]+)\}")


def unknown_places(template: str, places: Sequence[str]) -> list[str]:
    """Names in braces that are not among `places`; braces around anything but letters are text."""
    return [name for name in _PLACE.findall(template) if name not in places]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into a prompt, in one pass: a value that itself holds {a place} stays as it is."""
    return _PLACE.sub(lambda match: values[match[1]], template)


def spoken(name: str) -> str:
    """A class name as it is said in a sentence: underscores as blanks, bytes that are no UTF-8 as question marks."""
    return name.replace("_", " ").encode("utf-8", "replace").decode()


def prompt_hash(prompt: str) -> str:
    """Hex SHA-256 of the prompt's UTF-8."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def estimate_tokens(text: str) -> int:
    """Tokens of a text, roughly: four bytes of UTF-8 a token."""
    return -(-len(text.encode()) // 4)
