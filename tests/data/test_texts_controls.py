from collections import Counter

import numpy as np
import pytest

from picturebook.data.texts import controls
from picturebook.data.texts.random_words import WORDS
from picturebook.errors import TextError

IDS = np.array([9, -4, 77, 1 << 60, 5, 6], dtype=np.int64)
TEXTS = [("one two three", "four"), ("five six",), ("",), ("seven eight nine ten",), ("two two",), ("a b c d e f g",)]


def shape(texts: list[tuple[str, ...]]) -> list[list[int]]:
    return [[len(sentence.split()) for sentence in text] for text in texts]


@pytest.mark.parametrize("control", [controls.random_words, controls.scramble])
def test_texts_keep_their_number_and_lengths_and_depend_on_no_position(control: object) -> None:
    assert callable(control)
    changed = control(TEXTS, IDS, seed=0)
    assert shape(changed) == shape(TEXTS)
    assert changed != TEXTS
    order = [3, 0, 5, 1, 4, 2]
    assert control([TEXTS[row] for row in order], IDS[order], seed=0) == [changed[row] for row in order]
    assert control(TEXTS, IDS, seed=1) != changed


def test_random_words_are_the_sources_own_and_no_copy() -> None:
    words = Counter(word for text in TEXTS for sentence in text for word in sentence.split())
    drawn = controls.random_words(TEXTS * 50, np.arange(300), seed=0)
    found = Counter(word for text in drawn for sentence in text for word in sentence.split())
    assert set(found) == set(words)
    assert found["two"] / found.total() == pytest.approx(words["two"] / words.total(), abs=0.03)


def test_a_scrambled_text_has_its_own_words() -> None:
    changed = controls.scramble(TEXTS, IDS, seed=0)
    for before, after in zip(TEXTS, changed, strict=True):
        assert [sorted(one.split()) for one in before] == [sorted(one.split()) for one in after]
    orders = Counter(controls.scramble([("a b c",)], np.array([key]), seed=0)[0][0] for key in range(600))
    assert len(orders) == 6
    assert min(orders.values()) > 60


def test_partners_are_a_derangement_that_depends_on_no_position() -> None:
    for seed in range(20):
        places = controls.partners(IDS, seed=seed)
        assert sorted(places.tolist()) == list(range(len(IDS)))
        assert (places != np.arange(len(IDS))).all()
        order = np.array([3, 0, 5, 1, 4, 2])
        again = controls.partners(IDS[order], seed=seed)
        assert (IDS[order][again] == IDS[places][order]).all()
    assert len({tuple(controls.partners(IDS, seed=seed)) for seed in range(20)}) > 10
    with pytest.raises(TextError, match="two at least, got 1"):
        controls.partners(IDS[:1], seed=0)


def test_another_class_is_any_of_the_others() -> None:
    labels = np.arange(3000) % 3
    others = controls.other_classes(labels, np.arange(3000), num_classes=3, seed=0)
    assert (others != labels).all()
    counts = np.unique(3 * labels + others, return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 430


def test_random_names_have_as_many_words_and_are_all_different() -> None:
    classes = [f"number_{number}" if number % 2 else f"n{number}" for number in range(200)]
    names = controls.random_names(classes, seed=0)
    assert [len(name.split()) for name in names] == [2 if number % 2 else 1 for number in range(200)]
    assert len(set(names)) == 200
    assert {word for name in names for word in name.split()} <= set(WORDS)
    assert controls.random_names(classes[::-1], seed=0) == names[::-1]
    with pytest.raises(TextError, match="too many for names drawn from"):
        controls.random_names([f"n{number}" for number in range(len(WORDS) + 1)], seed=0)


def test_the_words_are_all_different() -> None:
    assert len(set(WORDS)) == len(WORDS) > 400
