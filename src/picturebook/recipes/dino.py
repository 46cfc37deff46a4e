"""DINO (Caron et al., 2021, arXiv:2104.14294): pretraining without labels, by a student and the average of its own past.

student ← new weights;   teacher ← student;   centre ← 0
for each batch x:   x_1, x_2 ← global crops;   x_3 … x_U ← local crops
                    loss ← mean over v in {1, 2}, u ≠ v of H(softmax((teacher(x_v) − centre) / t), softmax(student(x_u) / s))
                    student ← step(loss);   teacher ← m teacher + (1 − m) student;   centre ← mean of the teacher's outputs
then, of the teacher's frozen features:   k-NN, linear probe;   and fine-tuning on the labels
"""

from typing import Literal

import torch
from pydantic import Field

from picturebook.data.multi_crop import MultiCropMaker, MultiCropOptions
from picturebook.engine import TrainOptions
from picturebook.errors import ModelError
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.projection_heads import ProjectionHeadOptions, PrototypeHead
from picturebook.objectives.dino import Dino, DinoOptions
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.outcome import finish
from picturebook.recipes.probing import ProbeOptions, check_probe, finish_student, freeze_classifier, probe
from picturebook.recipes.stages import Stages


class PretrainOptions(TrainOptions):
    """The pretraining, with the source's settings."""

    learning_rate: float = Field(2.5e-4, gt=0.0)
    """Peak of the schedule; the source has 5e-4 · batch_size / 256."""
    weight_decay: float = Field(0.04, ge=0.0)
    """At the start."""
    weight_decay_end: float | None = Field(0.4, ge=0.0)
    """Where half a cosine leads it by the last step."""
    warmup: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the training in which the rate rises straight from 0; the source has 10 epochs of 100."""
    clip: float = Field(3.0, ge=0.0)
    """Largest norm of the gradient; 0 leaves it as it is."""


class DinoRecipe(RecipeOptions):
    """The student learns without labels first, by self-distillation over crops, and then with them."""

    recipe: Literal["dino"] = "dino"
    """This recipe."""
    pretrain: PretrainOptions = PretrainOptions()
    """The training without labels, on every training picture; [train] is the fine-tuning."""
    crops: MultiCropOptions = MultiCropOptions()
    """What it sees; [views] are the fine-tuning's."""
    head: ProjectionHeadOptions = ProjectionHeadOptions()
    """The projection head, which is thrown away after it."""
    loss: DinoOptions = DinoOptions()
    """How the student follows the teacher."""
    probe: ProbeOptions = ProbeOptions()
    """How the pretrained network is asked, and what becomes of it."""


def run(stages: Stages, options: DinoRecipe) -> None:
    """Pretrain, probe and finish; the probes are evaluated beside the student."""
    check_probe(stages, options.probe)
    maker = MultiCropMaker(stages.maker, options.crops)
    encoder = freeze_classifier(stages.new_student())
    _check_local_crops(stages, encoder, options.crops)
    head = PrototypeHead(encoder.feature_width, options.head, seed=stages.part_seed("head"))
    dino = Dino(encoder, head, options.loss)
    stages.train("pretrain", dino, rows=stages.train_rows, options=options.pretrain, maker=maker)
    pretrained = dino.teacher_encoder
    probes = probe(stages, pretrained, options.probe)
    finish(stages, finish_student(stages, pretrained, options.probe), teachers=probes)


def _check_local_crops(stages: Stages, encoder: ImageEncoder, crops: MultiCropOptions) -> None:
    """Refuse local crops that the network cannot take; say where they are enlarged.

    Raises:
        ModelError: patches do not cover them, or a processor would compute wrong bf16 gradients of them.
    """
    size = crops.local_size
    if not crops.local_crops or size == encoder.image_size:
        return
    if not encoder.takes_any_size:
        stages.reporter.say(
            f"{encoder.name} takes images of {encoder.image_size} px alone, so local crops of {size} px are enlarged to that; "
            "with a ViT, student.model_args = { dynamic_img_size = true } leaves them as they are and saves their time."
        )
        return
    try:
        with torch.no_grad():
            encoder.eval().pool(torch.zeros(1, 3, size, size, device=stages.device))
    except Exception as error:  # each of timm's models refuses a size in its own way
        raise ModelError(f"{encoder.name!r} does not take crops.local_size = {size} ({error}): change it.") from error
    on_cpu = stages.device.type == "cpu" and stages.accelerator.mixed_precision == "bf16"
    if on_cpu and (layer := encoder.layer_on_one_pixel(size)):
        raise ModelError(
            f"In {encoder.name} at crops.local_size = {size}, layer {layer} steps over a map of one pixel, for which processors "
            "compute wrong bf16 gradients: raise local_size, or say precision = 'fp32'."
        )
