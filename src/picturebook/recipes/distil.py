"""Distillation from an image-only teacher: any frozen image encoder, its answers stored, a new student (arXiv:1503.02531).

encoder ← trained here | pretrained | a run         head ← linear layer on its pooled tokens, trained | its own classifier
                                                    | what a run classifies by words (zero-shot)
                                                    or the mean of several classifiers' probabilities
targets ← head(encoder(view))                       student ← train(targets, labels)
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from picturebook.controls import TargetOptions, check_targets
from picturebook.errors import OptionError
from picturebook.evaluate import Model
from picturebook.models.heads import HeadOptions
from picturebook.models.saved_teacher import SavedTeacher, build_experts
from picturebook.objectives.soft_targets import SoftTargetOptions
from picturebook.recipes.alignment import AlignedRecipe, check_alignment
from picturebook.recipes.auditing import Claims
from picturebook.recipes.classifiers import (
    ClassifiersOptions,
    check_classifiers,
    check_zero_shot,
    refuse_classifiers,
    targets_of,
    teaching_classifiers,
)
from picturebook.recipes.encoders import check_encoder, check_mixing, controlled, learn
from picturebook.recipes.head_teacher import (
    HeadParts,
    check_heads,
    check_held_out,
    evaluated_teacher,
    label_with_heads,
    train_heads,
)
from picturebook.recipes.options import refuse_mixed
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import encode_pictures
from picturebook.teachers import Teacher


class ImageTeacherOptions(ClassifiersOptions):
    """The teacher: a frozen image encoder and what answers on top of it."""

    head: Literal["linear", "classifier", "zero_shot"] = "linear"
    """A linear layer trained on the encoder's pooled tokens, the encoder's own classifier ("train" or a run folder), or what a
    run of clip, align, siglip or coca classifies by words (its folder)."""


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

    @property
    def answers_whole_views(self) -> bool:
        """A linear head is taught on tokens of whole views."""
        return self.teacher.head == "linear"


def check(options: DistilRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None.

    Raises:
        ModelError: there is no such image encoder.
        OptionError: a setting cannot take effect.
    """
    teacher, with_representation = options.teacher, options.loss.with_representation
    check_encoder(teacher.image_encoder, teacher.image_size)
    check_targets(options.targets, with_representation=with_representation)
    check_mixing(options, options.loss)
    if teacher.head != "linear":
        if options.targets.control != "none":
            refuse_mixed(options.views, "targets.control goes by the class of one")
        check_classifiers(teacher, controlled=options.targets.control != "none", with_representation=with_representation)
        if teacher.live and options.targets.shared:
            raise OptionError("targets.shared keeps stored targets for other runs: need teacher.live = false.")
        if teacher.head == "zero_shot":
            check_zero_shot(teacher)
    else:
        refuse_classifiers(teacher)
    check_heads(teacher, with_representation=with_representation)
    return check_alignment(options, options.loss.alignment)


def claims_of(options: DistilRecipe) -> Claims:
    """What the audit is told of the targets."""
    return Claims(masked=False, calibrated=options.teacher.calibrate, temperature=options.loss.temperature)


@dataclass(frozen=True)
class _Taught:
    """What a teacher gives its student."""

    models: dict[str, Model]
    """For the results, by name."""
    targets: Teacher
    representation_width: int | None


def run(stages: Stages, options: DistilRecipe) -> None:
    """Make the teacher, store its targets, train the student on them."""
    options.loss.refuse_few_classes(len(stages.pictures.classes))
    taught = _by_head(stages, options) if options.teacher.head == "linear" else _by_classifiers(stages, options)
    given = controlled(stages, taught.targets, options.targets, temperature=options.loss.temperature)
    width = taught.representation_width
    student = learn(stages, given, options.loss, representation_width=width, text=options.alignment_text)
    finish(stages, student, teachers=taught.models)


def _by_head(stages: Stages, options: DistilRecipe) -> _Taught:
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
    targets = label_with_heads(stages, trained, parts, representation_width=width, shared=options.targets.shared)
    return _Taught({"teacher": evaluated_teacher(stages, trained, parts, options.teacher)}, targets, width)


def _by_classifiers(stages: Stages, options: DistilRecipe) -> _Taught:
    classifiers = teaching_classifiers(stages, options.teacher, by_words=options.teacher.head == "zero_shot")
    width = classifiers.networks[0].feature_width if options.loss.with_representation else None
    targets = targets_of(
        stages, classifiers, live=options.teacher.live, representation_width=width, shared=options.targets.shared
    )
    return _Taught(classifiers.models, targets, width)
