import numpy as np
import pytest
import torch

from picturebook.models.attentional_pooling import Attention, AttentionalPooler


def attended(attention: Attention, vectors: np.ndarray, context: np.ndarray, num_heads: int, mask: np.ndarray) -> np.ndarray:
    """One sample's attention, a head and a vector at a time."""
    weights = {name: value.detach().double().numpy() for name, value in attention.named_parameters()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    q, k, v = linear("query", vectors), linear("key", context), linear("value", context)
    d = q.shape[1] // num_heads
    found = np.zeros_like(q)
    for head in range(num_heads):
        part = slice(head * d, (head + 1) * d)
        for i in range(len(q)):
            seen = [j for j in range(len(k)) if mask[i, j]]
            scores = np.array([q[i, part] @ k[j, part] / np.sqrt(d) for j in seen])
            shares = np.exp(scores) / np.exp(scores).sum()
            found[i, part] = sum(share * v[j, part] for share, j in zip(shares, seen, strict=True))
    return linear("output", found)


def normed(x: np.ndarray, norm: torch.nn.LayerNorm) -> np.ndarray:
    scale, shift = norm.weight.detach().double().numpy(), norm.bias.detach().double().numpy()
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + norm.eps) * scale + shift


@pytest.mark.parametrize("num_masks", [0, 1, 3])
def test_attention_is_what_the_loops_say(num_masks: int) -> None:
    torch.manual_seed(0)
    attention = Attention(width=8, context_width=6, num_heads=2).double()
    vectors, context = torch.randn(3, 4, 8, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    mask = torch.rand(num_masks, 4, 5) < 0.5
    mask[..., 0] = True
    found = attention(vectors, context, mask if num_masks else None)
    for sample in range(3):
        seen = mask[sample % num_masks].numpy() if num_masks else np.ones((4, 5), dtype=bool)
        expected = attended(attention, vectors[sample].numpy(), context[sample].numpy(), 2, seen)
        np.testing.assert_allclose(found[sample].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_a_pooler_is_what_the_loops_say() -> None:
    torch.manual_seed(0)
    pooler = AttentionalPooler(token_width=6, width=8, num_queries=3, num_heads=2).double()
    for norm in (pooler.query_norm, pooler.token_norm, pooler.norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    tokens = torch.randn(2, 5, 6, dtype=torch.float64)
    pooled = pooler(tokens)
    assert pooled.shape == (2, 3, 8)
    queries = normed(pooler.queries.detach().numpy(), pooler.query_norm)
    for sample in range(2):
        context = normed(tokens[sample].numpy(), pooler.token_norm)
        expected = attended(pooler.attention, queries, context, 2, np.ones((3, 5), dtype=bool))
        np.testing.assert_allclose(pooled[sample].detach().numpy(), normed(expected, pooler.norm), rtol=1e-9, atol=1e-10)


def test_a_pooler_sees_a_set_of_tokens() -> None:
    torch.manual_seed(0)
    pooler = AttentionalPooler(token_width=6, width=8, num_queries=3, num_heads=2)
    tokens = torch.randn(2, 5, 6)
    torch.testing.assert_close(pooler(tokens[:, [3, 0, 4, 1, 2]]), pooler(tokens))
