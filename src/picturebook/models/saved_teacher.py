"""An image-text teacher on disk: its head's weights, and what it stands on.

teacher/teacher.json        encoders by name, sizes and the head's settings
teacher/head.safetensors    the head
teacher/image_encoder/      the image encoder, where the run trained it itself
"""

import json
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file

from picturebook.errors import ModelError
from picturebook.models.artefact import load_student
from picturebook.models.heads import Head, HeadOptions, build_head
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.options import Options, validate
from picturebook.runs import write_json


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
    head: HeadOptions
    """The head's settings."""


def save_teacher(saved: SavedTeacher, head: Head, folder: Path) -> None:
    """Write the head and what it stands on."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}, folder / "head.safetensors")
    write_json(folder / "teacher.json", saved.model_dump(mode="json"))


def load_teacher(folder: Path) -> tuple[ImageEncoder, Head, SavedTeacher]:
    """The frozen image encoder, the head in eval mode, and what was saved of them.

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
    class_texts = torch.ones(saved.num_classes, saved.text_width) if saved.head.mode == "bank" else None
    head = build_head(
        saved.head,
        token_width=encoder.token_width,
        num_tokens=encoder.grid[0] * encoder.grid[1],
        text_width=saved.text_width,
        num_classes=saved.num_classes,
        class_texts=class_texts,
        seed=0,
    )
    head.load_state_dict(load_file(folder / "head.safetensors"))
    return encoder.eval(), head.eval(), saved
