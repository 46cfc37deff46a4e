"""The class descriptions that the studies are done with: they fit the classes, and do not name them."""

import json
import re
from pathlib import Path

import pytest

from picturebook.data.emoji_labels import SUBGROUPS
from picturebook.data.idx import CLASS_NAMES

FOLDER = Path(__file__).parents[2] / "benchmarks" / "data" / "descriptions"
CLASSES = {"emoji64": tuple(SUBGROUPS), "fashion_mnist": CLASS_NAMES["fashion-mnist"]}

pytestmark = pytest.mark.parametrize("name", CLASSES)


def read(name: str) -> dict[str, list[str]]:
    def unique(pairs: list[tuple[str, list[str]]]) -> dict[str, list[str]]:
        assert len({key for key, _ in pairs}) == len(pairs), "a class stands twice"
        return dict(pairs)

    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"), object_pairs_hook=unique)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_every_class_has_10_to_20_phrases_and_no_other_has_any(name: str) -> None:
    described = read(name)
    assert sorted(described) == sorted(CLASSES[name])
    assert {label: len(phrases) for label, phrases in described.items() if not 10 <= len(phrases) <= 20} == {}


def test_no_phrase_stands_twice(name: str) -> None:
    phrases = [" ".join(sorted(words(phrase))) for phrases in read(name).values() for phrase in phrases]
    assert len(set(phrases)) == len(phrases)


def test_phrases_are_short_and_clean(name: str) -> None:
    for phrases in read(name).values():
        for phrase in phrases:
            assert phrase == " ".join(phrase.split())
            assert 3 <= len(phrase.split()) <= 14, phrase
            assert not phrase.endswith(".")
            assert phrase.isascii(), phrase


def test_no_phrase_names_its_class(name: str) -> None:
    named = {}
    for label, phrases in read(name).items():
        own = {form for word in words(label) if len(word) > 1 for form in (word, f"{word}s", f"{word}es")}
        named |= {phrase: label for phrase in phrases if words(phrase) & own}
    assert named == {}
