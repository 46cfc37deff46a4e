"""The settings that every recipe has."""

from typing import Any, Literal

from pydantic import Field

from picturebook.data.tables import DataOptions
from picturebook.data.views import ViewOptions
from picturebook.engine import TrainOptions
from picturebook.options import Options


class StudentOptions(Options):
    """The classifier that is wanted."""

    model: str = "resnet18"
    """A timm name; `picturebook list models` shows them."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of that timm model, e.g. { channels = [16, 32, 64, 128] }."""
    init: str = "scratch"
    """scratch (newly initialised, as in the paper), pretrained (timm's weights), or a run folder."""
    image_size: int = Field(64, ge=8)
    """Height and width that the student sees, in pixels."""


class RecipeOptions(Options):
    """What every recipe needs."""

    recipe: str
    """Name of the recipe."""
    seed: int = Field(0, ge=0)
    """Fixes initialisation, order and views; equal seeds pair the arms of a study."""
    out: str
    """Run folder; must not exist."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes what is there."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto is bf16 where the processor computes in it, else fp32."""
    cache: str | None = None
    """Folder of canvases, tokens and text vectors; by default $PICTUREBOOK_CACHE, else ~/.cache/picturebook."""
    data: DataOptions
    """The pictures."""
    views: ViewOptions = ViewOptions()
    """How pictures are varied for training."""
    student: StudentOptions = StudentOptions()
    """The classifier that is wanted."""
    train: TrainOptions = TrainOptions()
    """The student's training."""
