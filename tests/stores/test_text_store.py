import errno
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from permissions import locked
from picturebook.errors import RunError
from picturebook.stores.texts import encode_once, encode_queries, encode_tokens_once
from picturebook.types import Progress, no_progress
from two_processes import run_in_two


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


class Noting(Counting):
    """Takes its time, and notes on disk what it encodes, for all processes."""

    def __init__(self, notes: Path) -> None:
        super().__init__()
        self._notes = notes

    def _note(self, texts: Sequence[str]) -> None:
        time.sleep(0.3)
        with self._notes.open("a") as file:
            file.write("".join(f"{text}\n" for text in texts))

    def encode(self, texts: Sequence[str], *, progress: Progress = no_progress) -> torch.Tensor:
        self._note(texts)
        return super().encode(texts, progress=progress)

    def encode_tokens(self, texts: Sequence[str], *, progress: Progress = no_progress) -> list[torch.Tensor]:
        self._note(texts)
        return super().encode_tokens(texts, progress=progress)


OVERLAPPING = (["bee", "ant", "wasp"], ["wasp", "ox", "bee", "cat"])
ONCE = {"texts": encode_once, "tokens": encode_tokens_once}


def encode_at_once(rank: int, port: int, root: Path, kind: str, together: Any) -> None:
    texts = OVERLAPPING[rank]
    together.wait(60)
    found = ONCE[kind](Noting(root / "notes"), texts, cache=root)
    expected = ONCE[kind](Counting(), texts, cache=root / f"alone{rank}")
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ONCE)
def test_two_processes_at_once_encode_each_text_once_and_lose_none(tmp_path: Path, kind: str) -> None:
    run_in_two(encode_at_once, tmp_path, kind, multiprocessing.get_context("fork").Barrier(2))
    assert sorted((tmp_path / "notes").read_text().split()) == ["ant", "bee", "cat", "ox", "wasp"]
    again = Counting()
    ONCE[kind](again, [*OVERLAPPING[0], *OVERLAPPING[1]], cache=tmp_path)
    assert again.asked == []


def test_known_texts_are_read_from_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    encode_once(Counting(), ["bee"], cache=tmp_path)
    (tmp_path / "texts" / "f1.npz.lock").unlink()
    with locked(tmp_path / "texts"):
        assert len(encode_once(Counting(), ["bee"], cache=tmp_path)) == 1
        encoder = Counting()
        with pytest.raises(RunError, match=r"lock cannot be written \(Permission denied\): name another place"):
            encode_once(encoder, ["ant"], cache=tmp_path)
    assert encoder.asked == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_store_that_cannot_be_read_now_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    encode_once(Counting(), ["bee"], cache=tmp_path)

    def refuse(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", refuse)
        with pytest.raises(RunError, match=rf"f1\.npz cannot be read \({os.strerror(number)}\)\. Nothing of it was removed"):
            encode_once(Counting(), ["ant"], cache=tmp_path)
    encoder = Counting()
    encode_once(encoder, ["bee"], cache=tmp_path)
    assert encoder.asked == []


def test_a_store_that_is_cut_off_is_made_again(tmp_path: Path) -> None:
    encode_once(Counting(), ["bee"], cache=tmp_path)
    path = tmp_path / "texts" / "f1.npz"
    os.truncate(path, path.stat().st_size // 2)
    encoder = Counting()
    for _ in range(2):
        encode_once(encoder, ["bee"], cache=tmp_path)
    assert encoder.asked == ["bee"]


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
