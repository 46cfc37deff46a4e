"""The main job: self-distillation from an image-text teacher.

V ← frozen image encoder(view)      T ← frozen language model(words)
o ← cross-attention(query T, keys and values V)      p ← softmax(linear(o)), trained on the labels: the teacher
targets ← p of every training view                   student ← new weights, train(targets, labels), pictures alone
"""

from functools import partial
from typing import Literal

from pydantic import model_validator

from picturebook.controls import TargetOptions, check_targets
from picturebook.data.texts import TextOptions
from picturebook.errors import OptionError
from picturebook.models.saved_teacher import SavedTeacher, build_experts
from picturebook.objectives.soft_targets import SoftTargetOptions
from picturebook.recipes.alignment import AlignedRecipe, check_alignment
from picturebook.recipes.auditing import Claims, audit, refuse_label_privileged
from picturebook.recipes.class_examples import ClassTextOptions, check_class_text, class_examples
from picturebook.recipes.encoders import check_encoder, check_mixing, controlled, learn
from picturebook.recipes.head_teacher import (
    HeadParts,
    ImageTextTeacherOptions,
    TrainedHead,
    check_heads,
    check_held_out,
    evaluated_teacher,
    label_with_heads,
    train_heads,
)
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import encode_pictures
from picturebook.recipes.words import Words, check_words


class ImageTextRecipe(AlignedRecipe):
    """The student learns from a teacher that reads words beside the pictures."""

    recipe: Literal["image_text"] = "image_text"
    """This recipe."""
    text: TextOptions = TextOptions()
    """The words."""
    class_text: ClassTextOptions = ClassTextOptions()
    """What is said of the classes, beside pictures' own words."""
    teacher: ImageTextTeacherOptions = ImageTextTeacherOptions()
    """The teacher."""
    targets: TargetOptions = TargetOptions()
    """Controls of what its targets hold."""
    loss: SoftTargetOptions = SoftTargetOptions()
    """How its targets are learnt."""

    @model_validator(mode="after")
    def _label_blind_words_answer_too(self) -> "ImageTextRecipe":
        """Label-blind captions have a way to the answer where nothing else is said: class texts need it (docs/log.md)."""
        head = self.teacher.head
        if head.mode == "own" and self.text.kind == "label_blind" and "residual" not in head.model_fields_set:
            teacher = self.teacher.model_copy(update={"head": head.model_copy(update={"residual": True})})
            object.__setattr__(self, "teacher", teacher)  # options are frozen for those who read them
        return self

    @property
    def answers_whole_views(self) -> bool:
        """Heads are taught on tokens of whole views, and words are of one picture."""
        return True


def check(options: ImageTextRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None.

    Raises:
        ModelError: there is no such image encoder.
        OptionError: words and head do not go together.
    """
    teacher, text = options.teacher, options.text
    check_encoder(teacher.image_encoder, teacher.image_size)
    check_mixing(options, options.loss)
    check_targets(options.targets, with_representation=options.loss.with_representation)
    check_heads(teacher, with_representation=options.loss.with_representation)
    if teacher.partner == "none" and teacher.combination != "product":
        raise OptionError(f"teacher.combination = {teacher.combination!r} takes no effect without teacher.partner: remove it.")
    check_words(text, teacher.head, teacher.partner)
    check_class_text(options.class_text, text, teacher.heads)
    column = (text.column or options.data.columns.text) if text.source == "column" else None
    return check_alignment(options, options.loss.alignment, column=column)


def claims_of(options: ImageTextRecipe) -> Claims:
    """What the audit is told of words and targets."""
    return Claims(options.text.mask_class_words or options.text.masked, options.teacher.calibrate, options.loss.temperature)


def run(stages: Stages, options: ImageTextRecipe) -> None:
    """Train the heads, audit what they read, store their targets, train the student on them."""
    options.loss.refuse_few_classes(len(stages.pictures.classes))
    trained, parts, words = make_teacher(stages, options)
    teacher_name = words.teacher_name
    if words.kind != "none":
        found = audit(stages, trained, parts, words, claims_of(options))
        refuse_label_privileged(found, allowed=options.teacher.allow_label_privileged)
        teacher_name += f", {found.label}" if found.label else ""
    width = trained.representation_width if options.loss.with_representation else None
    targets = label_with_heads(stages, trained, parts, representation_width=width, shared=options.targets.shared)
    given = controlled(stages, targets, options.targets, temperature=options.loss.temperature)
    asked = evaluated_teacher(stages, trained, parts, options.teacher)
    student = learn(stages, given, options.loss, representation_width=width, text=options.alignment_text)
    finish(stages, student, teachers={teacher_name: asked})


def make_teacher(stages: Stages, options: ImageTextRecipe) -> tuple[TrainedHead, HeadParts, Words]:
    """Encode words and pictures and train the heads that join them."""
    teacher = options.teacher
    check_held_out(stages, teacher, audited=options.text.source != "none")
    examples = class_examples(stages, options.class_text, text_encoder=teacher.text_encoder)
    words = Words(stages, options.text, teacher.head, text_encoder=teacher.text_encoder)
    encoder, tokens = encode_pictures(stages, teacher)
    known = {"image encoder": stages.fingerprints["image encoder"], "words": words.fingerprint}
    parts = HeadParts(encoder, tokens, words.own, known, examples)
    saved = SavedTeacher(
        image_encoder=encoder.name,
        image_size=encoder.image_size,
        num_classes=len(stages.pictures.classes),
        text_encoder=teacher.text_encoder if words.fingerprint != "none" else None,
        text_width=words.width,
        heads=teacher.heads,
        combination=teacher.combination,
        folds=teacher.folds,
        class_queries=1 if words.bank is None else words.bank.vectors.shape[1],
    )
    make = partial(build_experts, saved, encoder, bank=words.bank, seed=stages.part_seed("head"))
    names = ("head", "partner")[: len(saved.heads)]
    return train_heads(stages, make, parts, teacher, saved=saved, names=names), parts, words
