from pathlib import Path

import pytest
import torch

from picturebook.errors import ModelError, TextError
from picturebook.models.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, words_of

TEXTS = ["A red Bird, a red hat!", "the bird's nest", "red"]


def test_words_are_lower_case_and_free_of_punctuation_in_any_script() -> None:
    assert words_of("Don't — 2 Dogs_run!") == ["dont", "2", "dogs", "run"]
    assert words_of("हिन्दी ÉTÉ\nstraße") == ["हिन्दी", "été", "straße"]
    assert words_of(" ?!… ") == []


def test_the_most_frequent_words_come_first_and_equal_ones_by_alphabet() -> None:
    assert Vocabulary.build(TEXTS, 100).words == ("red", "a", "bird", "birds", "hat", "nest", "the")


def test_texts_become_numbers_with_start_end_and_padding() -> None:
    vocabulary = Vocabulary.build(TEXTS, 6)
    assert vocabulary.words == ("red", "a")
    assert len(vocabulary) == 6
    encoded = vocabulary.encode(["Red moon", "", "a a a a a a"], 5)
    assert encoded.dtype == torch.int64
    assert encoded.tolist() == [[START, 4, UNKNOWN, END, PAD], [START, END, PAD, PAD, PAD], [START, 5, 5, 5, END]]


def test_numbers_become_words_up_to_the_end() -> None:
    vocabulary = Vocabulary.build(TEXTS, 100)
    for text in ("a red bird", "", "the nest"):
        assert vocabulary.decode(vocabulary.encode([text], 8)[0]) == text
    assert vocabulary.decode(torch.tensor([START, 4, UNKNOWN, END, 5])) == "red ?"


def test_what_is_unknown_or_cut_is_counted() -> None:
    vocabulary = Vocabulary.build(TEXTS, 6)
    assert vocabulary.unknown_share(["red blue green a", ""]) == 0.5
    assert vocabulary.unknown_share([""]) == 0.0
    assert vocabulary.count_cut(["one two three", "one two"], 4) == 1


def test_a_saved_vocabulary_is_the_same(tmp_path: Path) -> None:
    vocabulary = Vocabulary.build(TEXTS, 100)
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json").words == vocabulary.words
    (tmp_path / "other.json").write_text("[]")
    for name in ("other.json", "missing.json"):
        with pytest.raises(ModelError, match="no vocabulary"):
            Vocabulary.load(tmp_path / name)


def test_texts_without_a_word_are_refused() -> None:
    for texts in ([], ["", " !"]):
        with pytest.raises(TextError, match="no word in any text"):
            Vocabulary.build(texts, 100)
