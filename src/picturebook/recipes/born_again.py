"""Born-again networks (Furlanello et al., 2018, arXiv:1805.04770): each generation learns from the one before.

teacher ← train(labels)
for generation 1 … G:   student ← new weights, train(H(p of the generation before, q));   teacher ← student
ensemble ← mean of the generations' probabilities
"""

from typing import Literal

from pydantic import Field

from picturebook.errors import OptionError
from picturebook.evaluate import Model
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.objectives.soft_targets import SoftTargetOptions, SupervisedOptions
from picturebook.recipes.encoders import TRAIN, check_mixing, learn, load_classifier, teacher_logits, train_encoder
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.outcome import finish
from picturebook.recipes.stages import Stages
from picturebook.teachers import ClassifierTeacher, MeanTeacher


class GenerationZeroOptions(SupervisedOptions):
    """The first teacher."""

    run: str = TRAIN
    """"train" to train it here, or the folder of a finished run with the same classes."""


class BornAgainLossOptions(SoftTargetOptions):
    """The paper's loss by default: the teacher's distribution at T = 1, and no label."""

    temperature: float = Field(1.0, gt=0.0)
    """T of the softened teacher and student."""
    label_weight: float = Field(0.0, ge=0.0, le=1.0)
    """Weight of the cross-entropy with the true labels; 0.5 is the paper's BAN+L."""


class BornAgainRecipe(RecipeOptions):
    """The student learns from a trained network of its own architecture, and so on for some generations."""

    recipe: Literal["born_again"] = "born_again"
    """This recipe."""
    generations: int = Field(1, ge=1, le=10)
    """Students in a row; the last is the run's student."""
    teacher: GenerationZeroOptions = GenerationZeroOptions()
    """The first teacher."""
    loss: BornAgainLossOptions = BornAgainLossOptions()
    """How each generation learns from the one before."""


def check(options: BornAgainRecipe) -> None:
    """Refuse settings that cannot take effect.

    Raises:
        OptionError: words are given a weight, and this recipe reads none; or dkd is to learn from mixed pictures.
    """
    check_mixing(options, options.loss)
    if options.loss.alignment.is_on or options.teacher.alignment.is_on:
        raise OptionError("born_again reads no words: set alignment.weight = 0, or take recipe = 'distil' with alignment_text.")


def run(stages: Stages, options: BornAgainRecipe) -> None:
    """Train the generations; the teacher, every generation and their ensembles are evaluated beside the student."""
    options.loss.refuse_few_classes(len(stages.pictures.classes))
    teacher = options.teacher
    network = train_encoder(stages, teacher) if teacher.run == TRAIN else load_classifier(stages, teacher.run)
    generations = [network]
    for number in range(1, options.generations + 1):
        generations.append(_next_generation(stages, options, generations[-1], number))
    finish(stages, generations[-1], teachers=_models(generations))


def _next_generation(stages: Stages, options: BornAgainRecipe, network: ImageEncoder, number: int) -> ImageEncoder:
    width = network.feature_width if options.loss.with_representation else None
    targets = stages.label(
        f"targets-{number}",
        ClassifierTeacher(network),
        fingerprint={"teacher": weights_fingerprint(network)},
        representation_width=width,
    )
    # The last generation starts from the weights that the student of any other recipe would have under this seed.
    part = "student" if number == options.generations else f"generation-{number}"
    return learn(stages, targets, options.loss, representation_width=width, part=part)


def _models(generations: list[ImageEncoder]) -> dict[str, Model]:
    teachers = [ClassifierTeacher(network) for network in generations]
    named = {f"generation {number}": teacher_logits(teacher) for number, teacher in enumerate(teachers[:-1])}
    if len(teachers) > 2:
        named["ensemble of the generations without the first teacher"] = teacher_logits(MeanTeacher(teachers[1:]))
    return named | {"ensemble of the generations with the first teacher": teacher_logits(MeanTeacher(teachers))}
