"""The students and teachers of the comparison, built with timm alone, so that every peer trains the very same modules."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional


class _PaddedShortcut(nn.Module):
    """Every other pixel, and channels of zeros on either side (arXiv:1512.03385, option A)."""

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))


class ResNet8(nn.Module):
    """The CIFAR ResNet of 6n + 2 layers with n = 1 (arXiv:1512.03385, section 4.2), which timm does not have.

    Its parameters have the names that picturebook's `cifar_resnet20` with `depth = 1` gives them.
    """

    num_features = 64

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        first = BasicBlock(16, 16)
        second = BasicBlock(16, 32, stride=2, downsample=_PaddedShortcut(16))
        third = BasicBlock(32, 64, stride=2, downsample=_PaddedShortcut(32))
        self.stages = nn.Sequential(nn.Sequential(first), nn.Sequential(second), nn.Sequential(third))
        self.fc = nn.Linear(64, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map, [B, 64, H / 4, W / 4]."""
        maps: Tensor = self.stages(self.stem(x))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.forward_features(x).mean(dim=(2, 3)))
        return logits


def build(spec: dict[str, Any], *, weights: str | None = None) -> nn.Module:
    """The network of the spec's case, with new weights or those of a safetensors file."""
    torch.manual_seed(0 if weights is None else 1)
    case = spec["case"]
    if case["network"] == "resnet8":
        network: nn.Module = ResNet8(spec["num_classes"])
    else:
        network = timm.create_model(case["network"], num_classes=spec["num_classes"], **case["network_args"])
    if weights is not None:
        network.load_state_dict(load_file(Path(weights)))
    return network


def tune(network: nn.Module, *, bf16: bool) -> nn.Module:
    """In channels_last; in bf16 with timm's written-out attention, since torch's fused kernel is slower there on CPUs."""
    network = network.to(memory_format=torch.channels_last)
    for module in network.modules():
        if bf16 and hasattr(module, "fused_attn"):
            module.fused_attn = False
    return network
