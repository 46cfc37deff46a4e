"""Text towers: what turns a picture's words into a vector of the space that pictures and words share.

frozen    a frozen language model's vectors, read from disk, under a trained projection
trained   a small transformer over the numbers of whole words, trained from nothing
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn

from picturebook.models.attentional_pooling import Attention
from picturebook.models.vocabulary import END
from picturebook.options import Options

_Vectors = Float[Tensor, "texts embedding_width"]


class TextTowerOptions(Options):
    """How words become vectors beside those of pictures."""

    kind: Literal["frozen", "trained"] = "frozen"
    """A frozen language model under a trained projection, or a small transformer that is trained from nothing."""
    text_encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """frozen: a sentence-transformers name or folder, or package:all-MiniLM-L6-v2 for the weights that come by pip."""
    projection: Literal["linear", "mlp"] = "linear"
    """frozen: one layer, or two with a GELU between them."""
    width: int = Field(256, ge=1)
    """trained: width of the transformer."""
    depth: int = Field(4, ge=1)
    """trained: its blocks."""
    num_heads: int = Field(4, ge=1)
    """trained: attention heads; divides width."""
    max_words: int = Field(10_000, ge=8)
    """trained: entries of its vocabulary, the most frequent words of the training texts."""
    length: int = Field(32, ge=3)
    """trained: entries of a text, with its start and end; further words are cut off."""

    @model_validator(mode="after")
    def _every_setting_takes_effect(self) -> "TextTowerOptions":
        if self.width % self.num_heads:
            raise ValueError(f"width needs to be a multiple of num_heads, got {self.width} and {self.num_heads}")
        idle = {"frozen": ("width", "depth", "num_heads", "max_words", "length"), "trained": ("text_encoder", "projection")}
        for name in idle[self.kind]:
            if getattr(self, name) != TextTowerOptions.model_fields[name].default:
                raise ValueError(f"{name} takes no effect with kind = {self.kind!r}: remove it")
        return self


class FrozenTextTower(nn.Module):
    """A projection of a frozen language model's vectors, centred and scaled by those of the training texts.

    Vectors of one language model are nearly collinear: without the centring most of their cosine is what all texts share.

    Args:
        vectors: [S, W], of the training sentences, two different ones at least.
        embedding_width: of the shared space.
        projection: linear, or mlp with a hidden layer of width W.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, vectors: Float[Tensor, "sentences width"], *, embedding_width: int, projection: Literal["linear", "mlp"]
    ) -> None:
        super().__init__()
        width = vectors.shape[1]
        self.register_buffer("mean", vectors.mean(dim=0))
        self.register_buffer("deviation", (vectors - vectors.mean(dim=0)).square().mean().sqrt())
        hidden = [nn.Linear(width, width), nn.GELU()] if projection == "mlp" else []
        self.projection = nn.Sequential(*hidden, nn.Linear(width, embedding_width))

    def forward(self, vectors: Float[Tensor, "texts width"]) -> _Vectors:
        projected: Tensor = self.projection((vectors - self.mean) / self.deviation)
        return projected


class TrainedTextTower(nn.Module):
    """A causal transformer over word numbers, read at the text's end, as CLIP's (arXiv:2103.00020, section 2.4).

    Each place sees those before it, so that filling after the end changes nothing. No dropout, so that processes agree.

    Args:
        num_words: entries of the vocabulary.
        length: most entries of a text.
        options: width, depth and heads.
        embedding_width: of the shared space.
    """

    def __init__(self, num_words: int, length: int, options: TextTowerOptions, *, embedding_width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, options.width)
        self.positions = nn.Parameter(torch.empty(length, options.width))
        self.blocks = nn.Sequential(*(_Block(options.width, options.num_heads) for _ in range(options.depth)))
        self.norm = nn.LayerNorm(options.width)
        self.projection = nn.Linear(options.width, embedding_width, bias=False)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        nn.init.normal_(self.projection.weight, std=options.width**-0.5)

    def forward(self, ids: Int64[Tensor, "texts length"]) -> _Vectors:
        states = self.blocks(self.words(ids) + self.positions[: ids.shape[1]])
        ends = (ids == END).int().argmax(dim=1)
        projected: Tensor = self.projection(self.norm(states[torch.arange(len(ids), device=ids.device), ends]))
        return projected


class _Block(nn.Module):
    """Causal self-attention and a perceptron, each behind a norm and beside what came in."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, context_width=width, num_heads=num_heads)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Float[Tensor, "texts length width"]) -> Float[Tensor, "texts length width"]:
        length = states.shape[1]
        past = torch.ones(1, length, length, dtype=torch.bool, device=states.device).tril()
        normed = self.norm(states)
        states = states + self.attention(normed, normed, past)
        moved: Tensor = states + self.mlp(states)
        return moved
