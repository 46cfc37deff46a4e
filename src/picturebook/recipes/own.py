"""An objective of the user's own: the student, what teaches it, one training.

student ← new weights      objective ← build(student)      train(objective, the labelled rows)
"""

from collections.abc import Callable
from typing import Literal

from picturebook.errors import OptionError
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objective import Objective
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages

NAME = "own"
Build = Callable[[ImageEncoder], Objective]
"""The student → the objective that holds and trains it."""


class OwnRecipe(RecipeOptions):
    """The student learns by an objective that was written in Python. No settings file can name it."""

    recipe: Literal["own"] = "own"
    """This recipe."""
    objective: str
    """What the objective is called in Python; a run is gone on with by the same name only."""


def run(stages: Stages, options: OwnRecipe, *, build: Build) -> None:
    """Train the student by what `build` makes of it.

    Raises:
        OptionError: that is no Objective, or not all of what the student learns is in it.
    """
    student = stages.new_student()
    objective = build(student)
    if not isinstance(objective, Objective):
        raise OptionError(f"{options.objective} gave {type(objective).__name__}, expected a picturebook.Objective.")
    held = {id(parameter) for parameter in objective.parameters()}
    if not {id(parameter) for parameter in student.parameters()} <= held:
        raise OptionError(
            f"{options.objective} does not hold the student that it was given, which would not be trained: "
            "say self.student = student in its __init__, after super().__init__()."
        )
    stages.train("student", objective, rows=stages.labelled_rows, validate=stages.validation_of(student))
    finish(stages, student)
