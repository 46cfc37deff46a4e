"""Pictures without evidence, as tokens: drawn anew from real tokens, Gaussian, or constant."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_TOKENS_FOR_MOMENTS = 20_000
"""Tokens from which mean and covariance are estimated."""


def bootstrap_tokens(
    tokens: Float[Tensor, "n tokens width"], num: int, generator: torch.Generator
) -> Float[Tensor, "num tokens width"]:
    """Pictures whose token at each place comes from a random picture's same place: each token is real, the whole is nothing."""
    pictures = torch.randint(len(tokens), (num, tokens.shape[1]), generator=generator)
    return tokens[pictures, torch.arange(tokens.shape[1])].float()


@dataclass(frozen=True, slots=True)
class GaussianTokens:
    """Tokens as independent Gaussians with the real tokens' mean at each place and their covariance about it."""

    mean: Float[Tensor, "tokens width"]
    root: Float[Tensor, "width rank"]
    """R with R Rᵀ = the covariance, pooled over places; no more columns than tokens it was estimated from."""

    @classmethod
    def of(cls, tokens: Float[Tensor, "n tokens width"], generator: torch.Generator) -> "GaussianTokens":
        """Match the moments of some 20,000 of the tokens."""
        num = max(1, min(len(tokens), _TOKENS_FOR_MOMENTS // tokens.shape[1]))
        some = tokens[torch.randperm(len(tokens), generator=generator)[:num]].float()
        mean = some.mean(dim=0)
        # A root of the covariance without its eigenvectors, whose solver gives up on tokens that span few of their directions.
        spread = (some - mean).flatten(0, 1).double()
        if len(spread) > spread.shape[1]:
            spread = torch.linalg.qr(spread, mode="r").R
        return cls(mean, (spread.T / math.sqrt(max(1, num - 1) * tokens.shape[1])).float())

    def sample(self, num: int, generator: torch.Generator) -> Float[Tensor, "num tokens width"]:
        normal = torch.randn(num, len(self.mean), self.root.shape[1], generator=generator)
        return self.mean + normal @ self.root.T

    def blank(self, num: int) -> Float[Tensor, "num tokens width"]:
        """Pictures of which all tokens are the mean token."""
        return self.mean.mean(dim=0).expand(num, *self.mean.shape)
