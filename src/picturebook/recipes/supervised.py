"""Labels alone: the baseline of everything else."""

from typing import Literal

from picturebook.objectives.soft_targets import Supervised, SupervisedOptions
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages


class SupervisedRecipe(RecipeOptions):
    """The student learns from the labels."""

    recipe: Literal["supervised"] = "supervised"
    """This recipe."""
    loss: SupervisedOptions = SupervisedOptions()
    """Cross-entropy with the labels."""


def run(stages: Stages, options: SupervisedRecipe) -> None:
    """Train the student on the labelled rows."""
    student = stages.new_student()
    stages.train("student", Supervised(student, options.loss), rows=stages.labelled_rows, validate=stages.validation_of(student))
    finish(stages, student)
