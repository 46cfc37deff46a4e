"""CoCa's text decoder: it reads a text alone, then writes it beside an image (arXiv:2205.01917, section 3.2)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from picturebook.models.attentional_pooling import Attention
from picturebook.models.vocabulary import END, PAD, START, UNKNOWN

_NEVER_WRITTEN = [PAD, START, UNKNOWN]


class _Layer(nn.Module):
    """A layer of a transformer with norms before its parts: attention to the text, to the image if it sees one, and an MLP."""

    def __init__(self, *, width: int, num_heads: int, sees_image: bool) -> None:
        super().__init__()
        self.text_norm = nn.LayerNorm(width)
        self.text_attention = Attention(width=width, context_width=width, num_heads=num_heads)
        if sees_image:
            self.image_norm = nn.LayerNorm(width)
            self.image_attention = Attention(width=width, context_width=width, num_heads=num_heads)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Tensor, mask: Tensor, image_tokens: Tensor | None = None) -> Tensor:
        normed = self.text_norm(states)
        states = states + self.text_attention(normed, normed, mask)
        if image_tokens is not None:
            states = states + self.image_attention(self.image_norm(states), image_tokens)
        changed: Tensor = states + self.mlp(states)
        return changed


class TextDecoder(nn.Module):
    """A causal transformer of two halves. The first reads words and a class token at their end; the second sees the image too.

    The class token's state is the text's vector: it has seen every word and, as the words before it, no image. No word
    sees a later one, so the states of the words serve the second half, which says at each word what the next one is.

    Args:
        vocabulary_size: entries, with those that are no words.
        length: entries of the longest text, START and END counted.
        width: of states, text vectors and image tokens.
        num_heads: of every attention.
        num_layers: of both halves together; even.
    """

    def __init__(self, *, vocabulary_size: int, length: int, width: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        assert num_layers % 2 == 0
        self.length = length
        self.words = nn.Embedding(vocabulary_size, width)
        self.class_token = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.01 * torch.randn(length + 1, width))
        nn.init.normal_(self.words.weight, std=0.02)
        first, second = (
            [_Layer(width=width, num_heads=num_heads, sees_image=sees) for _ in range(num_layers // 2)] for sees in (False, True)
        )
        self.unimodal, self.multimodal = nn.ModuleList(first), nn.ModuleList(second)
        self.text_norm, self.text_projection = nn.LayerNorm(width), nn.Linear(width, width, bias=False)
        self.norm, self.to_words = nn.LayerNorm(width), nn.Linear(width, vocabulary_size, bias=False)

    def forward(
        self, texts: Int64[Tensor, "batch words"], image_tokens: Float[Tensor, "batch tokens width"]
    ) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch next_words vocabulary"]]:
        """Each text's vector, and at each word but the last the logits of the one that follows it (next_words = words - 1)."""
        states = self._read(texts)
        return self._vector(states), self._write(states[:, :-2], image_tokens)

    def embed(self, texts: Int64[Tensor, "batch words"]) -> Float[Tensor, "batch width"]:
        """Each text's vector, of any length; PAD is not looked at."""
        return self._vector(self._read(texts))

    @torch.no_grad()
    def generate(self, image_tokens: Float[Tensor, "batch tokens width"]) -> Int64[Tensor, "batch words"]:
        """Each image's caption, the likeliest next word at a time: START, words, END, and PAD after it.

        PAD, START and UNKNOWN are never written. A caption that fills the decoder's length may lack its END.
        """
        texts = torch.full((len(image_tokens), 1), START, device=image_tokens.device)
        while texts.shape[1] < self.length:
            logits = self._write(self._read(texts)[:, :-1], image_tokens)[:, -1]
            logits[:, _NEVER_WRITTEN] = -torch.inf
            ended = ((texts == END) | (texts == PAD)).any(dim=1)
            if ended.all():
                break
            texts = torch.cat([texts, logits.argmax(dim=1).masked_fill(ended, PAD)[:, None]], dim=1)
        return texts

    def _read(self, texts: Tensor) -> Tensor:
        """States of the words and, last, of the class token: [B, words + 1, W]."""
        num, num_words = texts.shape
        words = self.words(texts) + self.positions[:num_words]
        states = torch.cat([words, (self.class_token + self.positions[-1]).expand(num, 1, -1)], dim=1)
        is_word = torch.cat([texts != PAD, texts.new_ones(num, 1, dtype=torch.bool)], dim=1)
        mask = _causal(num_words + 1, texts.device) & is_word[:, None]
        for layer in self.unimodal:
            states = layer(states, mask)
        return states

    def _vector(self, states: Tensor) -> Tensor:
        vector: Tensor = self.text_projection(self.text_norm(states[:, -1]))
        return vector

    def _write(self, states: Tensor, image_tokens: Tensor) -> Tensor:
        mask = _causal(states.shape[1], states.device)
        for layer in self.multimodal:
            states = layer(states, mask, image_tokens)
        logits: Tensor = self.to_words(self.norm(states))
        return logits


def _causal(num: int, device: torch.device) -> Tensor:
    """[1, num, num], True where row i may look at column j ≤ i."""
    return torch.ones(1, num, num, dtype=torch.bool, device=device).tril()
