from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from picturebook.stores.texts import encode_once, encode_queries, encode_tokens_once
from picturebook.types import Progress, no_progress


class Counting:
    """A text encoder that remembers what it was asked."""

    def __init__(self, fingerprint: str = "f1", scale: float = 1.0) -> None:
        self.fingerprint = fingerprint
        self.asked: list[str] = []
        self._scale = scale

    def encode(self, texts: Sequence[str], *, progress: Progress = no_progress) -> torch.Tensor:
        self.asked += texts
        progress(len(texts), len(texts))
        return torch.tensor([[len(text), sum(map(ord, text)), 1.0] for text in texts]) * self._scale

    def encode_tokens(self, texts: Sequence[str], *, progress: Progress = no_progress) -> list[torch.Tensor]:
        """A token a letter, of width 2."""
        self.asked += texts
        return [torch.tensor([[ord(letter), 0.1] for letter in text or " "]) * self._scale for text in texts]


def test_each_text_is_encoded_once_ever_and_order_is_kept(tmp_path: Path) -> None:
    encoder = Counting()
    texts = ["bee", "an ant", "bee", ""]
    first = encode_once(encoder, texts, cache=tmp_path)
    assert encoder.asked == ["bee", "an ant", ""]
    torch.testing.assert_close(first, Counting().encode(texts))
    second = encode_once(encoder, ["a cat", "", "bee"], cache=tmp_path)
    assert encoder.asked == ["bee", "an ant", "", "a cat"]
    torch.testing.assert_close(second, Counting().encode(["a cat", "", "bee"]))
    again = Counting()
    assert torch.equal(encode_once(again, texts, cache=tmp_path), first)
    assert again.asked == []


def test_another_encoder_has_vectors_of_its_own(tmp_path: Path) -> None:
    first = encode_once(Counting(), ["bee"], cache=tmp_path)
    second = encode_once(Counting("f2", scale=2.0), ["bee"], cache=tmp_path)
    assert torch.equal(second, 2 * first)
    assert torch.equal(encode_once(Counting(), ["bee"], cache=tmp_path), first)


def test_an_interruption_leaves_the_older_vectors(tmp_path: Path) -> None:
    encode_once(Counting(), ["bee"], cache=tmp_path)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_once(Counting(), ["ant"], cache=tmp_path, progress=stop)
    encoder = Counting()
    encode_once(encoder, ["bee", "ant"], cache=tmp_path)
    assert encoder.asked == ["ant"]


def test_tokens_are_encoded_once_ever_whatever_their_number(tmp_path: Path) -> None:
    encoder = Counting()
    texts = ["bee", "an ant", "", "bee"]
    first = encode_tokens_once(encoder, texts, cache=tmp_path)
    assert encoder.asked == ["bee", "an ant", ""]
    assert [part.shape for part in first] == [(3, 2), (6, 2), (1, 2), (3, 2)]
    for part, exact in zip(first, Counting().encode_tokens(texts), strict=True):
        assert torch.equal(part, exact.half().float())
    encode_tokens_once(encoder, ["a cat", "bee"], cache=tmp_path)
    assert encoder.asked == ["bee", "an ant", "", "a cat"]
    again = Counting()
    for part, before in zip(encode_tokens_once(again, texts, cache=tmp_path), first, strict=True):
        assert torch.equal(part, before)
    assert again.asked == []
    encode_once(again, ["bee"], cache=tmp_path)
    assert again.asked == ["bee"], "a text's vector is another than its tokens'"


TEXTS = [("bee",), ("ant", "wasp", "ant"), ("ox",)]


def test_a_text_asks_by_the_mean_of_its_sentences(tmp_path: Path) -> None:
    queries = encode_queries(Counting(), TEXTS, asking="text", cache=tmp_path)
    vectors = Counting().encode(["bee", "ant", "wasp", "ant", "ox"])
    assert queries.vectors.shape == (3, 1, 3)
    assert queries.mask.all()
    assert torch.equal(queries.vectors[[0, 2], 0], vectors[[0, 4]])
    torch.testing.assert_close(queries.vectors[1, 0], vectors[1:4].mean(dim=0))


def test_a_text_asks_by_each_of_its_sentences(tmp_path: Path) -> None:
    encoder = Counting()
    queries = encode_queries(encoder, TEXTS, asking="sentences", cache=tmp_path)
    assert encoder.asked == ["bee", "ant", "wasp", "ox"]
    assert queries.mask.tolist() == [[True, False, False], [True, True, True], [True, False, False]]
    assert torch.equal(queries.vectors[1], Counting().encode(["ant", "wasp", "ant"]))
    assert torch.equal(queries.vectors[2, 0], Counting().encode(["ox"])[0])


def test_a_text_asks_by_the_tokens_of_all_its_sentences(tmp_path: Path) -> None:
    queries = encode_queries(Counting(), TEXTS, asking="tokens", cache=tmp_path)
    assert queries.mask.sum(dim=1).tolist() == [3, 10, 2]
    assert queries.vectors[1, :10, 0].tolist() == [float(ord(letter)) for letter in "antwaspant"]
    assert (queries.vectors[0, 3:] == 0).all()
