"""Text encoders: sentence-transformers behind one call, and the whitening of class texts."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from picturebook.errors import ModelError, TextError
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.packaged import PACKAGE_PREFIX, text_package_folder
from picturebook.types import Progress, no_progress

WHITENING_RIDGE = 1.0
"""Ridge of `whiten`, as a multiple of the mean variance of the bank's directions."""


class TextEncoder:
    """A frozen sentence encoder.

    Args:
        model: a SentenceTransformer.
        name: what the user asked for.

    Attributes:
        width: of a text's vector.
        max_length: tokens of a text that are read, its special tokens included; the rest is cut off.
        fingerprint: of all weights, and of max_length.
    """

    def __init__(self, model: Any, *, name: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self.name = name
        self.width = int(model.get_embedding_dimension())
        self.max_length = int(model.max_seq_length)
        self.fingerprint = f"{weights_fingerprint(model)}-{self.max_length}"

    def encode(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress = no_progress
    ) -> Float[Tensor, "texts width"]:
        """Vectors of unit length, float32 on the CPU, in the order of `texts`; equal texts are encoded once.

        A vector is what the model's own sentence-transformers pipeline gives (for MiniLM the mean of the token states
        under the attention mask), l2-normalised. Texts of similar length share a batch, so the last digits of a vector
        may depend on its company.
        """
        distinct = sorted(dict.fromkeys(texts), key=len, reverse=True)
        vectors = torch.empty(len(distinct), self.width)
        for start in range(0, len(distinct), batch_size):
            some = distinct[start : start + batch_size]
            vectors[start : start + len(some)] = torch.from_numpy(
                self._model.encode(some, batch_size=batch_size, show_progress_bar=False, normalize_embeddings=True)
            )
            progress(min(start + batch_size, len(distinct)), len(distinct))
        rows = {text: row for row, text in enumerate(distinct)}
        return vectors[torch.tensor([rows[text] for text in texts], dtype=torch.long)]

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many texts have more than `max_length` tokens, special tokens included."""
        if not texts:
            return 0
        lengths = (len(ids) for ids in self._model.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"])
        return sum(length > self.max_length for length in lengths)


def load_text_encoder(name: str) -> TextEncoder:
    """Load a text encoder: a name of sentence-transformers, a local folder, or "package:all-MiniLM-L6-v2".

    Raises:
        ModelError: it is not on this machine and could not be fetched, or it is no text encoder.
    """
    from sentence_transformers import SentenceTransformer  # seconds to import, and only text teachers need it

    place = str(text_package_folder(name)) if name.startswith(PACKAGE_PREFIX) else name
    with _quiet():
        try:
            model = SentenceTransformer(place)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise ModelError(
                f"The text encoder {name!r} is not on this machine and could not be fetched ({reason}). Check the name, "
                f"connect once so that it is kept, name a folder, or use {PACKAGE_PREFIX}all-MiniLM-L6-v2."
            ) from error
    return TextEncoder(model, name=name)


def whiten(bank: Float[Tensor, "classes width"], *, ridge: float = WHITENING_RIDGE) -> Float[Tensor, "classes width"]:
    """Centre a bank of class texts and shrink its strong directions, so that near-collinear names can be told apart.

    With the centred bank X = U S Vᵀ and the mean variance v of its non-zero directions, the result is
    U S (S²/K + ridge v)^(-1/2) Vᵀ, scaled to a mean square of 1. ridge → ∞ only centres. ridge = 0 whitens fully, which
    for K ≤ width puts all classes at equal distances: the words would be gone, and a bank with its texts permuted would
    be the same bank but for a rotation. Whitening of text vectors follows TextTeacher (Nauen et al.), who whiten many
    captions, not K class texts; the ridge is our deviation for that reason.

    Args:
        bank: [K, D], one vector a class, K ≥ 2.
        ridge: at least 0, in units of the mean variance.

    Returns:
        [K, D], each column centred over classes.

    Raises:
        TextError: fewer than two different vectors.
        ValueError: a negative ridge.
    """
    if ridge < 0:
        raise ValueError(f"ridge: expected at least 0, got {ridge}")
    centred = bank.double() - bank.double().mean(dim=0)
    left, scales, right = torch.linalg.svd(centred, full_matrices=False)
    kept = scales > 1e-6 * max(float(bank.double().norm()), 1e-30)  # below it: rounding of float32 vectors
    if not kept.any():
        raise TextError("All classes have the same text vector: class texts need to differ. Look at the class descriptions.")
    variances = scales[kept] ** 2 / len(bank)
    shrunk = scales[kept] / (variances + ridge * variances.mean()).sqrt()
    whitened = left[:, kept] @ (shrunk[:, None] * right[kept])
    scaled: Tensor = whitened / whitened.square().mean().sqrt()
    return scaled.to(bank.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' advice and progress bars off the terminal while a model loads; errors are raised all the same."""
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    shows_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shows_bars:
            transformers_logging.enable_progress_bar()
