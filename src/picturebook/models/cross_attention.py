"""Cross-attention in which texts ask and image tokens answer."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def _mean_of_queries(
    found: Float[Tensor, "batch texts queries width"], mask: Bool[Tensor, "asked texts queries"]
) -> Float[Tensor, "batch texts width"]:
    """What a text's queries found, averaged over those that it has."""
    if found.shape[2] == 1:  # nothing to average, and no rounding in half precision
        return found[:, :, 0]
    weights = mask.to(found.dtype)[..., None]
    return (found * weights).sum(dim=2) / weights.sum(dim=2)


def _by_head(
    vectors: Float[Tensor, "batch heads n width"], matrices: Float[Tensor, "heads width out"]
) -> Float[Tensor, "batch heads n out"]:
    """Each head's vectors times its matrix, one product a head; a broadcast product would copy the matrices for each image."""
    batch, heads, num, width = vectors.shape
    products = vectors.transpose(0, 1).reshape(heads, batch * num, width) @ matrices
    return products.reshape(heads, batch, num, -1).transpose(0, 1)


class CrossAttention(nn.Module):
    """Multi-head attention of text queries to image tokens, without a residual (arXiv:1706.03762, section 3.2.2).

    q = W_q LN(text), k = W_k LN(token) + p, v = W_v LN(token), output W_o [heads]. The position embedding p [N, W] is
    learned and starts at 0: the head begins as a function of the set of tokens, and where a token was can still be
    learned. Values carry no position, so the output is made of image content alone.
    """

    def __init__(self, *, token_width: int, num_tokens: int, text_width: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.text_norm = nn.LayerNorm(text_width)
        # Its scale and shift are in W_k and W_v already; as parameters they would cost a third of the head's work.
        self.token_norm = nn.LayerNorm(token_width, elementwise_affine=False)
        self.query = nn.Linear(text_width, width)
        self.key = nn.Linear(token_width, width)
        self.value = nn.Linear(token_width, width)
        self.output = nn.Linear(width, width)
        self.position = nn.Parameter(torch.zeros(num_tokens, width))

    def forward(
        self,
        vectors: Float[Tensor, "asked texts queries text_width"],
        mask: Bool[Tensor, "asked texts queries"],
        tokens: Float[Tensor, "batch tokens token_width"],
        *,
        with_attention: bool = False,
    ) -> tuple[Float[Tensor, "batch texts width"], Float[Tensor, "batch texts tokens"] | None]:
        """What each text's queries attend to, their mean under the mask, and the maps if asked, averaged alike.

        `asked` is B, or 1 for texts that all images share.
        """
        tokens, num_queries = self.token_norm(tokens), mask.shape[1:]
        queries = self._split(self.query(self.text_norm(vectors.flatten(1, 2))))
        attend = self._to_tokens if self._are_few(queries.shape[2]) else self._to_keys
        selected, weights = attend(queries, tokens)
        found = self.output(selected.transpose(1, 2).flatten(2))
        maps = _mean_of_queries(weights.mean(dim=1).reshape(len(tokens), *num_queries, -1), mask) if with_attention else None
        return _mean_of_queries(found.reshape(len(tokens), *num_queries, -1), mask), maps

    def _are_few(self, num_queries: int) -> bool:
        """Whether taking the queries to the tokens' space is less work than taking the tokens to the queries'."""
        num_tokens, width = self.position.shape
        return num_queries * (width + self.num_heads * num_tokens) < num_tokens * width

    def _to_keys(
        self, queries: Float[Tensor, "asked heads n part"], tokens: Float[Tensor, "batch tokens token_width"]
    ) -> tuple[Float[Tensor, "batch heads n part"], Float[Tensor, "batch heads n tokens"]]:
        """What the queries select and their weights, by keys and values of every token."""
        queries = queries.expand(len(tokens), -1, -1, -1)
        keys, values = self._split(self.key(tokens) + self.position), self._split(self.value(tokens))
        # Written out: with so few tokens the fused kernel saves no memory, and on CPU it takes several times as long.
        weights = (queries @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5).softmax(dim=-1)
        return weights @ values, weights

    def _to_tokens(
        self, queries: Float[Tensor, "asked heads n part"], tokens: Float[Tensor, "batch tokens token_width"]
    ) -> tuple[Float[Tensor, "batch heads n part"], Float[Tensor, "batch heads n tokens"]]:
        """The same without a key and a value of every token, since q (W_k x) = (W_kᵀ q) x and Σ w (W_v x) = W_v Σ w x."""
        _, heads, num, part = queries.shape
        of_keys, of_values = (layer.weight.reshape(heads, part, -1) for layer in (self.key, self.value))
        placed = self._split((self.position + self.key.bias)[None])[0].transpose(-1, -2)
        asked = _by_head(queries, of_keys).flatten(1, 2).expand(len(tokens), -1, -1)
        scores = (asked @ tokens.transpose(1, 2)).reshape(len(tokens), heads, num, -1) + _by_head(queries, placed)
        weights = (scores / part**0.5).softmax(dim=-1)
        pooled = (weights.flatten(1, 2) @ tokens).reshape(len(tokens), heads, num, -1)
        return _by_head(pooled, of_values.transpose(-1, -2)) + self.value.bias.reshape(heads, 1, part), weights

    def _split(self, vectors: Tensor) -> Tensor:
        """[B, n, W] to [B, heads, n, W / heads]."""
        return vectors.reshape(*vectors.shape[:2], self.num_heads, -1).transpose(1, 2)
