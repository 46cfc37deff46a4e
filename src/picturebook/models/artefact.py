"""The student on disk: a folder that timm loads, without picturebook where the architecture is one of timm's.

`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the student; one of picturebook's own architectures needs
`import picturebook.models` before, which its config.json says under `requires`. Without `pretrained=True` timm gives the same
architecture with random weights, and says nothing. timm's models do not normalise: its own transform (`timm.data`), made
from the folder's pretrained_cfg, does.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import timm.data
import torch
from torch import Tensor

from picturebook.errors import ModelError
from picturebook.models.architectures import needed_import
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.models.sources import CONFIG_FILE, FOLDER_PREFIX, WEIGHTS_FILE, read_model_folder
from picturebook.tensor_files import write_tensors
from picturebook.writing import atomic_folder, write_json


def save_student(encoder: ImageEncoder, folder: Path, *, label_names: Sequence[str], canvas_size: int | None = None) -> None:
    """Write config.json and model.safetensors (float32) in timm's schema, all or nothing; an older student is replaced.

    Args:
        encoder: only its timm model and what it says of its input are written.
        folder: made if missing; may hold an older student and nothing else.
        label_names: one different name a class, in the order of the logits.
        canvas_size: side of the square that pictures were squeezed to before its views; timm has no use for it.

    Raises:
        ModelError: label_names do not fit the classes, or the folder holds something else.
    """
    if len(set(label_names)) != len(label_names) or len(label_names) != encoder.num_classes:
        raise ModelError(
            f"Expected {encoder.num_classes} different label names, got {len(label_names)}: {list(label_names)[:8]}."
        )
    foreign = sorted({path.name for path in folder.iterdir()} - {CONFIG_FILE, WEIGHTS_FILE}) if folder.is_dir() else []
    if foreign:
        raise ModelError(f"{folder} holds {foreign[0]!r}, which is no part of a student, and would be lost: name a new folder.")
    weights = encoder.model.state_dict()
    with atomic_folder(folder) as new:
        write_tensors(
            {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}, new / WEIGHTS_FILE
        )
        (new / CONFIG_FILE).write_text(json.dumps(_config(encoder, label_names, canvas_size), indent=2) + "\n", "utf-8")


def load_student(folder: Path) -> tuple[ImageEncoder, tuple[str, ...]]:
    """Load a student in eval mode, and its label names in the order of its logits.

    Raises:
        ModelError: the folder is missing, half written, or its weights do not fit its config.
    """
    config = read_model_folder(folder)
    size = config["pretrained_cfg"].get("input_size", (3, 224, 224))[-1]
    classes = config["num_classes"]
    encoder = create_image_encoder(f"{FOLDER_PREFIX}{folder}", num_classes=classes, image_size=size, pretrained=True)
    names = tuple(config.get("label_names", ()))
    if len(names) != classes:
        raise ModelError(f"{folder / CONFIG_FILE} has {len(names)} label_names for {classes} classes: one a class is needed.")
    return encoder.eval(), names


def read_canvas_size(folder: Path) -> int | None:
    """Side of the canvas that a saved student was trained from, in pixels; None where its folder does not say it.

    Raises:
        ModelError: the folder is missing or half written.
    """
    size: int | None = read_model_folder(folder).get("canvas_size")
    return size


def read_temperature(folder: Path) -> float | None:
    """What a saved student's logits are divided by before the softmax; None where nothing was fitted.

    Raises:
        ModelError: the folder is missing or half written, or holds no temperature above 0.
    """
    value = read_model_folder(folder).get("temperature")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ModelError(f"{folder / CONFIG_FILE}: temperature needs to be a number above 0, got {value!r}. Export again.")
    return float(value)


def write_temperature(folder: Path, temperature: float) -> None:
    """Keep a saved student's fitted temperature in its config.json, where timm passes it over."""
    write_json(folder / CONFIG_FILE, read_model_folder(folder) | {"temperature": temperature})


def timm_model_and_transform(folder: Path) -> tuple[torch.nn.Module, Callable[[Any], Tensor]]:
    """What a user without picturebook has: timm's model in eval mode, and timm's own transform from a PIL image.

    Raises:
        ModelError: as `load_student`.
    """
    model = load_student(folder)[0].model
    transform: Callable[[Any], Tensor] = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )
    return model, transform


def _config(encoder: ImageEncoder, label_names: Sequence[str], canvas_size: int | None) -> dict[str, Any]:
    source, needed = encoder.model.pretrained_cfg, needed_import(encoder.architecture)
    return {
        "architecture": encoder.architecture,
        **({} if needed is None else {"requires": needed}),
        "num_classes": encoder.num_classes,
        "num_features": encoder.token_width,
        "label_names": list(label_names),
        "model_args": encoder.model_args,
        "canvas_size": canvas_size or encoder.image_size,
        "pretrained_cfg": {
            "input_size": [3, encoder.image_size, encoder.image_size],
            "fixed_input_size": bool(source.get("fixed_input_size", False)),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": encoder.mean.flatten().tolist(),
            "std": encoder.std.flatten().tolist(),
            "num_classes": encoder.num_classes,
            "pool_size": None,
            "first_conv": source.get("first_conv"),
            "classifier": source.get("classifier"),
        },
    }
