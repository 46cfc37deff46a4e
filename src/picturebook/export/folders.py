"""The student as a folder: as timm reads it, and with a model card for the hub."""

import shutil
from pathlib import Path

import torch

from picturebook.errors import ModelError
from picturebook.export.model_card import model_card
from picturebook.export.source import Source
from picturebook.models.artefact import timm_model_and_transform, write_temperature
from picturebook.models.sources import CONFIG_FILE, WEIGHTS_FILE

CARD = "README.md"
_TOLERANCE = 1e-4
"""Of logits on noise: the same weights and the same network."""


def write_timm_folder(source: Source, folder: Path) -> None:
    """Copy the student into a new folder, and let timm load it from there.

    Raises:
        ModelError: timm does not load it, or gives other logits.
    """
    folder.mkdir()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(source.run.student / name, folder / name)
    if source.is_calibrated:
        write_temperature(folder, source.temperature)
    encoder = source.classifier.encoder
    noise = torch.rand(2, 3, encoder.image_size, encoder.image_size, generator=torch.Generator().manual_seed(0))
    model, _ = timm_model_and_transform(folder)
    with torch.no_grad():
        difference = float((model(noise) - encoder.model(noise)).abs().max())
    if not difference <= _TOLERANCE:
        raise ModelError(
            f"timm gives other logits than picturebook for {source.run.student} (they differ by {difference:.1e}): train again."
        )


def write_hub_folder(source: Source, folder: Path, *, licence: str) -> None:
    """Write the timm folder and its model card.

    Raises:
        ModelError: as `write_timm_folder`.
    """
    write_timm_folder(source, folder)
    (folder / CARD).write_text(model_card(source, licence=licence), encoding="utf-8")
