"""Heads at toy size, and their formulae in slow numpy."""

from typing import Any

import numpy as np
import torch

from picturebook.models.heads import Head, HeadOptions, build_head
from picturebook.types import Queries

B, N, K, DV, DT, W, HEADS = 3, 5, 4, 6, 7, 8, 2


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_each(vectors: torch.Tensor) -> Queries:
    """Texts that ask by one vector."""
    return Queries(vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool))


def several(texts: int, seed: int = 0) -> Queries:
    """Texts that ask by 1, 2, 3, … queries."""
    return Queries(draw(texts, texts, DT, seed=seed), torch.arange(texts) <= torch.arange(texts)[:, None])


def head_of(mode: str, seed: int = 0, class_texts: Queries | None = None, **settings: Any) -> Head:
    options = HeadOptions(mode=mode, width=W, num_heads=HEADS, **settings)
    if mode == "bank" and class_texts is None:
        class_texts = one_each(draw(K, DT, seed=9).float())
    return build_head(options, token_width=DV, num_tokens=N, text_width=DT, num_classes=K, class_texts=class_texts, seed=seed)


def stirred(head: Head) -> Head:
    """In float64 and with every parameter moved, so that zeros and ones of the initialisation hide nothing."""
    head = head.double().eval()
    with torch.no_grad():
        for seed, parameter in enumerate(head.parameters()):
            parameter += 0.3 * draw(*parameter.shape, seed=seed)
    return head


def numbers(head: Head) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in head.state_dict().items()}


def slow_norm(vector: np.ndarray, p: dict[str, np.ndarray], name: str) -> np.ndarray:
    return (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def slow_linear(vector: np.ndarray, p: dict[str, np.ndarray], name: str) -> np.ndarray:
    return p[f"{name}.weight"] @ vector + p.get(f"{name}.bias", 0.0)


def slow_attention(text: np.ndarray, tokens: np.ndarray, p: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    query = slow_linear(slow_norm(text, p, "attention.text_norm"), p, "attention.query")
    normed = [(token - token.mean()) / np.sqrt(token.var() + 1e-5) for token in tokens]
    keys = [slow_linear(token, p, "attention.key") + p["attention.position"][j] for j, token in enumerate(normed)]
    values = [slow_linear(token, p, "attention.value") for token in normed]
    size, maps, parts = W // HEADS, np.zeros(N), []
    for h in range(HEADS):
        own = slice(h * size, (h + 1) * size)
        scores = np.array([np.dot(query[own], key[own]) / np.sqrt(size) for key in keys])
        weights = np.exp(scores) / np.exp(scores).sum()
        maps += weights / HEADS
        parts.append(sum(weights[j] * values[j][own] for j in range(N)))
    return slow_linear(np.concatenate(parts), p, "attention.output"), maps
