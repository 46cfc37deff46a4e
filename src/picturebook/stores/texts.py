"""Text vectors on disk: each distinct text is encoded once, ever, per text encoder.

texts/<encoder>.npz           keys (hashes of the texts) and vectors [n, width]
texts/<encoder>-tokens.npz    keys, lengths [n] and vectors [Σ lengths, token width] in half precision, one text after another
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from picturebook.errors import RunError
from picturebook.stores.packed import locked
from picturebook.types import Progress, Queries, no_progress
from picturebook.writing import is_of_the_machine, read_npz, unreadable, write_atomically

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
    """Vectors of `texts` in their order; only texts that this encoder has never seen are encoded.

    Of several processes that need new texts one encodes them, and the others wait and find them there.

    Raises:
        RunError: the store cannot be read or, where texts are new, written.
    """

    def read(stored: dict[str, np.ndarray]) -> Iterable[np.ndarray]:
        return stored["vectors"]

    def encode(new: list[str]) -> Iterable[np.ndarray]:
        vectors: np.ndarray = encoder.encode(new, progress=progress).numpy()
        return vectors

    def packed(parts: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {"vectors": np.stack(parts)}

    path = cache / "texts" / f"{encoder.fingerprint}.npz"
    return torch.from_numpy(np.stack(_once(path, texts, read=read, encode=encode, packed=packed)))


def encode_tokens_once(
    encoder: Encoder, texts: Sequence[str], *, cache: Path, progress: Progress = no_progress
) -> list[Float[Tensor, "tokens token_width"]]:
    """Vectors of each text's tokens, at the precision that they are stored in; as `encode_once` else."""

    def read(stored: dict[str, np.ndarray]) -> Iterable[np.ndarray]:
        return np.split(stored["vectors"], np.cumsum(stored["lengths"])[:-1])

    def encode(new: list[str]) -> Iterable[np.ndarray]:
        return [part.numpy().astype(np.float16) for part in encoder.encode_tokens(new, progress=progress)]

    def packed(parts: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {"lengths": np.array([len(part) for part in parts]), "vectors": np.concatenate(parts)}

    path = cache / "texts" / f"{encoder.fingerprint}-tokens.npz"
    found = _once(path, texts, read=read, encode=encode, packed=packed)
    return [torch.from_numpy(part.astype(np.float32)) for part in found]


def _once(
    path: Path,
    texts: Sequence[str],
    *,
    read: Callable[[dict[str, np.ndarray]], Iterable[np.ndarray]],
    encode: Callable[[list[str]], Iterable[np.ndarray]],
    packed: Callable[[list[np.ndarray]], dict[str, np.ndarray]],
) -> list[np.ndarray]:
    """What the store has of each text; what it lacks is encoded and added by one process at a time.

    Args:
        path: of the store.
        texts: asked for.
        read: the stored arrays as one array a text, in the order of the keys.
        encode: one array for each new text.
        packed: arrays of all texts as they are stored, but for the keys.
    """

    def known_now() -> dict[str, np.ndarray]:
        stored = _read(path)
        return dict(zip(stored["keys"].tolist(), read(stored), strict=True)) if stored else {}

    asked = {_key(text): text for text in texts}
    known = known_now()  # without a lock, from a disk that cannot be written too
    if not asked.keys() <= known.keys():
        with locked(path):  # nobody waits for another process in here, so that all of a run's come through one by one
            known = known_now()
            new = {key: text for key, text in asked.items() if key not in known}
            if new:
                known |= dict(zip(new, encode(list(new.values())), strict=True))
                _write(path, keys=np.array(list(known)), **packed(list(known.values())))
    return [known[_key(text)] for text in texts]


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
    """What is stored; nothing where the file is missing or was cut off, and then its texts are encoded again.

    Raises:
        RunError: the machine does not let it be read: what it holds would be written over.
    """
    try:
        return read_npz(path)
    except RunError as error:
        trouble = error.__cause__
        if is_of_the_machine(trouble):
            raise RunError(unreadable(path, trouble)) from trouble
        return {}


def _write(path: Path, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stubs take the names for its own switches
    write_atomically(path, buffer.getvalue())
