"""Classes that a mirror would exchange or spoil, by their names."""

import re
from collections.abc import Sequence

_SIDES = {"left", "right", "clockwise", "counterclockwise", "anticlockwise"}
_KINDS = {"letter", "digit", "number", "char", "character", "sign"}
"""Words that may stand beside a sign in its class's name."""
_DIGITS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


def why_not_mirror(classes: Sequence[str]) -> str | None:
    """Why views must not change left and right, in words; None where the names give no reason.

    Names of sides ("turn_left") are one reason. Letters and digits ("A", "digit 7", "three") are another, where at least half of
    the classes are such.
    """
    words = [[word.casefold() for word in re.findall(r"[^\W_]+", name)] for name in classes]
    sided = next((name for name, parts in zip(classes, words, strict=True) if _SIDES & set(parts)), None)
    if sided is not None:
        return f"{sided} would become another class in a mirror"
    signs = [name for name, parts in zip(classes, words, strict=True) if _is_sign(parts)]
    if 2 * len(signs) >= len(classes):
        return f"class names look like letters or digits ({', '.join(signs[:3])}), which a mirror spoils"
    return None


def _is_sign(words: Sequence[str]) -> bool:
    rest = [word for word in words if word not in _KINDS]
    return len(rest) == 1 and (len(rest[0]) == 1 or rest[0] in _DIGITS)
