"""Words as numbers, for text models that are trained here from nothing: whole words, the most frequent first."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from picturebook.errors import ModelError, TextError
from picturebook.writing import write_json

PAD, START, END, UNKNOWN = 0, 1, 2, 3
"""Entries that are no words: filling after the end, before the first word, after the last, and a word that is not known."""
_NUM_SPECIAL = 4
_APOSTROPHES = str.maketrans("", "", "'\u2019")


def words_of(text: str) -> list[str]:
    """A text's words: lower case, of letters, their marks and digits alone.

    Everything else parts words, but for apostrophes, which fall away. In scripts without blanks a word is a run of
    letters, which is seldom what is meant: part the words of such texts first.
    """
    lowered = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    return "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in lowered).split()


class Vocabulary:
    """Words and their numbers; PAD, START, END and UNKNOWN come before the first word.

    Attributes:
        words: the known words, the most frequent first, equal ones in alphabetical order.
    """

    def __init__(self, words: Sequence[str]) -> None:
        assert len(set(words)) == len(words)
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(words, start=_NUM_SPECIAL)}

    @classmethod
    def build(cls, texts: Iterable[str], max_size: int) -> "Vocabulary":
        """The words of the texts, at most `max_size` entries with the four that are no words.

        Raises:
            TextError: there is no word in any text.
        """
        assert max_size > _NUM_SPECIAL
        counts = Counter(word for text in texts for word in words_of(text))
        if not counts:
            raise TextError(
                "There is no word in any text, so no vocabulary can be built: look at the column or file that text names."
            )
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ordered[: max_size - _NUM_SPECIAL])

    def __len__(self) -> int:
        """Entries in all: the size of an embedding."""
        return len(self.words) + _NUM_SPECIAL

    def encode(self, texts: Sequence[str], length: int) -> Int64[Tensor, "texts length"]:
        """START, the first `length` - 2 words, END, and PAD to the length (3 at least); an empty text is START, END."""
        assert length >= 3
        rows = torch.full((len(texts), length), PAD, dtype=torch.int64)
        for row, text in enumerate(texts):
            numbers = [self._numbers.get(word, UNKNOWN) for word in words_of(text)[: length - 2]]
            rows[row, : len(numbers) + 2] = torch.tensor([START, *numbers, END])
        return rows

    def decode(self, ids: Int64[Tensor, " length"]) -> str:
        """The words up to the first END, parted by blanks; an unknown word is shown as "?"."""
        words = []
        for number in ids.tolist():
            if number == END:
                break
            if number >= _NUM_SPECIAL:
                words.append(self.words[number - _NUM_SPECIAL])
            elif number == UNKNOWN:
                words.append("?")
        return " ".join(words)

    def unknown_share(self, texts: Iterable[str]) -> float:
        """The share of the texts' words, in [0, 1], that are not known; 0 where there are no words."""
        words = [word for text in texts for word in words_of(text)]
        return sum(word not in self._numbers for word in words) / len(words) if words else 0.0

    def count_cut(self, texts: Iterable[str], length: int) -> int:
        """Texts of more words than `encode` keeps at this length."""
        return sum(len(words_of(text)) > length - 2 for text in texts)

    def save(self, path: Path) -> None:
        """Write the words as JSON."""
        write_json(path, {"words": list(self.words)})

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            ModelError: there is no such file, or it is no vocabulary.
        """
        try:
            words = json.loads(path.read_text(encoding="utf-8"))["words"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is no vocabulary that picturebook wrote ({error}).") from None
        return cls(words)
