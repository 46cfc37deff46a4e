"""Heads: text asks, image tokens answer, a linear layer classifies.

Attention is softmax(q kᵀ / √d) v over the tokens of one image. What differs between the heads is who asks:

    own       the image's own text          one query an image, then a linear classifier
    bank      all K class texts             the same K queries for every image: no label can reach the forward pass
    learned   K learned vectors             the control of bank without words
    linear    nobody                        mean of the tokens, the image-only reference
    text      nobody                        the image's own text is classified, the image never looked at

A text asks by one vector or by several (its sentences or tokens); what several find is averaged. Queries never enter the
output but by what they select, except where own text may: by `residual`, or alone in `text`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from picturebook.errors import OptionError, TextError
from picturebook.models.cross_attention import CrossAttention
from picturebook.options import Options
from picturebook.types import Queries


class HeadOptions(Options):
    """The part of a teacher that joins text vectors and image tokens."""

    mode: Literal["bank", "own", "learned", "linear", "text"] = "bank"
    """Who asks the image: all class texts (bank), its own text (own), learned vectors (learned), nobody (linear; text, which
    classifies the own text alone)."""
    width: int = Field(256, ge=1)
    """Width of queries, keys, values and of the attended representation; linear and text keep their input's width."""
    num_heads: int = Field(4, ge=1)
    """Attention heads; divides width."""
    scorer: Literal["shared", "per_class"] = "shared"
    """bank and learned: one bilinear scorer with the text (shared: words matter) or one weight vector a class (per_class)."""
    residual: bool = False
    """own: add the text itself to the output. Only for text that was written without the label, where recipe image_text has it
    unless this says false; elsewhere it is the leak."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the normalised representation that is dropped before the last layer in training."""

    @model_validator(mode="after")
    def _every_setting_takes_effect(self) -> "HeadOptions":
        if self.width % self.num_heads:
            raise ValueError(f"head.width needs to be a multiple of head.num_heads, got {self.width} and {self.num_heads}")
        if self.residual and self.mode != "own":
            raise ValueError(f"head.residual takes effect with head.mode = 'own' only, got {self.mode!r}: remove one of them")
        if self.scorer != "shared" and self.mode not in {"bank", "learned"}:
            raise ValueError(f"head.scorer takes effect with head.mode = 'bank' or 'learned' only, got {self.mode!r}: remove it")
        return self

    @property
    def answers_words(self) -> bool:
        """Whether words have a way to the answer beside the picture."""
        return self.residual or self.mode == "text"


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """What a head says of a batch of B images with N tokens."""

    logits: Float[Tensor, "batch classes"]
    """Unnormalised."""
    representation: Float[Tensor, "batch width"]
    """The attended image: o (own), Σ_k p(k|x) o_k (bank, learned), the mean token (linear), the text vector (text)."""
    attention: Float[Tensor, "batch texts tokens"] | None = None
    """Attention maps, one a text that asks: the mean over heads and over the text's queries; rows sum to 1. None unless asked
    for, and always for linear and text."""


class LinearHead(nn.Module):
    """Image-only reference: logits = W LN(mean token) + b.

    LayerNorm, not the statistics of a training set or batch: it is what the attending heads do to tokens, so that
    against them only the attention differs, and it needs neither a pass over the data nor equal batches.
    """

    def __init__(self, *, token_width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.representation_width = token_width
        self.norm = nn.LayerNorm(token_width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(token_width, num_classes)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens token_width"],
        texts: Queries | None = None,
        *,
        with_attention: bool = False,
    ) -> HeadOutput:
        """Classify by the mean token; texts are not looked at, and there are no maps."""
        pooled = tokens.mean(dim=1)
        return HeadOutput(self.classifier(self.dropout(self.norm(pooled))), pooled)


class OwnTextHead(nn.Module):
    """Each image is asked by its own text: o = attention(text, tokens), logits = W LN(o) + b.

    The literal head of the paper. Even without residual the query can tell the label by which tokens it selects, so text
    that was made from the label makes a privileged teacher. With `residual`, o also gets W_r LN(text), the mean of its queries.
    """

    def __init__(self, attention: CrossAttention, *, num_classes: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self.attention = attention
        width = self.representation_width = attention.output.out_features
        self.residual = nn.Linear(attention.query.in_features, width, bias=False) if residual else None
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens token_width"],
        texts: Queries | None,
        *,
        with_attention: bool = False,
    ) -> HeadOutput:
        """Classify each image as its text asks.

        Raises:
            TextError: no texts.
        """
        if texts is None:
            raise TextError(
                "A head with mode 'own' asks each image by its own text, and got no texts. Give texts, or use 'bank'."
            )
        attended, maps = self.attention(texts.vectors[:, None], texts.mask[:, None], tokens, with_attention=with_attention)
        representation = attended[:, 0]
        if self.residual is not None:
            representation = representation + self.residual(self.attention.text_norm(texts.mean()))
        return HeadOutput(self._classify(representation), representation, maps)

    def answer_words(self, texts: Float[Tensor, "texts text_width"]) -> Float[Tensor, "texts classes"]:
        """Logits of texts without a picture: W LN(W_r LN(text)) + b. For heads with a residual."""
        assert self.residual is not None
        return self._classify(self.residual(self.attention.text_norm(texts)))

    def _classify(self, representation: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.norm(representation)))
        return logits


class ClassBankHead(nn.Module):
    """All K class texts T_k ask every image, o_k = attention(T_k, tokens); no label enters the forward pass.

    shared scorer: z_k = <LN(o_k), W_o T_k> / τ + b_k, with τ learned by its logarithm from a start at which logits have a
    standard deviation of about 1. per_class: z_k = <LN(o_k), w_k> + b_k, which needs no words (ML-Decoder,
    arXiv:2111.12933, classifies so with fixed random queries).

    A class that asks by several queries has o_k = the mean of what they find, and T_k = their mean in the scorer.

    Args:
        texts: of the K classes; their vectors are a buffer where they are class texts, parameters where they are learned.
    """

    texts: Tensor
    mask: Tensor

    def __init__(self, attention: CrossAttention, texts: Queries, *, scorer: str, dropout: float, learned: bool) -> None:
        super().__init__()
        self.attention = attention
        width = self.representation_width = attention.output.out_features
        num_classes, _, text_width = texts.vectors.shape
        if learned:
            self.texts = nn.Parameter(texts.vectors.clone())
        else:
            self.register_buffer("texts", texts.vectors.clone())
        self.register_buffer("mask", texts.mask.clone())
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.projection = nn.Linear(text_width, width, bias=False) if scorer == "shared" else None
        if self.projection is None:
            self.class_weights = nn.Parameter(torch.randn(num_classes, width) / width**0.5)
        else:
            # LN(o) has entries of variance 1, so <LN(o), g> has the deviation |g|.
            norms = self.projection(texts.mean()).detach().norm(dim=1)
            self.log_temperature = nn.Parameter(norms.square().mean().sqrt().log())

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens token_width"],
        texts: Queries | None = None,
        *,
        with_attention: bool = False,
    ) -> HeadOutput:
        """Classify by the bank; an image's own text is never looked at."""
        attended, maps = self.attention(self.texts[None], self.mask[None], tokens, with_attention=with_attention)
        scored = self.dropout(self.norm(attended))
        if self.projection is None:
            logits = (scored * self.class_weights).sum(dim=-1) + self.bias
        else:
            asked = Queries(self.texts, self.mask).mean()
            logits = (scored * self.projection(asked)).sum(dim=-1) / self.log_temperature.exp() + self.bias
        representation = (logits.softmax(dim=-1)[:, :, None] * attended).sum(dim=1)
        return HeadOutput(logits, representation, maps)


class TextHead(nn.Module):
    """The image's own text alone: logits = W LN(text) + b, with the mean of the text's queries. No token is looked at.

    The control of whether a teacher reads more than its captions, and the text expert beside an image expert.
    """

    def __init__(self, *, text_width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.representation_width = text_width
        self.norm = nn.LayerNorm(text_width)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(text_width, num_classes)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens token_width"],
        texts: Queries | None,
        *,
        with_attention: bool = False,
    ) -> HeadOutput:
        """Classify each image's text; there are no maps.

        Raises:
            TextError: no texts.
        """
        if texts is None:
            raise TextError(
                "A head with mode 'text' classifies each image's own text, and got no texts. Give texts, or use 'bank'."
            )
        vectors = texts.mean()
        return HeadOutput(self.answer_words(vectors), vectors)

    def answer_words(self, texts: Float[Tensor, "texts text_width"]) -> Float[Tensor, "texts classes"]:
        """Logits of texts."""
        logits: Tensor = self.classifier(self.dropout(self.norm(texts)))
        return logits


Head = LinearHead | OwnTextHead | ClassBankHead | TextHead


def build_head(
    options: HeadOptions,
    *,
    token_width: int,
    num_tokens: int,
    text_width: int,
    num_classes: int,
    class_texts: Queries | None = None,
    seed: int,
) -> Head:
    """Build the head; new weights are a function of `seed` alone.

    Args:
        options: which head.
        token_width: Dv of the image encoder's tokens.
        num_tokens: N; the attending heads take exactly this many.
        text_width: Dt of the text vectors; learned queries have the same width, so that the sizes can be compared.
        num_classes: K.
        class_texts: bank only: K texts, whitened (`text_encoders.whiten_queries`), in the order of the classes.
        seed: of the initialisation.

    Raises:
        OptionError: class_texts are missing for a bank, given to another head, or not K of width Dt.
    """
    if (class_texts is not None) != (options.mode == "bank"):
        came = "none came" if class_texts is None else "they came"
        raise OptionError(f"Class texts belong to head.mode = 'bank' and to no other; with {options.mode!r} {came}.")
    if class_texts is not None and class_texts.vectors.shape[::2] != (num_classes, text_width):
        raise OptionError(
            f"Class texts: expected {num_classes} of width {text_width}, one a class, "
            f"got {len(class_texts)} of width {class_texts.vectors.shape[2]}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if options.mode == "linear":
            return LinearHead(token_width=token_width, num_classes=num_classes, dropout=options.dropout)
        if options.mode == "text":
            return TextHead(text_width=text_width, num_classes=num_classes, dropout=options.dropout)
        attention = CrossAttention(
            token_width=token_width,
            num_tokens=num_tokens,
            text_width=text_width,
            width=options.width,
            num_heads=options.num_heads,
        )
        if options.mode == "own":
            return OwnTextHead(attention, num_classes=num_classes, dropout=options.dropout, residual=options.residual)
        learned = class_texts is None
        if class_texts is None:
            class_texts = Queries(torch.randn(num_classes, text_width)[:, None], torch.ones(num_classes, 1, dtype=torch.bool))
        return ClassBankHead(attention, class_texts, scorer=options.scorer, dropout=options.dropout, learned=learned)
