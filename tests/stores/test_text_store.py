from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from picturebook.stores.texts import encode_once
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
