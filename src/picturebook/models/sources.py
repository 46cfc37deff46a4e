"""What an image encoder's name stands for: a timm name, a Python package, a folder of weights, or a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import timm
from timm.models import get_pretrained_cfg, is_model

from picturebook.errors import ModelError, unknown_name
from picturebook.models.architectures import list_own_architectures, needed_import
from picturebook.models.folder_checks import check_config
from picturebook.models.packaged import IMAGE_PACKAGES, PACKAGE_PREFIX, ImagePackage, find_image_package

FOLDER_PREFIX = "local-dir:"
"""Start of the name of an encoder in a folder of config.json and model.safetensors; timm's own prefix."""

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class ImageSource:
    """What is known of an image encoder before it is built."""

    timm_name: str
    """What timm.create_model takes."""
    architecture: str
    """timm's name without tag or folder."""
    has_fixed_size: bool
    """Whether the constructor takes `img_size`; timm passes it on exactly when this is so."""
    has_weights: bool
    """Whether timm can load weights."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments kept with a folder's weights."""
    package: ImagePackage | None = None
    """The Python package that holds the weights."""


def find_image_source(name: str) -> ImageSource:
    """Look a name up without building anything.

    Raises:
        ModelError: there is no such name (with the nearest one), or its folder is missing or half written.
    """
    if name.startswith(PACKAGE_PREFIX):
        package = find_image_package(name)
        return ImageSource(package.architecture, package.architecture, False, True, package=package)
    if name.startswith(FOLDER_PREFIX):
        return _folder_source(Path(name.removeprefix(FOLDER_PREFIX)))
    timm_name = name.removeprefix("timm/")
    architecture, _, tag = timm_name.partition(".")
    if is_model(architecture) and (not tag or timm_name in timm.list_pretrained(f"{architecture}.*")):
        config = get_pretrained_cfg(timm_name)
        return ImageSource(
            timm_name,
            architecture,
            has_fixed_size=config is not None and config.fixed_input_size,
            has_weights=config is not None and bool(config.has_weights),
        )
    if Path(name).is_dir():
        return _folder_source(Path(name) / "student")
    known = {*timm.list_models(), *timm.list_pretrained(), *(f"{PACKAGE_PREFIX}{short}" for short in IMAGE_PACKAGES)}
    raise ModelError(
        f"{unknown_name('image encoder', timm_name, known)} Names are timm's (`picturebook list models`) or run folders."
    )


def list_image_encoders(pattern: str = "*") -> list[str]:
    """Names of image encoders that match a shell pattern, for example "resnet*": packaged ones, picturebook's, then timm's."""
    first = [*(f"{PACKAGE_PREFIX}{short}" for short in IMAGE_PACKAGES), *list_own_architectures()]
    rest = [name for name in timm.list_models(pattern) if name not in first]
    return [name for name in first if fnmatch(name, pattern)] + rest


def note_on(name: str) -> str:
    """A word about an image encoder of `list_image_encoders`; empty where there is nothing to say."""
    if name.startswith(PACKAGE_PREFIX):
        return "weights that come by pip"
    needed = needed_import(name)
    return "" if needed is None else f"picturebook's own: timm knows it after `{needed}`"


def read_model_folder(folder: Path) -> dict[str, Any]:
    """The config.json of a folder of weights in timm's schema, checked.

    Raises:
        ModelError: the folder or one of its two files is missing, or config.json is not such a file.
    """
    for path in (folder / CONFIG_FILE, folder / WEIGHTS_FILE):
        if not path.is_file():
            raise ModelError(
                f"{folder} is no finished model: {path.name} is missing (needed: {CONFIG_FILE} and {WEIGHTS_FILE}). "
                "Train again, or name the run's folder or its student folder."
            )
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
        needed = {"architecture", "num_classes", "pretrained_cfg"} - config.keys()
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder / CONFIG_FILE} is not the JSON that timm writes ({error}). Train or export again.") from error
    if needed:
        raise ModelError(f"{folder / CONFIG_FILE} lacks {', '.join(sorted(needed))}. Train or export again.")
    check_config(config, str(folder / CONFIG_FILE))
    return config


def _folder_source(folder: Path) -> ImageSource:
    config = read_model_folder(folder)
    architecture = config["architecture"]
    if not is_model(architecture):
        raise ModelError(
            f"{folder / CONFIG_FILE} names an architecture that this timm does not have. "
            + unknown_name("timm model", architecture, timm.list_models())
        )
    return ImageSource(
        f"{FOLDER_PREFIX}{folder}",
        architecture,
        has_fixed_size=bool(config["pretrained_cfg"].get("fixed_input_size", False)),
        has_weights=True,
        model_args=config.get("model_args", {}),
    )
