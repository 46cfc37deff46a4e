"""Words of class names, found in texts and taken out of them.

A mask takes the words of *all* classes out of every text. One that took out the words of the picture's own class alone would
show the label by what it leaves.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby

MASK = "…"
"""What stands in place of a class word: no word of any language."""

_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")
"""First words of the Unicode names of letters that are written without blanks between words, or with particles joined to them."""


def class_words(classes: Iterable[str]) -> frozenset[str]:
    """Every word of any class's name, case folded, with its plural (s, es, ies) and what it may be the plural of.

    Names are parted at blanks, underscores, hyphens and all else that is neither letter, mark nor number.
    """
    words = {_fold(word) for name in classes for word, is_word in _runs(name) if is_word}
    return frozenset(form for word in words for form in _forms(word))


def mask_words(text: str, words: frozenset[str]) -> str:
    """Put MASK in place of every word of `words`; what lies between words stays as it is."""
    unspaced = _unspaced(words)
    return "".join(_mask_word(run, words, unspaced) if is_word else run for run, is_word in _runs(text))


def mentions(text: str, words: frozenset[str]) -> bool:
    """Whether a text has any word of `words`."""
    return mask_words(text, words) != unicodedata.normalize("NFC", text)


def _mask_word(word: str, words: frozenset[str], unspaced: list[str]) -> str:
    folded = _fold(word)
    if folded in words:
        return MASK
    if any(part in folded for part in unspaced):
        for part in unspaced:
            folded = folded.replace(part, MASK)
        return folded
    return word


@cache
def _unspaced(words: frozenset[str]) -> list[str]:
    """Words of scripts without blanks, which stand inside a run of letters; the longest first, so that none hides another."""
    return sorted((word for word in words if _is_unspaced(word[0])), key=lambda word: (-len(word), word))


def _is_unspaced(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(_UNSPACED)


def _forms(word: str) -> Iterator[str]:
    yield word
    if _is_unspaced(word[0]):
        return
    yield from (f"{word}s", f"{word}es")
    if word.endswith("y"):
        yield f"{word[:-1]}ies"
    for ending, rest, shortest in (("s", "", 4), ("es", "", 5), ("ies", "y", 5)):
        if word.endswith(ending) and len(word) >= shortest:
            yield word.removesuffix(ending) + rest


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Words (letters with their marks, and numbers), and what lies between them."""
    for is_word, characters in groupby(unicodedata.normalize("NFC", text), key=_in_word):
        yield "".join(characters), is_word


@cache
def _in_word(character: str) -> bool:
    # Not \w of `re`: it breaks words at the vowel signs of Devanagari and its kin, and joins them at underscores.
    return unicodedata.category(character)[0] in "LMN"


def _fold(word: str) -> str:
    return unicodedata.normalize("NFC", word.casefold())
