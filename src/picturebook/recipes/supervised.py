"""Labels alone: the baseline of everything else."""

from typing import Literal

from picturebook.objectives.soft_targets import Supervised, SupervisedOptions
from picturebook.recipes.alignment import AlignedRecipe, aligned_to, check_alignment
from picturebook.recipes.encoders import class_weights
from picturebook.recipes.likeness import SmoothingTextOptions, check_smoothing, likeness
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages


class SupervisedRecipe(AlignedRecipe):
    """The student learns from the labels."""

    recipe: Literal["supervised"] = "supervised"
    """This recipe."""
    loss: SupervisedOptions = SupervisedOptions()
    """Cross-entropy with the labels."""
    smoothing_text: SmoothingTextOptions = SmoothingTextOptions()
    """Words for loss.label_smoothing."""


def check(options: SupervisedRecipe) -> str | None:
    """Refuse words without use; give the table's column that is read, or None."""
    check_smoothing(options.smoothing_text, options.loss.label_smoothing)
    return check_alignment(options, options.loss.alignment)


def run(stages: Stages, options: SupervisedRecipe) -> None:
    """Train the student on the labelled rows."""
    student = stages.new_student()
    alike = likeness(stages, options.smoothing_text)
    words = aligned_to(stages, options.alignment_text, student)
    weights = class_weights(stages, options.loss.class_weights)
    objective = Supervised(
        student,
        options.loss,
        texts=words.texts,
        text_projector=words.text_projector,
        class_weights=weights,
        likeness=alike,
    )
    stages.train("student", objective, rows=stages.labelled_rows, validate=stages.validation_of(student))
    finish(stages, student)
