"""The settings that every recipe has."""

from typing import Any, Literal

from pydantic import Field

from picturebook.data.tables import DataOptions
from picturebook.data.views import ViewOptions
from picturebook.engine import Strategy, Tracker, TrainOptions
from picturebook.errors import OptionError
from picturebook.models.device import Device
from picturebook.options import Options


class StudentOptions(Options):
    """The classifier that is wanted."""

    model: str = "resnet18"
    """A timm name; `picturebook list models` shows them."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of that timm model, e.g. { channels = [16, 32, 64, 128] }."""
    init: str = "scratch"
    """scratch (newly initialised, as in the paper), pretrained (timm's weights), package:efficientnet-lite0 (weights that come by
    pip, for model = "tf_efficientnet_lite0"), or a run folder."""
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
    device: Device = "auto"
    """Where to train; auto takes what is there."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto is bf16 where it is faster: on GPUs that compute in it and on processors with AMX; else fp32."""
    strategy: Strategy = "ddp"
    """Several processes: each with a whole model (ddp), or with its part of weights, gradients and optimiser state (fsdp), for a
    model that else does not fit."""
    cache: str | None = None
    """Folder of canvases, tokens, words, heads and shared targets; by default $PICTUREBOOK_CACHE, else ~/.cache/picturebook."""
    track: list[Tracker] = Field(default_factory=list)
    """Where the lines of metrics.jsonl go besides: tensorboard, wandb, mlflow."""
    data: DataOptions
    """The pictures."""
    views: ViewOptions = ViewOptions()
    """How pictures are varied for training."""
    student: StudentOptions = StudentOptions()
    """The classifier that is wanted."""
    train: TrainOptions = TrainOptions()
    """The student's training."""

    @property
    def answers_whole_views(self) -> bool:
        """Whether the teacher answers for whole views, and a mix is told both answers; else it answers for the mix."""
        return False


def refuse_mixed(views: ViewOptions, reason: str) -> None:
    """Refuse mixup and cutmix where a picture has to be one picture.

    Raises:
        OptionError: views mix pictures; it gives `reason`.
    """
    if views.mixes:
        raise OptionError(f"views.mixup and views.cutmix mix two pictures, but {reason}: set both to 0.")


def refuse_unmeasured(options: TrainOptions, stage: str, *, validated: bool) -> None:
    """Refuse to keep the best weights where nothing says which these are.

    Raises:
        OptionError: keep = "best" in a training that is not measured on validation pictures.
    """
    if options.keep == "best" and not validated:
        raise OptionError(
            f"keep = 'best' in the training of stage {stage} chooses by labelled validation pictures, and it is measured on "
            "none: set data.split.val above 0, or say keep = 'last'."
        )
