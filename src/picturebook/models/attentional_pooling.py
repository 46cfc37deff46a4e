"""Multi-head attention, and the pooler in which learned queries ask an image's tokens (CoCa, arXiv:2205.01917)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of vectors to a context, without norm or residual (arXiv:1706.03762, section 3.2.2).

    softmax(q kᵀ / √d) v in each of H heads of d = W / H channels, then one linear layer over all heads.
    """

    def __init__(self, *, width: int, context_width: int, num_heads: int) -> None:
        super().__init__()
        assert width % num_heads == 0
        self._num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context_width, width)
        self.value = nn.Linear(context_width, width)
        self.output = nn.Linear(width, width)

    def forward(
        self,
        vectors: Float[Tensor, "batch asking width"],
        context: Float[Tensor, "batch asked context_width"],
        mask: Bool[Tensor, "masks asking asked"] | None = None,
    ) -> Float[Tensor, "batch asking width"]:
        """What each vector finds; where `mask` (one for all samples, or one a sample) is False it may not look."""
        queries, keys, values = (self._split(part) for part in (self.query(vectors), self.key(context), self.value(context)))
        # Written out: for so few tokens torch's fused kernel saves no memory, and on CPU it takes several times as long.
        scores = queries @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        found: Tensor = self.output((scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2))
        return found

    def _split(self, vectors: Tensor) -> Tensor:
        """[B, n, W] to [B, heads, n, W / heads]."""
        return vectors.reshape(*vectors.shape[:2], self._num_heads, -1).transpose(1, 2)


class AttentionalPooler(nn.Module):
    """n learned queries attend to an image's tokens: LN(attention(LN(queries), LN(tokens))) (CoCa, section 3.2).

    n = 1 gives the image's vector for a contrast, larger n the tokens that a caption is written from.

    Attributes:
        num_heads: of the attention.
    """

    def __init__(self, *, token_width: int, width: int, num_queries: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.queries = nn.Parameter(torch.randn(num_queries, width))
        self.query_norm = nn.LayerNorm(width)
        self.token_norm = nn.LayerNorm(token_width)
        self.attention = Attention(width=width, context_width=token_width, num_heads=num_heads)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "batch tokens token_width"]) -> Float[Tensor, "batch queries width"]:
        """The pooled tokens, in the order of the queries."""
        queries = self.query_norm(self.queries).expand(len(tokens), -1, -1)
        pooled: Tensor = self.norm(self.attention(queries, self.token_norm(tokens)))
        return pooled
