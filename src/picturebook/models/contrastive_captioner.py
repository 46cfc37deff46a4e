"""CoCa's network: an image encoder, a pooler for the contrast and one for captions, and a text decoder (arXiv:2205.01917)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn

from picturebook.models.attentional_pooling import AttentionalPooler
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.text_decoder import TextDecoder
from picturebook.options import Options

_Images = Float[Tensor, "batch 3 height width"]


class CaptionerOptions(Options):
    """The poolers and the text decoder, trained from nothing."""

    width: int = Field(256, ge=2)
    """Width of pooled tokens, of the decoder, and of the space that pictures and texts share."""
    num_heads: int = Field(8, ge=1)
    """Heads of every attention; divides width."""
    num_layers: int = Field(4, ge=2, multiple_of=2)
    """Layers of the decoder: the first half reads the text alone, the second half sees the picture too."""
    caption_queries: int = Field(16, ge=1)
    """Pooled tokens that captions are written from; the source has 256 for 256 patches and more."""
    max_words: int = Field(10_000, ge=8)
    """Entries of the vocabulary, the most frequent words of the training texts."""
    length: int = Field(32, ge=3)
    """Entries of a text, with its start and end; further words are cut off."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "CaptionerOptions":
        if self.width % self.num_heads:
            raise ValueError(f"width needs to be a multiple of num_heads, got {self.width} and {self.num_heads}")
        return self


class ContrastiveCaptioner(nn.Module):
    """The vectors of pictures and texts in one space, and each text's next words as they follow from the picture.

    What the encoder's tokens do not depend on, such as its classifier, has no part in this and is frozen.

    Args:
        encoder: whose tokens are pooled, a class token among them where it has one.
        contrastive_pooler: of one query.
        caption_pooler: of several.
        decoder: reads and writes texts.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        contrastive_pooler: AttentionalPooler,
        caption_pooler: AttentionalPooler,
        decoder: TextDecoder,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.contrastive_pooler, self.caption_pooler = contrastive_pooler, caption_pooler
        _freeze_what_is_not_read(encoder, self._tokens)

    def forward(
        self, images: _Images, texts: Int64[Tensor, "batch words"]
    ) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch width"], Float[Tensor, "batch next_words vocabulary"]]:
        """Vectors of the pictures and of the texts, and the logits of each text's words from the second on."""
        tokens = self._tokens(images)
        text_vectors, logits = self.decoder(texts, self.caption_pooler(tokens))
        return self.contrastive_pooler(tokens)[:, 0], text_vectors, logits

    def caption(self, images: _Images) -> Int64[Tensor, "batch words"]:
        """Each picture's likeliest caption, a word at a time; see `TextDecoder.generate`."""
        return self.decoder.generate(self.caption_pooler(self._tokens(images)))

    def _tokens(self, images: Tensor) -> Tensor:
        return self.encoder.tokens(images, with_prefix=True)


def build_captioner(encoder: ImageEncoder, options: CaptionerOptions, *, vocabulary_size: int, seed: int) -> ContrastiveCaptioner:
    """Poolers and decoder on an encoder; their weights depend on `seed` alone, and the global generator is not moved."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        contrastive, caption = (
            AttentionalPooler(token_width=encoder.token_width, width=options.width, num_queries=num, num_heads=options.num_heads)
            for num in (1, options.caption_queries)
        )
        decoder = TextDecoder(
            vocabulary_size=vocabulary_size,
            length=options.length,
            width=options.width,
            num_heads=options.num_heads,
            num_layers=options.num_layers,
        )
    return ContrastiveCaptioner(encoder, contrastive, caption, decoder).to(encoder.mean.device)


def _freeze_what_is_not_read(encoder: ImageEncoder, read: Callable[[Tensor], Tensor]) -> None:
    """Freeze the encoder's parameters that `read` does not depend on: DDP refuses parameters without a gradient."""
    was_training = encoder.training
    encoder.eval()  # a look must not move batch statistics
    side, parameters = encoder.image_size, list(encoder.parameters())
    found = read(torch.full((1, 3, side, side), 0.5, device=encoder.mean.device))
    gradients = torch.autograd.grad(found.float().sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    encoder.train(was_training)
