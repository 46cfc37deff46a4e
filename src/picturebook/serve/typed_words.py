"""Where words that somebody types look in a picture: the map of an image-text teacher's head."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from picturebook.data.texts import TextOptions, class_texts
from picturebook.errors import ModelError
from picturebook.models.cross_attention import CrossAttention
from picturebook.models.head_ensembles import FoldedHead
from picturebook.models.heads import ClassBankHead, OwnTextHead
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.saved_teacher import load_teacher
from picturebook.models.text_encoders import TextEncoder, load_text_encoder, whiten_by
from picturebook.runs import RunFolder
from picturebook.stores.texts import Asking, encode_queries
from picturebook.types import Queries


@dataclass(frozen=True, slots=True, eq=False)
class TypedWords:
    """A teacher that can be asked in words of one's own."""

    encoder: ImageEncoder
    """The teacher's."""
    head: FoldedHead
    text_encoder: TextEncoder
    asking: Asking
    """By what a text of the run asks."""
    bank: Queries | None
    """The class texts before whitening, by whose statistics typed words are whitened; None for a head of pictures' own texts."""

    @torch.no_grad()
    def look(self, images: Float[Tensor, "1 3 height width"], words: str) -> Float[np.ndarray, "rows columns"]:
        """Attention over the image tokens' grid, the mean over folds; at least 0, sums to 1.

        Args:
            images: one picture, RGB in [0, 1], of the student's size.
            words: what asks; one text of one sentence.
        """
        device = self.encoder.mean.device
        tokens, queries = self.encoder.tokens(images.to(device)), self._queries(words)
        vectors, mask = queries.vectors[None].to(device), queries.mask[None].to(device)
        maps = []
        for experts in self.head.folds:
            _, found = _attention(experts.heads[0])(vectors, mask, tokens, with_attention=True)
            assert found is not None
            maps.append(found[0, 0])
        weights = torch.stack(maps).mean(dim=0).cpu().reshape(self.encoder.grid).double().numpy()
        return np.asarray(weights / weights.sum())

    def _queries(self, words: str) -> Queries:
        # Not through the store of text vectors: what visitors type is not kept.
        by_tokens = self.asking == "tokens"
        vectors = self.text_encoder.encode_tokens([words])[0] if by_tokens else self.text_encoder.encode([words])
        queries = Queries(vectors[None], torch.ones(1, len(vectors), dtype=torch.bool))
        return queries if self.bank is None else whiten_by(self.bank, queries)


def open_typed_words(
    run: RunFolder, text: TextOptions, classes: tuple[str, ...], *, seed: int, device: torch.device, cache: Path
) -> TypedWords:
    """The teacher of a finished run, where its head attends by words.

    Args:
        run: that keeps a teacher.
        text: the run's words.
        classes: in the order of the logits.
        seed: of the run; only controls of the words look at it.
        device: where the teacher computes; words are encoded on the CPU.
        cache: folder of the text vectors, where those of the class texts are.

    Raises:
        ModelError: its head reads no words, or words alone, or an encoder is not on this machine.
        TextError: the class texts are not where the run found them.
    """
    encoder, head, saved = load_teacher(run.teacher)
    mode = saved.heads[0].mode
    if saved.text_encoder is None or mode not in ("own", "bank"):
        raise ModelError(f"This run's teacher looks at no picture by words: its head is {mode!r}.")
    text_encoder = load_text_encoder(saved.text_encoder)
    bank = None
    if mode == "bank":
        sentences = class_texts(text, classes, seed=seed).sentences
        bank = encode_queries(text_encoder, sentences, asking=text.queries, cache=cache)
    return TypedWords(encoder.to(device), head.to(device), text_encoder, text.queries, bank)


def _attention(head: nn.Module) -> CrossAttention:
    assert isinstance(head, OwnTextHead | ClassBankHead), head
    return head.attention
