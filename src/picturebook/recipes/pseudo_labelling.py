"""Pseudo-labels: what a teacher answers without noise, filtered, balanced and joined to the labelled pictures."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from picturebook.data.pseudo_labels import Kept, PseudoLabelOptions, cycled, keep
from picturebook.engine import first_process_values
from picturebook.errors import DataError
from picturebook.evaluate import row_logits, student_logits
from picturebook.models.image_encoders import ImageEncoder
from picturebook.recipes.stages import Stages
from picturebook.teachers import TableTeacher, one_hot_logits
from picturebook.types import UNLABELLED

Rows = Int64[np.ndarray, " _"]


@dataclass(frozen=True)
class PseudoLabelled:
    """What one student learns."""

    rows: Rows
    """Training rows, repeated as often as an epoch shows them."""
    teacher: TableTeacher
    """The labels, and the pseudo-labels of rows that have none."""
    counts: dict[str, Any]
    """What was kept, for people."""


def divided_rows(stages: Stages) -> tuple[Rows, Rows]:
    """Training rows with a label, and those without.

    Raises:
        DataError: there are none of either kind.
    """
    rows = stages.train_rows
    unlabelled = stages.pictures.labels[rows] == UNLABELLED
    if unlabelled.all() or not unlabelled.any():
        num = int(unlabelled.sum())
        raise DataError(
            f"{stages.options.recipe} needs training pictures with a label and others without: got {len(rows) - num} and {num}. "
            "Leave labels empty in the metadata, or set data.supervision.labelled_share below 1 with "
            "data.supervision.unlabelled = 'keep'."
        )
    return rows[~unlabelled], rows[unlabelled]


def pseudo_label(
    stages: Stages, network: ImageEncoder, options: PseudoLabelOptions, *, name: str, ratio: float
) -> PseudoLabelled:
    """Ask the network about the centre views of the unlabelled rows, and join what is kept of its answers to the labelled ones.

    An epoch holds `ratio` times as many pseudo-labelled places as labelled ones, and each kept picture and each labelled one at
    least once: of the kind that there is too little of, pictures are repeated.

    Raises:
        DataError: there are no such rows, or none passes the filter.
    """
    labelled, unlabelled = divided_rows(stages)
    pictures, seed = stages.pictures, stages.options.seed
    answers = _answers(stages, network, unlabelled, name)
    kept = keep(options, answers.softmax(dim=1).numpy(), pictures.ids[unlabelled], seed=seed)
    if not len(kept.places):
        raise DataError(
            f"{name}: for none of the {len(unlabelled)} pictures without a label has the teacher's likeliest class a probability "
            f"of {options.confidence:g} or more. Lower pseudo_labels.confidence, or train the teacher longer."
        )
    stages.reporter.say(
        f"{name}: of {len(unlabelled)} pictures without a label the teacher is sure of {kept.sure.sum()}, "
        f"which are of {np.count_nonzero(kept.sure)} of {len(pictures.classes)} classes."
    )
    rows = _epoch(labelled, unlabelled[kept.places], ratio=ratio, seed=seed)
    counts = _counts(kept, pictures.classes, name=name, asked=len(unlabelled))
    return PseudoLabelled(rows, _table(stages, labelled, unlabelled, answers, options), counts)


def _answers(stages: Stages, network: ImageEncoder, rows: Rows, name: str) -> torch.Tensor:
    model, size = student_logits(network.eval()), network.image_size
    with stages.timed(name), stages.reporter.stage(f"labelling {name}") as progress, stages.accelerator.autocast():
        logits = row_logits(model, stages.pictures, rows, image_size=size, device=stages.device, progress=progress)
    return first_process_values(logits, stages.device)


def _epoch(labelled: Rows, pseudo_labelled: Rows, *, ratio: float, seed: int) -> Rows:
    num_labelled = max(len(labelled), ceil(len(pseudo_labelled) / ratio))
    num_others = max(len(pseudo_labelled), round(ratio * num_labelled))
    return np.concatenate([cycled(labelled, num_labelled, seed=seed), cycled(pseudo_labelled, num_others, seed=seed + 1)])


def _table(stages: Stages, labelled: Rows, unlabelled: Rows, answers: torch.Tensor, options: PseudoLabelOptions) -> TableTeacher:
    num_classes = len(stages.pictures.classes)
    true = one_hot_logits(torch.from_numpy(stages.pictures.labels[labelled]), num_classes)
    said = one_hot_logits(answers.argmax(dim=1), num_classes) if options.kind == "hard" else answers
    return TableTeacher(stages.pictures.ids[np.concatenate([labelled, unlabelled])], torch.cat([true, said]))


def _counts(kept: Kept, classes: tuple[str, ...], *, name: str, asked: int) -> dict[str, Any]:
    return {
        "name": name,
        "asked": asked,
        "sure": int(kept.sure.sum()),
        "different": int(kept.different.sum()),
        "shown": len(kept.places),
        "sure of each class": dict(zip(classes, kept.sure.tolist(), strict=True)),
    }
