"""Heads that self-supervised losses look through; they are thrown away with the pretraining."""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from picturebook.options import Options

_SPREAD = 0.02
"""Standard deviation of new weights, as in the source's code."""


class ProjectionHeadOptions(Options):
    """Size of the projection head. The source has 65,536 prototypes for ImageNet; the defaults are for small data."""

    prototypes: int = Field(4096, ge=2)
    """Outputs K: classes without a name."""
    hidden: int = Field(2048, ge=1)
    """Width of the two hidden layers."""
    bottleneck: int = Field(256, ge=1)
    """Width of the vector whose direction is compared with the prototypes."""


class PrototypeHead(nn.Module):
    """DINO's projection head (arXiv:2104.14294, appendix C): an MLP of three layers, then cosines with prototypes.

    Prototypes are a weight-normalised linear layer without a bias whose norm is fixed at 1, so outputs lie in [-1, 1]. They are
    computed in float32 under autocast too: the teacher divides them by .04, which blows the rounding of bf16 up.

    Args:
        width: of the pooled features.
        options: sizes.
        seed: of the initialisation; the global generator is neither read nor moved.
    """

    def __init__(self, width: int, options: ProjectionHeadOptions, *, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.mlp = nn.Sequential(
                nn.Linear(width, options.hidden),
                nn.GELU(),
                nn.Linear(options.hidden, options.hidden),
                nn.GELU(),
                nn.Linear(options.hidden, options.bottleneck),
            )
            self.prototypes = nn.Parameter(torch.randn(options.prototypes, options.bottleneck))
            for layer in self.mlp:
                if isinstance(layer, nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=_SPREAD)
                    nn.init.zeros_(layer.bias)

    def forward(
        self, features: Float[Tensor, "batch width"], *, prototype_gradient: Float[Tensor, ""] | None = None
    ) -> Float[Tensor, "batch prototypes"]:
        """Cosines with the prototypes, whose gradient is multiplied by `prototype_gradient` (0 freezes them; None is 1)."""
        directions = self.mlp(features)
        prototypes: Tensor = self.prototypes
        if prototype_gradient is not None:
            # They stay in the graph when they are frozen: DDP waits for the gradient of every parameter.
            fixed = prototypes.detach()
            prototypes = fixed + prototype_gradient * (prototypes - fixed)
        with torch.autocast(features.device.type, enabled=False):
            return functional.normalize(directions.float(), dim=1) @ functional.normalize(prototypes.float(), dim=1).T
