"""Networks that teach (trained here first, taken from a run, or pretrained), and the student that learns from them."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from picturebook.controls import ClassTargets, ShuffledTargets, TargetOptions, class_mean, matched_smoothing
from picturebook.data.loaders import MixedAfterwards
from picturebook.data.mixing import Partners
from picturebook.engine import TrainOptions
from picturebook.errors import ModelError, OptionError
from picturebook.evaluate import Model
from picturebook.losses import balanced_class_weights
from picturebook.models.artefact import load_student, save_student
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.models.sources import find_image_source
from picturebook.models.zero_shot import ZeroShotClassifier, load_zero_shot
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets, Supervised, SupervisedOptions
from picturebook.recipes.alignment import AlignedTo, AlignmentTextOptions, aligned_to
from picturebook.recipes.network_checks import refuse_other_classes
from picturebook.recipes.options import RecipeOptions, refuse_mixed
from picturebook.recipes.stages import Stages
from picturebook.runs import RunFolder
from picturebook.teachers import StoredTeacher, Teacher
from picturebook.types import UNLABELLED

TRAIN = "train"
"""Stands for: the student's architecture, trained first, in this run."""


def check_encoder(name: str, image_size: int | None) -> None:
    """Refuse a teacher's settings that cannot work before anything is done.

    Raises:
        ModelError: there is no such encoder.
        OptionError: the size cannot take effect.
    """
    if (Path(name) / "run.toml").is_file():
        RunFolder.open(Path(name))
    elif name != TRAIN:
        find_image_source(name)
    elif image_size is not None:
        raise OptionError(
            "teacher.image_size takes no effect with teacher.image_encoder = 'train': that encoder sees what the student sees."
        )


def check_mixing(options: RecipeOptions, loss: SoftTargetOptions) -> None:
    """Refuse mixed pictures where the loss is of one picture alone.

    Raises:
        OptionError: mixup or cutmix with dkd, or with a teacher that answers for whole views by what is no probability.
    """
    if loss.divergence == "dkd":
        refuse_mixed(options.views, "loss.divergence = 'dkd' sets the true class of one apart from the others")
    if options.answers_whole_views and loss.divergence == "cwtm":
        refuse_mixed(options.views, "loss.divergence = 'cwtm' goes by how sure the teacher is of one")
    if options.answers_whole_views and loss.with_representation:
        refuse_mixed(options.views, "loss.distilled needs the representation of one, which was seen whole")


def class_weights(stages: Stages, choice: Literal["none", "balanced"]) -> Tensor | None:
    """What `class_weights` of a loss says, by the labels of the training pictures: [K], or None for equal weights."""
    if choice == "none":
        return None
    labels = stages.pictures.labels[stages.train_rows]
    counts = np.bincount(labels[labels != UNLABELLED], minlength=len(stages.pictures.classes))
    return balanced_class_weights(torch.from_numpy(counts))


def train_encoder(
    stages: Stages, supervised: SupervisedOptions, *, part: str = "encoder", network: ImageEncoder | None = None
) -> ImageEncoder:
    """Train a network on the labelled rows, with weights, order and views of its own.

    Args:
        stages: the run's parts.
        supervised: its loss.
        part: its name, which its seed and its stage go by.
        network: what to train; by default the student's architecture.
    """
    encoder = stages.new_student(part) if network is None else network.to(stages.device)
    stages.train(
        part,
        Supervised(encoder, supervised, class_weights=class_weights(stages, supervised.class_weights)),
        rows=stages.labelled_rows,
        seed=stages.part_seed(part),
        validate=stages.validation_of(encoder),
    )
    if stages.accelerator.is_main_process:
        save_student(encoder, stages.folder.teacher / f"image_{part}", label_names=stages.pictures.classes)
    return encoder


def teacher_encoder(stages: Stages, name: str, *, image_size: int | None, supervised: SupervisedOptions) -> ImageEncoder:
    """The teacher's image encoder by name: "train", a timm name or package: name with pretrained weights, or a run folder."""
    if name == TRAIN:
        return train_encoder(stages, supervised)
    return create_image_encoder(
        name,
        num_classes=len(stages.pictures.classes),
        image_size=image_size or stages.options.student.image_size,
        pretrained=True,
    ).to(stages.device)


def load_classifier(stages: Stages, path: str) -> ImageEncoder:
    """A finished run's student, as it answers.

    Raises:
        ModelError: its classes are not this run's, in this order.
    """
    if not Path(path).is_dir():
        raise ModelError(f"This teacher needs to be 'train' or the folder of a finished run; there is no folder {path!r}.")
    encoder, classes = load_student(RunFolder.open(Path(path)).student)
    refuse_other_classes(path, classes, stages.pictures.classes)
    return encoder.to(stages.device)


def load_zero_shot_classifier(stages: Stages, path: str) -> ZeroShotClassifier:
    """What a finished run that learnt pictures with their texts classifies by words.

    Raises:
        ModelError: it has none, or its classes are not this run's, in this order.
    """
    classifier, classes = load_zero_shot(RunFolder.open(Path(path)).teacher)
    refuse_other_classes(path, classes, stages.pictures.classes)
    return classifier.to(stages.device)


def controlled(stages: Stages, targets: Teacher, options: TargetOptions, *, temperature: float) -> Teacher:
    """The targets, or the control of them that is asked for; an unlabelled picture's class is the teacher's own answer."""
    if options.control == "none":
        return targets
    assert isinstance(targets, StoredTeacher)
    targets = targets.at(temperature)
    ids, rows = stages.pictures.ids, stages.train_rows
    order = rows[np.argsort(ids[rows])]  # as the store has them
    labels = stages.pictures.labels[order].copy()
    unlabelled = labels == UNLABELLED
    if unlabelled.any():
        labels[unlabelled] = targets.store.rows(unlabelled).mean(axis=1).argmax(axis=1)
        stages.reporter.say(
            f"For the control, {int(unlabelled.sum())} pictures without a label are of the class that the teacher says."
        )
    if options.control == "within_class_shuffle":
        return ShuffledTargets(targets, ids[order], labels, seed=stages.options.seed)
    classes = len(stages.pictures.classes)
    if options.control == "class_mean":
        table = class_mean(targets.store, labels, classes, temperature=temperature)
    else:
        table = matched_smoothing(targets.store, classes, temperature=temperature)
    return ClassTargets(table, ids[order], labels)


def learn(
    stages: Stages,
    targets: Teacher,
    loss: SoftTargetOptions,
    *,
    representation_width: int | None,
    part: str = "student",
    text: AlignmentTextOptions | None = None,
) -> ImageEncoder:
    """Train a new student on a teacher's targets, on every training row, labelled or not, with words beside them or without."""
    student = stages.new_student(part)
    words = AlignedTo() if text is None else aligned_to(stages, text, student)
    projector = stages.new_projector(student, representation_width)
    objective = SoftTargets(
        student,
        targets.at(loss.temperature) if isinstance(targets, StoredTeacher) else targets,
        loss,
        projector=projector,
        texts=words.texts,
        text_projector=words.text_projector,
        class_weights=class_weights(stages, loss.class_weights),
    )
    maker, training = _mixed_afterwards(stages)
    stages.train(part, objective, rows=stages.train_rows, maker=maker, options=training, validate=stages.validation_of(student))
    return student


def _mixed_afterwards(stages: Stages) -> tuple[MixedAfterwards | None, TrainOptions | None]:
    """What mixes the views of a student whose teacher answers for whole ones, anew in each epoch; nothing where none mix."""
    options = stages.options
    if not (options.answers_whole_views and options.views.mixes):
        return None, None
    partners = Partners(stages.pictures.ids, stages.train_rows)
    maker = MixedAfterwards(stages.maker, options.views, partners, options.train.distinct_views)
    return maker, options.train.model_copy(update={"num_views": 0})


def teacher_logits(teacher: Teacher) -> Model:
    """A teacher as a Model."""
    return lambda batch: teacher(batch).logits
