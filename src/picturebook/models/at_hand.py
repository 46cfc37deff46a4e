"""Pretrained image encoders whose weights are on this machine already, so that nothing has to be fetched."""

from dataclasses import dataclass
from importlib.util import find_spec

from huggingface_hub import try_to_load_from_cache
from timm.models import get_pretrained_cfg

from picturebook.models.packaged import IMAGE_PACKAGES, PACKAGE_PREFIX
from picturebook.models.sources import WEIGHTS_FILE

_FETCHED = ("resnet18", "resnet50")
"""timm's names that are looked for among what was fetched before."""


@dataclass(frozen=True, slots=True)
class AtHand:
    """An encoder with weights, as settings name it."""

    model: str
    """As student.model."""
    init: str
    """As student.init, beside that model."""
    encoder: str
    """As teacher.image_encoder."""
    where: str
    """Where its weights come from, in words."""


def pretrained_at_hand() -> AtHand | None:
    """The first that is here: an installed package, then what the hub's cache holds; None where there is none."""
    for name, package in IMAGE_PACKAGES.items():
        if find_spec(package.module) is not None:
            source = f"{PACKAGE_PREFIX}{name}"
            return AtHand(package.architecture, source, source, "an installed Python package")
    for name in _FETCHED:
        config = get_pretrained_cfg(name)
        if isinstance(try_to_load_from_cache(config.hf_hub_id, WEIGHTS_FILE), str):
            return AtHand(name, "pretrained", name, "the model hub, fetched before")
    return None
