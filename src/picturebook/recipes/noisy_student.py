"""Noisy Student (Xie et al., 2020, arXiv:1911.04252): a student learns under noise what its teacher answered without.

teacher ← train(labels), under noise
for iteration 1 … I:
    pseudo-labels ← teacher(centre views of the unlabelled pictures), no noise
    kept          ← those that it is sure of, balanced over the classes
    student       ← new weights, train(labels and kept pseudo-labels), under noise;   teacher ← student
noise: RandAugment on the views, dropout, stochastic depth
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from picturebook.data.pseudo_labels import PseudoLabelOptions
from picturebook.data.views import ViewOptions
from picturebook.errors import OptionError
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets, SupervisedOptions
from picturebook.recipes.encoders import TRAIN, load_classifier, teacher_logits, train_encoder
from picturebook.recipes.network_checks import note_larger_teacher, refuse_wrong_gradients
from picturebook.recipes.options import RecipeOptions, StudentOptions, refuse_mixed
from picturebook.recipes.outcome import finish
from picturebook.recipes.pseudo_labelling import PseudoLabelled, divided_rows, pseudo_label
from picturebook.recipes.stages import Stages
from picturebook.teachers import ClassifierTeacher
from picturebook.writing import write_json

_CROSS_ENTROPY = SoftTargetOptions(temperature=1.0, label_weight=0.0)
"""KL at T = 1, whose gradient is that of the cross-entropy; true labels come as targets that are all on one class."""
_ARGUMENTS = {"dropout": "drop_rate", "stochastic_depth": "drop_path_rate"}


class NoisyViewOptions(ViewOptions):
    """Views of both teacher and student while they learn; pseudo-labels are of centre views."""

    randaugment: int = Field(2, ge=0, le=4)
    """RandAugment's operations a view, drawn from 14 (arXiv:1909.13719); 0 is off."""
    randaugment_magnitude: float = Field(0.3, ge=0, le=1)
    """How strong they are, as a share of the greatest; the source has .9 for its large networks, where RandAugment's has .3."""


class NoisyStudentOptions(StudentOptions):
    """The classifier that is wanted, and what its training leaves out at random."""

    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the features that are left out before the last layer: model_args.drop_rate; 0 for models that have none."""
    stochastic_depth: float = Field(0.2, ge=0, lt=1)
    """Share of the pictures that skip the last block, less skip earlier ones: model_args.drop_path_rate; 0 for models without."""

    @model_validator(mode="before")
    @classmethod
    def _noise_is_the_models(cls, settings: Any) -> Any:
        if not isinstance(settings, dict) or not isinstance(settings.get("model_args", {}), dict):
            return settings
        arguments = dict(settings.get("model_args", {}))
        for name, argument in _ARGUMENTS.items():
            value = settings.get(name, cls.model_fields[name].default)
            if arguments.get(argument, value) != value:
                raise ValueError(
                    f"{name} = {value} and model_args.{argument} = {arguments[argument]} differ: leave the latter out"
                )
            if value:
                arguments[argument] = value
        return settings | {"model_args": arguments}


class FirstTeacherOptions(SupervisedOptions):
    """The first teacher."""

    run: str = TRAIN
    """"train" to train it here on the labelled pictures, or the folder of a finished run with the same classes."""
    model: str | None = None
    """A smaller network than the student, by timm name; by default the student's own architecture."""
    model_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of `model`. drop_rate and drop_path_rate are the student's unless they are here; 0 for models without."""


class NoisyStudentRecipe(RecipeOptions):
    """The student learns under noise from labels and from what its teacher says of pictures without one."""

    recipe: Literal["noisy_student"] = "noisy_student"
    """This recipe."""
    views: NoisyViewOptions = NoisyViewOptions()
    """How pictures are varied for training."""
    student: NoisyStudentOptions = NoisyStudentOptions()
    """The classifier that is wanted."""
    teacher: FirstTeacherOptions = FirstTeacherOptions()
    """The first teacher."""
    pseudo_labels: PseudoLabelOptions = PseudoLabelOptions()
    """What is learnt of a teacher's answers."""
    unlabelled_ratio: float = Field(1.0, gt=0.0)
    """Pseudo-labelled pictures for each labelled one; the source has 1 for its smallest network, 3 for larger, 5 on SVHN."""
    iterations: int = Field(1, ge=1, le=10)
    """Students in a row, each the teacher of the next; the last is the run's. The source has 3."""


def check(options: NoisyStudentRecipe) -> None:
    """Refuse settings that cannot go together.

    Raises:
        OptionError: no picture can be without a label, a setting cannot take effect, or pictures are mixed.
    """
    teacher = options.teacher
    if options.data.supervision.unlabelled == "drop":
        raise OptionError("noisy_student learns from pictures without a label: need data.supervision.unlabelled = 'keep'.")
    if teacher.alignment.is_on:
        raise OptionError("noisy_student reads no words: set teacher.alignment.weight = 0.")
    if teacher.model is None and teacher.model_args:
        raise OptionError("teacher.model_args are of teacher.model: name that too, or remove them.")
    if teacher.run != TRAIN and teacher != FirstTeacherOptions(run=teacher.run):
        raise OptionError(f"teacher.run = {teacher.run!r} is trained already: remove the other settings of [teacher].")
    refuse_mixed(options.views, "a pseudo-label is of one")


def run(stages: Stages, options: NoisyStudentRecipe) -> None:
    """Train the first teacher and the students in a row; each is evaluated beside the last."""
    divided_rows(stages)
    networks, counts = [_first_teacher(stages, options.teacher, options.student)], []
    for note in note_larger_teacher(networks[0], stages.new_student()):
        stages.reporter.say(note)
    for number in range(1, options.iterations + 1):
        name = f"pseudo-labels-{number}"
        labelled = pseudo_label(stages, networks[-1], options.pseudo_labels, name=name, ratio=options.unlabelled_ratio)
        counts.append(labelled.counts)
        networks.append(_noisy_student(stages, labelled, "student" if number == options.iterations else f"iteration-{number}"))
    if stages.accelerator.is_main_process:
        write_json(stages.folder.teacher / "pseudo_labels.json", counts)
    teachers = {f"iteration {number}": teacher_logits(ClassifierTeacher(net)) for number, net in enumerate(networks[:-1])}
    finish(stages, networks[-1], teachers=teachers)


def _first_teacher(stages: Stages, teacher: FirstTeacherOptions, student: NoisyStudentOptions) -> ImageEncoder:
    if teacher.run != TRAIN:
        return load_classifier(stages, teacher.run)
    if teacher.model is None:
        return train_encoder(stages, teacher)
    args = {name: value for name, value in student.model_args.items() if name in _ARGUMENTS.values()} | teacher.model_args
    args = {name: value for name, value in args.items() if value or name not in _ARGUMENTS.values()}
    num_classes, size, seed = len(stages.pictures.classes), student.image_size, stages.part_seed("encoder")
    network = create_image_encoder(teacher.model, num_classes=num_classes, image_size=size, model_args=args, seed=seed)
    refuse_wrong_gradients(network, stages.accelerator)
    return train_encoder(stages, teacher, network=network)


def _noisy_student(stages: Stages, labelled: PseudoLabelled, part: str) -> ImageEncoder:
    student = stages.new_student(part)
    objective = SoftTargets(student, labelled.teacher, _CROSS_ENTROPY, projector=None)
    stages.train(part, objective, rows=labelled.rows, validate=stages.validation_of(student))
    return student
