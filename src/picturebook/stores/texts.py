"""Text vectors on disk: each distinct text is encoded once, ever, per text encoder."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from picturebook.runs import write_atomically
from picturebook.types import Progress, no_progress


@runtime_checkable  # so that the tests' type checks can look at it
class Encoder(Protocol):
    """What is needed of a text encoder."""

    @property
    def fingerprint(self) -> str: ...

    def encode(self, texts: Sequence[str], *, progress: Progress = no_progress) -> Float[Tensor, "texts width"]: ...


def encode_once(
    encoder: Encoder, texts: Sequence[str], *, cache: Path, progress: Progress = no_progress
) -> Float[Tensor, "texts width"]:
    """Vectors of `texts` in their order; only texts that this encoder has never seen are encoded."""
    path = cache / "texts" / f"{encoder.fingerprint}.npz"
    known: dict[str, np.ndarray] = {}
    if path.is_file():
        with np.load(path) as stored:
            known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))
    keys = [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        vectors = encoder.encode(list(new.values()), progress=progress)
        known |= dict(zip(new, vectors.numpy(), strict=True))
        buffer = io.BytesIO()
        np.savez(buffer, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
        write_atomically(path, buffer.getvalue())
    return torch.from_numpy(np.stack([known[key] for key in keys]))
