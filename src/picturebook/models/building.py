"""Building a timm model, and the sentences in which one that cannot be built is refused."""

from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed
from torch import nn

from picturebook.errors import ModelError
from picturebook.models.folder_checks import check_arguments, check_weights
from picturebook.models.sources import FOLDER_PREFIX, ImageSource, read_model_folder


def build(name: str, source: ImageSource, arguments: dict[str, Any], *, num_classes: int, pretrained: bool) -> Any:
    """The timm model of a source, with weights or newly initialised from the global generator.

    Raises:
        ModelError: arguments that the model does not take, weights that cannot be had or do not fit.
    """
    if pretrained and not source.has_weights:
        raise ModelError(
            f"timm knows no weights for {name!r}. Choose a name of timm.list_pretrained(), or train it from scratch."
        )
    check_arguments(arguments, name)
    if pretrained and source.timm_name.startswith(FOLDER_PREFIX):
        folder = Path(source.timm_name.removeprefix(FOLDER_PREFIX))
        check_weights(folder, read_model_folder(folder))
    try:
        model = timm.create_model(source.timm_name, pretrained=pretrained, num_classes=num_classes, **arguments)
    except OSError as error:
        raise ModelError(
            f"The weights of {name!r} are not on this machine and could not be fetched ({first_line(error)}). "
            "Connect once so that they are kept, name a folder (local-dir:FOLDER), or use package:efficientnet-lite0."
        ) from error
    except Exception as error:  # each of timm's models refuses arguments in its own way
        raise ModelError(_refusal(name, source, arguments, error)) from error
    if not torch.accelerator.is_available():
        _write_out_attention(model)
    return model


def _write_out_attention(model: nn.Module) -> None:
    """Attention as matrix products: torch's fused kernel on CPU takes up to four times as long in bf16 (docs/log.md)."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010 - mypy knows modules and tensors only


def _refusal(name: str, source: ImageSource, arguments: dict[str, Any], error: Exception) -> str:
    """Say which argument timm refused: the ones the model's constructor does not have, or else all that were given."""
    with torch.device("meta"):
        model = timm.create_model(source.architecture, pretrained=False)
    known = sorted(signature(type(model).__init__).parameters.keys() - {"self"})
    unknown = [key for key in arguments if key not in known]
    if unknown:
        nearest = get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else f" It takes {', '.join(known)}."
        return f"{name!r} takes no argument {unknown[0]!r} (model_args).{hint}"
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "none"
    return f"{name!r} cannot be built or loaded with model_args {given}: {first_line(error)}."


def first_line(error: Exception) -> str:
    """What an error says first, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def check_patches(name: str, model: nn.Module, image_size: int) -> None:
    """Refuse an image size that patches do not cover: timm would leave the rest of the picture out without a word."""
    for module in model.modules():
        if isinstance(module, PatchEmbed) and not module.dynamic_img_pad and image_size % module.patch_size[0]:
            raise ModelError(
                f"image_size {image_size} is no multiple of the {module.patch_size[0]} px patches of {name!r}: "
                "change image_size, or patch_size in model_args."
            )
