"""Networks for small pictures that timm does not have, registered with it by `import picturebook.models`.

cifar_resnet20, cifar_resnet56              ResNets of 6n + 2 layers for 32 px (arXiv:1512.03385, section 4.2)
wide_resnet28_2, _4, _10                    Wide ResNets (arXiv:1605.07146)
resnet18_small_input, resnet34_…, resnet50_…  timm's ResNets with a 3×3 stem of stride 1 and without the max-pool
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, model_entrypoint, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from picturebook.models.small_resnets import CifarResNet, WideResNet

REQUIREMENT = "import picturebook.models"
"""What a program has to run before timm knows these architectures; it stands in the config.json of such a student."""


def needed_import(architecture: str) -> str | None:
    """What has to be imported before timm knows an architecture; None where timm brings it."""
    return REQUIREMENT if model_entrypoint(architecture).__module__.startswith("picturebook.") else None


def list_own_architectures() -> list[str]:
    """Names of the architectures that picturebook adds to timm."""
    return [function.__name__ for function in _ENTRY_POINTS]


def cifar_resnet20(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-20 for CIFAR, 0.27 M parameters."""
    return _build(CifarResNet, "cifar_resnet20", pretrained, **{"depth": 3, **kwargs})


def cifar_resnet56(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-56 for CIFAR, 0.85 M parameters."""
    return _build(CifarResNet, "cifar_resnet56", pretrained, **{"depth": 9, **kwargs})


def wide_resnet28_2(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """WRN-28-2, 1.5 M parameters."""
    return _build(WideResNet, "wide_resnet28_2", pretrained, **{"depth": 4, "width": 2, **kwargs})


def wide_resnet28_4(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """WRN-28-4, 5.8 M parameters."""
    return _build(WideResNet, "wide_resnet28_4", pretrained, **{"depth": 4, "width": 4, **kwargs})


def wide_resnet28_10(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """WRN-28-10, 36.5 M parameters."""
    return _build(WideResNet, "wide_resnet28_10", pretrained, **{"depth": 4, "width": 10, **kwargs})


def resnet18_small_input(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """timm's resnet18 with a 3×3 stem of stride 1 and without the max-pool."""
    return _build(_small_input, "resnet18_small_input", pretrained, **{"block": BasicBlock, "layers": (2, 2, 2, 2), **kwargs})


def resnet34_small_input(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """timm's resnet34 with a 3×3 stem of stride 1 and without the max-pool."""
    return _build(_small_input, "resnet34_small_input", pretrained, **{"block": BasicBlock, "layers": (3, 4, 6, 3), **kwargs})


def resnet50_small_input(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """timm's resnet50 with a 3×3 stem of stride 1 and without the max-pool."""
    return _build(_small_input, "resnet50_small_input", pretrained, **{"block": Bottleneck, "layers": (3, 4, 6, 3), **kwargs})


def _small_input(**kwargs: Any) -> nn.Module:
    """A timm ResNet whose stem keeps the size of the picture: timm's makes a quarter of it."""
    without_effect = sorted({"stem_type", "stem_width", "replace_stem_pool", "aa_layer"} & kwargs.keys())
    if without_effect:
        raise ValueError(f"{without_effect[0]} takes no effect: the stem is one 3×3 convolution of stride 1")
    model = ResNet(**kwargs)
    width = model.feature_info[0]["num_chs"]
    model.conv1 = nn.Conv2d(kwargs.get("in_chans", 3), width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm's ResNet draws it
    model.maxpool = nn.Identity()
    model.feature_info = [{**stage, "reduction": max(1, stage["reduction"] // 4)} for stage in model.feature_info]
    made: nn.Module = model
    return made


def _build(model: Any, name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    made: nn.Module = build_model_with_cfg(model, name, pretrained, feature_cfg={"feature_cls": "getter"}, **kwargs)
    return made


_ENTRY_POINTS = (
    cifar_resnet20,
    cifar_resnet56,
    wide_resnet28_2,
    wide_resnet28_4,
    wide_resnet28_10,
    resnet18_small_input,
    resnet34_small_input,
    resnet50_small_input,
)


def _config(first_conv: str) -> dict[str, Any]:
    """What timm says of a model's weights, for a model that has none; mean and std are those of timm's ResNets."""
    return {
        "url": "",
        "num_classes": 100,
        "input_size": (3, 32, 32),
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": first_conv,
        "classifier": "fc",
    }


_FIRST_CONVOLUTIONS = {"cifar": "stem.0", "wide": "stem", "resnet": "conv1"}
default_cfgs = generate_default_cfgs(
    {
        f.__name__: _config(next(c for start, c in _FIRST_CONVOLUTIONS.items() if f.__name__.startswith(start)))
        for f in _ENTRY_POINTS
    }
)
"""Read by timm's register_model, by this name."""

for _entry_point in _ENTRY_POINTS:
    register_model(_entry_point)
