"""Text vectors on disk: each distinct text is encoded once, ever, per text encoder.

texts/<encoder>.npz           keys (hashes of the texts) and vectors [n, width]
texts/<encoder>-tokens.npz    keys, lengths [n] and vectors [Σ lengths, token width] in half precision, one text after another
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from picturebook.errors import RunError
from picturebook.types import Progress, Queries, no_progress
from picturebook.writing import read_npz, write_atomically

Asking = Literal["text", "sentences", "tokens"]
"""By what a text asks: one vector (the mean of its sentences), one vector a sentence, or one a token."""


@runtime_checkable  # so that the tests' type checks can look at it
class Encoder(Protocol):
    """What is needed of a text encoder."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, texts: Sequence[str], *, progress: Progress = no_progress) -> Float[Tensor, "texts width"]: ...

    def encode_tokens(
        self, texts: Sequence[str], *, progress: Progress = no_progress
    ) -> list[Float[Tensor, "tokens token_width"]]: ...


def encode_once(
    encoder: Encoder, texts: Sequence[str], *, cache: Path, progress: Progress = no_progress
) -> Float[Tensor, "texts width"]:
    """Vectors of `texts` in their order; only texts that this encoder has never seen are encoded."""
    path = cache / "texts" / f"{encoder.fingerprint}.npz"
    stored = _read(path)
    known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True)) if stored else {}
    keys = [_key(text) for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        vectors = encoder.encode(list(new.values()), progress=progress)
        known |= dict(zip(new, vectors.numpy(), strict=True))
        _write(path, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    return torch.from_numpy(np.stack([known[key] for key in keys]))


def encode_tokens_once(
    encoder: Encoder, texts: Sequence[str], *, cache: Path, progress: Progress = no_progress
) -> list[Float[Tensor, "tokens token_width"]]:
    """Vectors of each text's tokens, at the precision that they are stored in; as `encode_once` else."""
    path = cache / "texts" / f"{encoder.fingerprint}-tokens.npz"
    known: dict[str, np.ndarray] = {}
    if stored := _read(path):
        parts = np.split(stored["vectors"], np.cumsum(stored["lengths"])[:-1])
        known = dict(zip(stored["keys"].tolist(), parts, strict=True))
    keys = [_key(text) for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        vectors = encoder.encode_tokens(list(new.values()), progress=progress)
        known |= {key: part.numpy().astype(np.float16) for key, part in zip(new, vectors, strict=True)}
        lengths = np.array([len(part) for part in known.values()])
        _write(path, keys=np.array(list(known)), lengths=lengths, vectors=np.concatenate(list(known.values())))
    return [torch.from_numpy(known[key].astype(np.float32)) for key in keys]


def encode_queries(
    encoder: Encoder,
    texts: Sequence[tuple[str, ...]],
    *,
    asking: Asking,
    cache: Path,
    progress: Progress = no_progress,
) -> Queries:
    """What texts of one or several sentences ask with, in their order.

    Args:
        encoder: that gives the vectors.
        texts: each with its sentences, one at least.
        asking: by text (the mean of its sentences' vectors; the vector itself where there is one), by sentences, or by the
            tokens of all its sentences.
        cache: folder of the stores.
        progress: called with (new sentences encoded, new sentences in all).
    """
    sentences = list(dict.fromkeys(sentence for text in texts for sentence in text))
    if asking == "tokens":
        tokens = dict(zip(sentences, encode_tokens_once(encoder, sentences, cache=cache, progress=progress), strict=True))
        return _padded([torch.cat([tokens[sentence] for sentence in text]) for text in texts])
    vectors = encode_once(encoder, sentences, cache=cache, progress=progress)
    rows = {sentence: row for row, sentence in enumerate(sentences)}
    queries = _padded([vectors[[rows[sentence] for sentence in text]] for text in texts])
    if asking == "text":
        return Queries(queries.mean()[:, None], torch.ones(len(queries), 1, dtype=torch.bool))
    return queries


def _padded(parts: list[Tensor]) -> Queries:
    lengths = torch.tensor([len(part) for part in parts])
    return Queries(pad_sequence(parts, batch_first=True), torch.arange(int(lengths.max())) < lengths[:, None])


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _read(path: Path) -> dict[str, np.ndarray]:
    """What is stored; nothing where the file is missing or was cut off, and then its texts are encoded again."""
    try:
        return read_npz(path)
    except RunError:
        return {}


def _write(path: Path, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stubs take the names for its own switches
    write_atomically(path, buffer.getvalue())
