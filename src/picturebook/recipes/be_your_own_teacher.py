"""Be Your Own Teacher (Zhang et al., 2019, arXiv:1905.08094): a network's deepest classifier teaches its shallow ones.

exits ← a bottleneck, pooling and a linear layer after each stage but the last
for each batch:   F_i, q_i ← map and answer of each classifier, the deepest is C
                  loss ← Σ_i (1 - a) H(y, q_i) + Σ_{i<C} a T² KL(q_C,T ‖ q_i,T) + Σ_{i<C} b ‖F_i - F_C‖²
student ← the backbone with the deepest classifier;   early exit ← the stages up to one, with its classifier
"""

from typing import Literal

from pydantic import Field

from picturebook.errors import OptionError
from picturebook.evaluate import Model
from picturebook.models.artefact import save_student
from picturebook.models.exits import build_exits, exit_encoders
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objectives.own_teacher import OwnTeacher, OwnTeacherOptions
from picturebook.recipes.encoders import class_weights, teacher_logits
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages
from picturebook.teachers import ClassifierTeacher, MeanTeacher


class OwnTeacherRecipe(RecipeOptions):
    """The student's deepest classifier teaches the ones after its earlier stages, while all of them learn."""

    recipe: Literal["be_your_own_teacher"] = "be_your_own_teacher"
    """This recipe."""
    loss: OwnTeacherOptions = OwnTeacherOptions()
    """What the exits learn from."""
    blocks: list[int] = Field(default_factory=list)
    """For a ViT, the numbers (from 1) of the blocks with an exit; by default those at a quarter, half and three quarters."""
    early_exit: int | None = Field(None, ge=1)
    """Number of the exit, from the shallowest, that is kept as a second, smaller model in the run's exit/."""


def run(stages: Stages, options: OwnTeacherRecipe) -> None:
    """Train the student with its exits on the labelled rows; every exit and the ensemble are evaluated beside it."""
    student = stages.new_student()
    exits = build_exits(student, blocks=options.blocks, seed=stages.part_seed("exits"))
    if (options.early_exit or 1) > len(exits):
        raise OptionError(
            f"early_exit = {options.early_exit}, but {student.name} has exits 1 to {len(exits)} before its last classifier, "
            "which is the student itself."
        )
    weights = class_weights(stages, options.loss.class_weights)
    objective = OwnTeacher(student, exits, options.loss, blocks=options.blocks, class_weights=weights)
    stages.train("student", objective, rows=stages.labelled_rows, validate=stages.validation_of(student))
    shallow = exit_encoders(student, exits, blocks=options.blocks)
    if options.early_exit is not None and stages.accelerator.is_main_process:
        kept = shallow[options.early_exit - 1]
        canvas_size = stages.options.data.canvas_size
        save_student(kept, stages.folder.exit, label_names=stages.pictures.classes, canvas_size=canvas_size)
    finish(stages, student, teachers=_models([*shallow, student]))


def _models(classifiers: list[ImageEncoder]) -> dict[str, Model]:
    """Each classifier and the mean of their probabilities; the last is the student, whose numbers stand under its own name."""
    teachers = [ClassifierTeacher(classifier) for classifier in classifiers]
    named = {f"exit {n} of {len(teachers)}": teacher_logits(teacher) for n, teacher in enumerate(teachers[:-1], start=1)}
    return named | {"ensemble of the exits": teacher_logits(MeanTeacher(teachers))}
