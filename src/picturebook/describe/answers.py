"""A language model's answer to a list of phrases, or the reason why it is none.

An answer is data, never an instruction: nothing in it is run, followed or asked for.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import Any

from picturebook.data.findings import quantity

MAX_PHRASE_LENGTH = 120
"""Characters of a phrase; what is longer is a sentence about something else and left out."""

_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_ITEM = re.compile(r"^\s*(?:[-*•–—]|\(?\d{1,3}[.):])\s+(\S.*)$")
_REFUSAL = re.compile(
    r"\b(?:i[’']?m sorry|i am sorry|i apologi[sz]e|as an ai|i can[’']?t|i cannot|i(?:[’']?m| am) (?:not able|unable))\b",
    re.IGNORECASE,
)
_NOTHING = frozenset({"n/a", "na", "none", "nothing", "null", "nil", "unknown", "not applicable", "empty"})
_MAX_STARTS = 20


class BadAnswerError(Exception):
    """An answer that cannot be used; the message says why, for a person. Asked again, then listed as failed."""


def parse_phrases(answer: str, *, least: int, most: int) -> tuple[str, ...]:
    """Read phrases from a JSON list (bare, fenced, in a sentence or as an object's only list) or numbered or bulleted lines.

    Blanks are squeezed, marks around phrases taken off, phrases that say nothing, repeat another or are longer than
    MAX_PHRASE_LENGTH left out.

    Args:
        answer: what the model wrote.
        least: phrases that are needed.
        most: phrases that are kept, the first ones.

    Raises:
        BadAnswerError: it is empty, refuses, holds no list, or fewer than `least` phrases are left.
    """
    text = _THOUGHTS.sub("", answer).strip()
    if not text:
        raise BadAnswerError("the answer is empty")
    found = _json_list(text)
    if found is None:
        found = [match[1] for match in map(_ITEM.match, text.splitlines()) if match]
    if _REFUSAL.search(text) and len(found) < least:
        raise BadAnswerError(f"the model refuses: {excerpt(text)}")
    if not found:
        raise BadAnswerError(f"the answer holds no list: {excerpt(text)}")
    phrases = _distinct(map(_clean, found))
    if not phrases:
        raise BadAnswerError("the list mentions nothing")
    if len(phrases) < least:
        raise BadAnswerError(
            f"the list has {quantity(len(phrases), 'phrase')} of use, fewer than {least}: {excerpt('; '.join(phrases))}"
        )
    return tuple(phrases[:most])


def excerpt(text: str, length: int = 80) -> str:
    """The start of a text on one line, without control characters, in quotes."""
    line = one_line(text)
    return repr(line if len(line) <= length else line[:length] + "…")


def without_marks(text: str) -> str:
    """A text without control characters, surrogates and invisible marks, which could act on a terminal; lines stay."""
    return "".join(char for char in text if char in "\n\t\r" or unicodedata.category(char)[0] != "C")


def _json_list(text: str) -> list[str] | None:
    decoder, end = json.JSONDecoder(), 0
    for match in islice(re.finditer(r"[\[{]", text), _MAX_STARTS):
        if match.start() < end:  # inside of a value that was no list of phrases
            continue
        try:
            value, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if (phrases := _strings(value)) is not None:
            return phrases
    return None


def _strings(value: Any) -> list[str] | None:
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        return _strings(lists[0]) if len(lists) == 1 else None
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value
    return None


def _clean(phrase: str) -> str:
    line = one_line(phrase).replace("**", "").strip(" \"'“”‘’`*_,;")
    return line.rstrip(".").strip(" \"'“”‘’`*_")


def one_line(text: str) -> str:
    """A text without marks, its blanks squeezed to single ones."""
    return " ".join(without_marks(text).split())


def _distinct(phrases: Iterable[str]) -> list[str]:
    kept: dict[str, str] = {}
    for phrase in phrases:
        key = phrase.casefold()
        says_something = any(char.isalnum() for char in phrase) and key not in _NOTHING and not _REFUSAL.search(phrase)
        if says_something and len(phrase) <= MAX_PHRASE_LENGTH:
            kept.setdefault(key, phrase)
    return list(kept.values())
