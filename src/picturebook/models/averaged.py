"""A running average of a network's weights, which answers but does not learn."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm


class AveragedNetwork(nn.Module):
    """A copy whose weights follow another network's: the averaged teacher (mean teacher, arXiv:1703.01780).

    Its weights are buffers: they are saved, moved and broadcast, and nothing takes them for parameters. Dropout and drop-path are
    always off. BatchNorm normalises by the batch while training and keeps running statistics of its own passes, as the source
    of DINO does. They are neither copied nor averaged, for the network's own statistics are of other weights than these.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network)
        for module in self.network.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())
        self.train(mode=self.training)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True) -> "AveragedNetwork":
        super().train(False)
        for module in self.network.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    @torch.no_grad()
    def follow(self, network: nn.Module, *, momentum: float) -> None:
        """weights ← momentum · weights + (1 − momentum) · the network's."""
        for name, parameter in network.named_parameters():
            whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter  # of a network in parts
            self.network.get_buffer(name).lerp_(whole, 1.0 - momentum)
