"""Is a folder of weights what it says? Asked before its model is built: a few kilobytes could ask for all the memory there is."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open

from picturebook.errors import ModelError

MOST = 1_000_000
"""Of any whole number in a folder's settings: classes, widths, pixels."""
MOST_PIXELS = 8192
"""Side of a model's input, and of the square that pictures are squeezed to."""
_OURS = (
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
    "exportable",
    "scriptable",
    "no_jit",
)
"""Arguments of timm's own that say where weights come from and go: never a model's."""
_COUNTS = ("depth", "layer", "block", "stage")


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config.json in timm's schema with values of the wrong kind or size.

    Raises:
        ModelError: the first of them.
    """
    pretrained = config["pretrained_cfg"]
    if not isinstance(pretrained, dict) or not isinstance(config.get("model_args", {}), dict):
        raise ModelError(f"{where}: pretrained_cfg and model_args need to be objects. Train or export again.")
    if not isinstance(config["architecture"], str):
        raise ModelError(f"{where}: architecture needs to be a name, got {config['architecture']!r}. Train or export again.")
    _check_whole(config["num_classes"], MOST, f"{where}: num_classes")
    _check_whole(config.get("canvas_size", 8), MOST_PIXELS, f"{where}: canvas_size")
    size = pretrained.get("input_size", (3, 224, 224))
    if not isinstance(size, list | tuple) or len(size) != 3:
        raise ModelError(f"{where}: input_size needs to be three whole numbers, got {size!r}. Train or export again.")
    for side in size:
        _check_whole(side, MOST_PIXELS, f"{where}: input_size")
    for name in ("mean", "std"):
        values = pretrained.get(name, (0.5, 0.5, 0.5))
        if not (isinstance(values, list | tuple) and len(values) == 3 and all(_is_number(value) for value in values)):
            raise ModelError(f"{where}: {name} needs to be three numbers, got {values!r}. Train or export again.")
    names = config.get("label_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{where}: label_names needs to be a list of texts. Train or export again.")


def check_arguments(arguments: Mapping[str, Any], where: str) -> None:
    """Refuse arguments that are timm's own and not a model's, or numbers past all bounds.

    Raises:
        ModelError: the first of them.
    """
    for name, value in arguments.items():
        if name in _OURS:
            raise ModelError(f"{where}: model_args takes what a model is made of, and {name!r} is not: remove it.")
        for number in _numbers(value):
            if not -MOST <= number <= MOST:
                raise ModelError(f"{where}: model_args.{name} has {number!r:.30}, and {MOST:,} is the most.")


def check_weights(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse weights that are fewer than the architecture has, by the file's header and a model without memory.

    Raises:
        ModelError: they are fewer, or the file is broken.
    """
    path = folder / "model.safetensors"
    shapes = _shapes(path)
    arguments = config.get("model_args", {})
    for name, value in arguments.items():
        if any(word in name for word in _COUNTS) and any(number > max(len(shapes), 1) for number in _numbers(value)):
            raise ModelError(f"{path} holds {len(shapes)} tensors, too few for model_args.{name} = {value!r}: export again.")
    try:
        with torch.device("meta"):
            model = timm.create_model(config["architecture"], num_classes=config["num_classes"], **arguments)
    except Exception:  # each of timm's models refuses arguments in its own way, and the one who builds it says which
        return
    needed = sum(parameter.numel() for parameter in model.parameters())
    found = sum(math.prod(shape) for shape in shapes)
    if needed > found:
        raise ModelError(f"{path} holds {found:,} numbers, and {config['architecture']} needs {needed:,}: export again.")


def _shapes(path: Path) -> list[tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as file:
            return [tuple(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, MemoryError) as error:
        raise ModelError(f"{path} is no whole safetensors file ({error}): train or export again.") from error


def _check_whole(value: Any, most: int, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ModelError(f"{where} needs to be a whole number from 1 to {most:,}, got {value!r:.80}. Train or export again.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(value: Any) -> list[int | float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, int | float) else []
