"""Distillation from an image-only teacher: any frozen image encoder, its answers stored, a new student (arXiv:1503.02531).

encoder ← trained here | pretrained | a run         head ← linear layer on its pooled tokens, trained | its own classifier
targets ← head(encoder(view))                       student ← train(targets, labels)
"""

from functools import partial
from typing import Literal

from picturebook.controls import TargetOptions, check_targets
from picturebook.errors import OptionError
from picturebook.models.heads import HeadOptions
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.saved_teacher import SavedTeacher, build_experts
from picturebook.objectives.soft_targets import SoftTargetOptions
from picturebook.recipes.alignment import AlignedRecipe, check_alignment
from picturebook.recipes.auditing import Claims
from picturebook.recipes.encoders import (
    TRAIN,
    check_encoder,
    controlled,
    learn,
    load_classifier,
    teacher_logits,
    train_encoder,
)
from picturebook.recipes.head_teacher import (
    HeadParts,
    HeadTeacherOptions,
    check_heads,
    check_held_out,
    label_with_heads,
    live_teacher,
    train_heads,
)
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import encode_pictures
from picturebook.teachers import ClassifierTeacher, HeadTeacher, StoredTeacher


class ImageTeacherOptions(HeadTeacherOptions):
    """The teacher: a frozen image encoder and what answers on top of it."""

    head: Literal["linear", "classifier"] = "linear"
    """A linear layer trained on the encoder's pooled tokens, or the encoder's own classifier ("train" or a run folder)."""


class DistilRecipe(AlignedRecipe):
    """The student learns from a frozen image-only teacher."""

    recipe: Literal["distil"] = "distil"
    """This recipe."""
    teacher: ImageTeacherOptions = ImageTeacherOptions()
    """The teacher."""
    targets: TargetOptions = TargetOptions()
    """Controls of what its targets hold."""
    loss: SoftTargetOptions = SoftTargetOptions()
    """How its targets are learnt."""


def check(options: DistilRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None.

    Raises:
        ModelError: there is no such image encoder.
        OptionError: a setting cannot take effect.
    """
    teacher = options.teacher
    check_encoder(teacher.image_encoder, teacher.image_size)
    check_targets(options.targets, with_representation=options.loss.with_representation)
    if teacher.head == "classifier":
        defaults = ImageTeacherOptions()
        for name in ("image_size", "train", "loss", "token_views", "token_budget_gb", "folds", "calibrate"):
            if getattr(teacher, name) != getattr(defaults, name):
                raise OptionError(f"teacher.{name} takes no effect with teacher.head = 'classifier': remove it.")
    check_heads(teacher, with_representation=options.loss.with_representation)
    return check_alignment(options, options.loss.alignment)


def claims_of(options: DistilRecipe) -> Claims:
    """What the audit is told of the targets."""
    return Claims(masked=False, calibrated=options.teacher.calibrate, temperature=options.loss.temperature)


def run(stages: Stages, options: DistilRecipe) -> None:
    """Make the teacher, store its targets, train the student on them."""
    teacher, targets, width = _classifier(stages, options) if options.teacher.head == "classifier" else _linear(stages, options)
    given = controlled(stages, targets, options.targets, temperature=options.loss.temperature)
    student = learn(stages, given, options.loss, representation_width=width, text=options.alignment_text)
    finish(stages, student, teachers={"teacher": teacher_logits(teacher)})


def _linear(stages: Stages, options: DistilRecipe) -> tuple[HeadTeacher, StoredTeacher, int | None]:
    check_held_out(stages, options.teacher, audited=False)
    encoder, tokens = encode_pictures(stages, options.teacher)
    parts = HeadParts(encoder, tokens, None, {"image encoder": stages.fingerprints["image encoder"]})
    saved = SavedTeacher(
        image_encoder=encoder.name,
        image_size=encoder.image_size,
        num_classes=len(stages.pictures.classes),
        heads=[HeadOptions(mode="linear")],
        folds=options.teacher.folds,
    )
    make = partial(build_experts, saved, encoder, bank=None, seed=stages.part_seed("head"))
    trained = train_heads(stages, make, parts, options.teacher, saved=saved)
    width = encoder.token_width if options.loss.with_representation else None
    return live_teacher(trained, parts), label_with_heads(stages, trained, parts, representation_width=width), width


def _classifier(stages: Stages, options: DistilRecipe) -> tuple[ClassifierTeacher, StoredTeacher, int | None]:
    name = options.teacher.image_encoder
    encoder = train_encoder(stages, options.teacher.supervised) if name == TRAIN else load_classifier(stages, name)
    teacher = ClassifierTeacher(encoder)
    width = encoder.feature_width if options.loss.with_representation else None
    fingerprint = {"teacher": weights_fingerprint(encoder)}
    return teacher, stages.label("targets", teacher, fingerprint=fingerprint, representation_width=width), width
