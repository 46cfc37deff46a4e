"""What each picture is shown with where pictures and texts are learnt together: a function of (seed, sample id, view number)."""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from pydantic import Field
from torch import Tensor

from picturebook.data.counter import counter_uniforms
from picturebook.models.vocabulary import UNKNOWN
from picturebook.options import Options
from picturebook.types import Batch, to_device

_SENTENCE_STREAM, _SWAP_STREAM, _DROP_STREAM = 120, 121, 122


class TextNoiseOptions(Options):
    """How texts are spoilt, anew in each view, as those of the web are."""

    swapped: float = Field(0.0, ge=0.0, lt=1.0)
    """Probability that a picture is shown with the text of another one, drawn from all training pictures."""
    word_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """Probability that a word is hidden as an unknown one (arXiv:1511.06349); with a trained text tower."""


def distinct_sentences(texts: Sequence[tuple[str, ...]]) -> list[str]:
    """The sentences of all texts, each once, in order of appearance."""
    return list(dict.fromkeys(sentence for text in texts for sentence in text))


class PairedTexts:
    """The texts of pictures, by sample id. A text of several sentences shows one of them in each view.

    Args:
        ids: [n], sample ids, each once, in any order.
        texts: [n], each with its sentences, one at least; equal ones are one text.
        inputs: [S, ...], what a text tower reads of `distinct_sentences(texts)`: vectors, or numbers of words.
        seed: of what is drawn.
        noise: how texts are spoilt.
    """

    def __init__(
        self,
        ids: Int64[np.ndarray, " samples"],
        texts: Sequence[tuple[str, ...]],
        inputs: Shaped[Tensor, "sentences *record"],
        *,
        seed: int,
        noise: TextNoiseOptions,
    ) -> None:
        order = np.argsort(ids)
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        places = {sentence: place for place, sentence in enumerate(distinct_sentences(texts))}
        assert len(inputs) == len(places)
        self._ids = ids[order]
        self._numbers = np.array([numbers[texts[row]] for row in order], dtype=np.int64)
        self._counts = np.array([len(text) for text in numbers], dtype=np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self._places = np.array([places[sentence] for text in numbers for sentence in text], dtype=np.int64)
        self._inputs, self._seed, self._noise = inputs, seed, noise

    def __deepcopy__(self, memo: dict[int, Any]) -> "PairedTexts":
        return self  # nothing in it changes

    def __len__(self) -> int:
        """How many different texts there are."""
        return len(self._counts)

    def of(self, batch: Batch) -> tuple[Int64[Tensor, " batch"], Shaped[Tensor, "batch *record"]]:
        """The number of each sample's text and what a text tower reads of it, on the batch's device."""
        ids, views = batch.ids.numpy(), batch.views.numpy()
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        assert (self._ids[places] == ids).all(), "a sample of this batch has no text"
        numbers = self._numbers[self._swapped(places, ids, views)]
        draws = counter_uniforms(self._seed, ids, views, 1, stream=_SENTENCE_STREAM)[:, 0]
        sentences = self._places[self._starts[numbers] + (draws * self._counts[numbers]).astype(np.int64)]
        inputs = self._hidden(self._inputs[torch.from_numpy(sentences)], ids, views)
        return to_device(numbers, batch.device), to_device(inputs, batch.device)

    def positive_share(self, batch_size: int) -> float:
        """The share of a batch's pairs (picture, text) that fit, in (0, 1]: each one's own text, and equal ones of others."""
        counts = np.bincount(self._numbers).astype(float)
        others = (counts * (counts - 1)).sum() / max(len(self._numbers) * (len(self._numbers) - 1), 1)
        return float(1.0 / batch_size + (1.0 - 1.0 / batch_size) * others)

    def single_text_share(self, batch_size: int) -> float:
        """The share of batches all of whose texts are equal, so that nothing in them can be told apart.

        A batch is drawn from an epoch's order, without replacement.
        """
        size = min(batch_size, len(self._numbers))
        alike = sum(comb(int(count), size) for count in np.bincount(self._numbers))
        return alike / comb(len(self._numbers), size)

    def _swapped(self, places: np.ndarray, ids: np.ndarray, views: np.ndarray) -> np.ndarray:
        """The places in the table whose texts are shown."""
        if self._noise.swapped == 0.0:
            return places
        draws = counter_uniforms(self._seed, ids, views, 2, stream=_SWAP_STREAM)
        others = (draws[:, 1] * len(self._ids)).astype(np.int64)
        return np.where(draws[:, 0] < self._noise.swapped, others, places)

    def _hidden(self, inputs: Tensor, ids: np.ndarray, views: np.ndarray) -> Tensor:
        if self._noise.word_dropout == 0.0:
            return inputs
        assert not inputs.is_floating_point(), "vectors have no words to hide"
        draws = torch.from_numpy(counter_uniforms(self._seed, ids, views, inputs.shape[1], stream=_DROP_STREAM))
        return torch.where((draws < self._noise.word_dropout) & (inputs > UNKNOWN), UNKNOWN, inputs)
