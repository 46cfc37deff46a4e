"""A network that is left early: the first stages of a timm model under a shallow classifier. Registered with timm."""

from collections.abc import Mapping
from typing import Any

import timm
from jaxtyping import Float
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

Maps = Float[Tensor, "batch _ _ _"]


class ShallowClassifier(nn.Module):
    """A bottleneck of convolutions that brings a shallow map to the deepest map's size, pooling, and a linear classifier.

    1×1, k×k with stride k (3×3 where the two maps are equally large), 1×1, each with normalisation and ReLU
    (Be Your Own Teacher, arXiv:1905.08094, section 3).

    Args:
        in_width: channels of the shallow map.
        width: channels of the deepest map.
        kernel: k, how many times the shallow map is as long as the deepest, rounded up.
        num_classes: width of the logits.
        norm: "batch" statistics, or "layer" statistics of each picture, for backbones without batch statistics.
        rectified: whether the last ReLU is there; it is where the deepest map has no negative values.
    """

    def __init__(self, in_width: int, width: int, *, kernel: int, num_classes: int, norm: str, rectified: bool) -> None:
        super().__init__()
        middle = max(8, width // 4)
        self.kernel, self.norm, self.rectified = kernel, norm, rectified
        shrinking = {"kernel_size": kernel, "stride": kernel} if kernel > 1 else {"kernel_size": 3, "padding": 1}
        self.bottleneck = nn.Sequential(
            nn.Conv2d(in_width, middle, 1, bias=False),
            _norm(norm, middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, middle, bias=False, **shrinking),  # type: ignore[arg-type]  # mypy takes the names for any argument
            _norm(norm, middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, width, 1, bias=False),
            _norm(norm, width),
            *([nn.ReLU(inplace=True)] if rectified else []),
        )
        self.fc = nn.Linear(width, num_classes)
        for module in self.bottleneck:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, shallow: Maps) -> tuple[Float[Tensor, "batch classes"], Maps]:
        """Logits, and the map of the deepest map's shape that they are read from."""
        deep = self.deepened(shallow)
        return self.fc(deep.mean((2, 3))), deep

    def deepened(self, shallow: Maps) -> Maps:
        """The map that the logits are read from, [B, C, H, W], as large as the deepest."""
        rows, columns = shallow.shape[-2:]
        # Strides round up in the backbone, so zeros fill what is left of the last window.
        filled = functional.pad(shallow, (0, -columns % self.kernel, 0, -rows % self.kernel))
        deep: Tensor = self.bottleneck(filled)
        return deep


class EarlyExit(nn.Module):
    """The stages of a timm model up to one, and that stage's classifier, with the methods that timm's classifiers have.

    Args:
        backbone: timm's name of the whole network.
        backbone_args: its arguments.
        stage: the last of its `forward_intermediates` that is computed.
        width: channels of the whole network's last map.
        kernel, norm, rectified: of the `ShallowClassifier`.
        num_classes: width of the logits.
        in_chans: channels of the images.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        backbone_args: Mapping[str, Any] | None = None,
        stage: int = 1,
        width: int = 512,
        kernel: int = 8,
        norm: str = "batch",
        rectified: bool = True,
        num_classes: int = 1000,
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features, self.head_hidden_size, self._stage = num_classes, width, width, stage
        self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0, in_chans=in_chans, **(backbone_args or {}))
        stage_width = int(self.backbone.feature_info[stage]["num_chs"])
        self.backbone.prune_intermediate_layers([stage], prune_norm=True, prune_head=True)
        self.exit = ShallowClassifier(stage_width, width, kernel=kernel, num_classes=num_classes, norm=norm, rectified=rectified)

    def forward(self, x: Maps) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Maps) -> Maps:
        """The exit's map, [B, C, H, W]."""
        shallow = self.backbone.forward_intermediates(x, indices=[self._stage], stop_early=True, intermediates_only=True)
        return self.exit.deepened(shallow[0])

    def forward_head(self, x: Maps, pre_logits: bool = False) -> Float[Tensor, "batch _"]:
        """Logits of the exit's map, or with `pre_logits` what the classifier sees."""
        pooled = x.mean((2, 3))
        logits: Tensor = pooled if pre_logits else self.exit.fc(pooled)
        return logits

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        return self.exit.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier of that many classes in its place; 0 leaves it out. The pooling is always the mean."""
        assert global_pool in (None, "avg"), "An exit has mean pooling."
        self.num_classes = num_classes
        fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.exit.fc = fc  # type: ignore[assignment]  # it was declared as a linear layer


def early_exit(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A network that is left early."""
    made: nn.Module = build_model_with_cfg(EarlyExit, "early_exit", pretrained, **kwargs)
    return made


def _norm(kind: str, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if kind == "batch" else nn.GroupNorm(1, width)


default_cfgs = generate_default_cfgs(
    {
        "early_exit": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 32, 32),
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": None,
            "classifier": "exit.fc",
        }
    }
)
"""Read by timm's register_model, by this name."""

register_model(early_exit)
