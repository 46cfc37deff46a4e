"""Distillation from an image-only teacher: any frozen image encoder, its answers stored, a new student (arXiv:1503.02531).

encoder ← trained here | pretrained | a run         head ← linear layer on its pooled tokens, trained | its own classifier
targets ← head(encoder(view))                       student ← train(targets, labels)
"""

from typing import Literal

from picturebook.errors import OptionError
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.saved_teacher import SavedTeacher
from picturebook.objectives.image_text import HeadLossOptions
from picturebook.objectives.soft_targets import SoftTargetOptions
from picturebook.recipes.encoders import TRAIN, check_encoder, learn, load_classifier, teacher_logits, train_encoder
from picturebook.recipes.head_teacher import (
    EncoderOptions,
    HeadParts,
    HeadTrainOptions,
    encode_pictures,
    label_with_head,
    train_head,
)
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages
from picturebook.teachers import ClassifierTeacher, HeadTeacher, StoredTeacher


class ImageTeacherOptions(EncoderOptions):
    """The teacher: a frozen image encoder and what answers on top of it."""

    head: Literal["linear", "classifier"] = "linear"
    """A linear layer trained on the encoder's pooled tokens, or the encoder's own classifier ("train" or a run folder)."""
    loss: HeadLossOptions = HeadLossOptions()
    """How the linear layer is taught."""
    train: HeadTrainOptions = HeadTrainOptions()
    """The linear layer's training."""


class DistilRecipe(RecipeOptions):
    """The student learns from a frozen image-only teacher."""

    recipe: Literal["distil"] = "distil"
    """This recipe."""
    teacher: ImageTeacherOptions = ImageTeacherOptions()
    """The teacher."""
    loss: SoftTargetOptions = SoftTargetOptions()
    """How its targets are learnt."""


def check(options: DistilRecipe) -> None:
    """Refuse settings that cannot go together.

    Raises:
        ModelError: there is no such image encoder.
        OptionError: a setting cannot take effect.
    """
    teacher = options.teacher
    check_encoder(teacher.image_encoder, teacher.image_size)
    if teacher.head == "classifier":
        defaults = ImageTeacherOptions()
        for name in ("image_size", "train", "loss", "token_views", "token_budget_gb"):
            if getattr(teacher, name) != getattr(defaults, name):
                raise OptionError(f"teacher.{name} takes no effect with teacher.head = 'classifier': remove it.")


def run(stages: Stages, options: DistilRecipe) -> None:
    """Make the teacher, store its targets, train the student on them."""
    teacher, targets, width = _classifier(stages, options) if options.teacher.head == "classifier" else _linear(stages, options)
    student = learn(stages, targets, options.loss, representation_width=width)
    finish(stages, student, teachers={"teacher": teacher_logits(teacher)})


def _linear(stages: Stages, options: DistilRecipe) -> tuple[HeadTeacher, StoredTeacher, int | None]:
    encoder, tokens = encode_pictures(stages, options.teacher)
    parts = HeadParts(encoder, tokens, None, {"image encoder": stages.fingerprints["image encoder"]})
    settings, classes = HeadOptions(mode="linear"), len(stages.pictures.classes)
    head = build_head(
        settings,
        token_width=encoder.token_width,
        num_tokens=tokens.values.shape[2],
        text_width=0,
        num_classes=classes,
        seed=stages.part_seed("head"),
    )
    saved = SavedTeacher(image_encoder=encoder.name, image_size=encoder.image_size, num_classes=classes, head=settings)
    teacher = train_head(stages, head, parts, saved, options.teacher.train, options.teacher.loss)
    width = encoder.token_width if options.loss.with_representation else None
    return teacher, label_with_head(stages, head, parts, representation_width=width), width


def _classifier(stages: Stages, options: DistilRecipe) -> tuple[ClassifierTeacher, StoredTeacher, int | None]:
    name = options.teacher.image_encoder
    encoder = train_encoder(stages, options.teacher.supervised) if name == TRAIN else load_classifier(stages, name)
    teacher = ClassifierTeacher(encoder)
    width = encoder.feature_width if options.loss.with_representation else None
    fingerprint = {"teacher": weights_fingerprint(encoder)}
    return teacher, stages.label("targets", teacher, fingerprint=fingerprint, representation_width=width), width
