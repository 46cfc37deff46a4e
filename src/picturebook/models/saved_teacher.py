"""An image-text teacher on disk: its head's weights, and what it stands on.

teacher/teacher.json        encoders by name, sizes and the head's settings
teacher/head.safetensors    the head
teacher/image_encoder/      the image encoder, where the run trained it itself
"""

import json
from pathlib import Path

import torch
from pydantic import Field

from picturebook.errors import ModelError
from picturebook.models.artefact import load_student
from picturebook.models.head_ensembles import Combination, Experts, FoldedHead
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.options import Options, validate
from picturebook.tensor_files import read_tensors, write_tensors
from picturebook.types import Queries
from picturebook.writing import write_json


class SavedTeacher(Options):
    """What a head stands on."""

    image_encoder: str
    """Name of the frozen image encoder; its weights are beside the head where this run trained them."""
    image_size: int = Field(ge=1)
    """Height and width that it sees, in pixels."""
    num_classes: int = Field(ge=2)
    """K."""
    text_encoder: str | None = None
    """Name of the frozen text encoder, or None for a head without words."""
    text_width: int = Field(0, ge=0)
    """Width of text vectors, or of learned queries."""
    heads: list[HeadOptions] = Field(min_length=1)
    """Settings of the experts that answer together; the first is the run's `teacher.head`."""
    combination: Combination = "product"
    """How several experts' answers become one."""
    folds: int = Field(0, ge=0)
    """Folds of the training pictures, each with experts of its own; 0 where one group of experts labels all."""
    class_queries: int = Field(1, ge=1)
    """Most queries that a class text has, for a bank."""


def save_teacher(saved: SavedTeacher, head: FoldedHead, folder: Path) -> None:
    """Write the heads and what they stand on."""
    write_tensors(head.state_dict(), folder / "head.safetensors")
    write_json(folder / "teacher.json", saved.model_dump(mode="json"))


def build_experts(saved: SavedTeacher, encoder: ImageEncoder, *, bank: Queries | None, seed: int) -> Experts:
    """New experts as the settings say.

    Args:
        saved: the settings.
        encoder: whose tokens they read.
        bank: class texts, for the heads that ask with them.
        seed: of the first expert's weights; the next ones take the next numbers.
    """
    heads = [
        build_head(
            options,
            token_width=encoder.token_width,
            num_tokens=encoder.grid[0] * encoder.grid[1],
            text_width=saved.text_width,
            num_classes=saved.num_classes,
            class_texts=bank if options.mode == "bank" else None,
            seed=seed + number,
        )
        for number, options in enumerate(saved.heads)
    ]
    return Experts(heads, combination=saved.combination)


def load_teacher(folder: Path) -> tuple[ImageEncoder, FoldedHead, SavedTeacher]:
    """The frozen image encoder, the heads in eval mode, and what was saved of them.

    Raises:
        ModelError: the folder holds no teacher with a head.
    """
    try:
        settings = json.loads((folder / "teacher.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ModelError(f"{folder} holds no teacher with a head: train one with recipe = 'image_text' or 'distil'.") from None
    saved = validate(SavedTeacher, settings, source=str(folder / "teacher.json"))
    if (folder / "image_encoder").is_dir():
        encoder, _ = load_student(folder / "image_encoder")
    else:
        encoder = create_image_encoder(
            saved.image_encoder, num_classes=saved.num_classes, image_size=saved.image_size, pretrained=True
        )
    shape = (saved.num_classes, saved.class_queries)
    bank = Queries(torch.ones(*shape, saved.text_width), torch.ones(shape, dtype=torch.bool))
    head = FoldedHead([build_experts(saved, encoder, bank=bank, seed=0) for _ in range(max(1, saved.folds))])
    try:
        head.load_state_dict(read_tensors(folder / "head.safetensors"))
    except RuntimeError as error:
        raise ModelError(f"{folder} holds a teacher that this version cannot read: train it again.") from error
    return encoder.eval(), head.eval(), saved
