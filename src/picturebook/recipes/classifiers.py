"""Classifiers that teach with what they answer: one, or several of whose probabilities the mean is taken; stored or live."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from picturebook.caching import short_hash
from picturebook.errors import OptionError
from picturebook.evaluate import Model
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.models.zero_shot import ZeroShotClassifier, load_zero_shot
from picturebook.recipes.encoders import TRAIN, load_classifier, load_zero_shot_classifier, teacher_logits, train_encoder
from picturebook.recipes.head_teacher import HeadTeacherOptions
from picturebook.recipes.stages import Stages
from picturebook.runs import RunFolder
from picturebook.teachers import ClassifierTeacher, MeanTeacher, Teacher

_OF_HEADS = ("image_size", "train", "loss", "token_views", "token_budget_gb", "folds", "calibrate")


class ClassifiersOptions(HeadTeacherOptions):
    """What a teacher's own classifier adds to the settings of heads."""

    members: int = Field(1, ge=1, le=20)
    """For head = "classifier": encoders trained here, each with a seed of its own; the mean of their probabilities teaches."""
    runs: list[str] = Field(default_factory=list)
    """For head = "classifier": folders of finished runs that teach together, in place of image_encoder."""
    live: bool = False
    """For head = "classifier": answer while the student learns and store nothing, where views are too many for the disk."""


@dataclass(frozen=True)
class Classifiers:
    """A teacher of one classifier or several."""

    teacher: ClassifierTeacher | MeanTeacher
    networks: list[ImageEncoder | ZeroShotClassifier]

    @property
    def models(self) -> dict[str, Model]:
        """The teacher and, where there are several, each of its members."""
        members = [teacher_logits(ClassifierTeacher(network)) for network in self.networks]
        named = {f"member {number}": model for number, model in enumerate(members, 1)} if len(members) > 1 else {}
        return {"teacher": teacher_logits(self.teacher), **named}


def check_classifiers(options: ClassifiersOptions, *, controlled: bool, with_representation: bool) -> None:
    """Refuse settings of classifiers that cannot go together.

    Raises:
        OptionError: settings of heads, two sources of networks, a representation of several, or a control of what is not stored.
        RunError: a run is missing or half written.
    """
    defaults = HeadTeacherOptions()
    for name in _OF_HEADS:
        if getattr(options, name) != getattr(defaults, name):
            raise OptionError(f"teacher.{name} takes no effect with teacher.head = 'classifier': remove it.")
    if options.members > 1 and (options.image_encoder != TRAIN or options.runs):
        raise OptionError("teacher.members are trained here: need teacher.image_encoder = 'train' and no teacher.runs.")
    if options.runs and (options.image_encoder != TRAIN or options.supervised != defaults.supervised):
        raise OptionError("teacher.runs teach in place of teacher.image_encoder and need no teacher.supervised: remove these.")
    if with_representation and max(options.members, len(options.runs)) > 1:
        raise OptionError("Several classifiers have representations with nothing in common: need loss.distilled = 'logits'.")
    if options.live and controlled:
        raise OptionError("targets.control reads stored targets: need teacher.live = false.")
    for run in options.runs:
        RunFolder.open(Path(run))


def refuse_classifiers(options: ClassifiersOptions) -> None:
    """Refuse settings of classifiers beside another head.

    Raises:
        OptionError: one is set.
    """
    for name in ("members", "runs", "live"):
        if getattr(options, name) != ClassifiersOptions.model_fields[name].get_default(call_default_factory=True):
            raise OptionError(f"teacher.{name} takes effect with teacher.head = 'classifier' alone: remove it.")


def check_zero_shot(options: ClassifiersOptions) -> None:
    """Refuse teachers that cannot classify by words.

    Raises:
        OptionError: no run is named.
        ModelError: a run keeps no zero-shot classifier.
        RunError: a run is missing or half written.
    """
    runs = options.runs or [options.image_encoder]
    if runs == [TRAIN]:
        raise OptionError(
            "teacher.head = 'zero_shot' classifies by the words that an earlier run learnt: need teacher.image_encoder = the "
            "folder of a finished run of clip, align, siglip or coca."
        )
    for run in runs:
        load_zero_shot(RunFolder.open(Path(run)).teacher)


def teaching_classifiers(stages: Stages, options: ClassifiersOptions, *, by_words: bool = False) -> Classifiers:
    """Train the members here, or take them from runs: their students, or what they classify by words.

    Raises:
        ModelError: a run's classes are not the data's.
    """
    runs = options.runs or ([] if options.image_encoder == TRAIN else [options.image_encoder])
    load = load_zero_shot_classifier if by_words else load_classifier
    networks: list[ImageEncoder | ZeroShotClassifier] = [load(stages, run) for run in runs]
    if not networks:
        # The first is the teacher that every other recipe would train under this seed.
        parts = ["encoder", *(f"encoder-{number}" for number in range(2, options.members + 1))]
        networks = [train_encoder(stages, options.supervised, part=part) for part in parts]
    teachers = [ClassifierTeacher(network) for network in networks]
    return Classifiers(teachers[0] if len(teachers) == 1 else MeanTeacher(teachers), networks)


def targets_of(
    stages: Stages, classifiers: Classifiers, *, live: bool, representation_width: int | None, shared: bool = False
) -> Teacher:
    """The classifiers' targets: themselves where they teach alive, else what they say of every training view, stored."""
    if live:
        return classifiers.teacher
    weights = [weights_fingerprint(network) for network in classifiers.networks]
    fingerprint = {"teacher": weights[0] if len(weights) == 1 else short_hash("\n".join(weights))}
    return stages.label(
        "targets", classifiers.teacher, fingerprint=fingerprint, representation_width=representation_width, shared=shared
    )
