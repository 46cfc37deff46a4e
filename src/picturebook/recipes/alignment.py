"""Words beside the student's own training: its features are drawn to the vectors of its pictures' texts (TextTeacher)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from picturebook.data.text_table import TextTable
from picturebook.data.texts import TextOptions, check_texts, refuse_unaudited
from picturebook.errors import OptionError, TextError
from picturebook.models.heads import HeadOptions
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.text_encoders import whiten
from picturebook.objectives.alignment import AlignmentOptions
from picturebook.recipes.options import RecipeOptions, refuse_mixed
from picturebook.recipes.stages import Stages
from picturebook.recipes.words import Words
from picturebook.types import UNLABELLED, Batch, Queries


class AlignmentTextOptions(TextOptions):
    """The words that the student's features are drawn to; they may know the label, as any loss on training pictures does."""

    source: Literal["classes", "descriptions", "column", "none"] = "none"
    """Class names in a template, sentences about each class from a file, a column of the table, or no words."""
    text_encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers name or folder, or package:all-MiniLM-L6-v2 for the weights that come by pip."""


class AlignedRecipe(RecipeOptions):
    """A recipe whose student may have words beside its targets or labels."""

    alignment_text: AlignmentTextOptions = AlignmentTextOptions()
    """Words for loss.alignment."""


@dataclass(frozen=True)
class AlignedTo:
    """What a student's objective is given of words."""

    texts: TextTable | None = None
    text_projector: nn.Linear | None = None


def check_alignment(options: AlignedRecipe, alignment: AlignmentOptions, *, column: str | None = None) -> str | None:
    """Refuse words that cannot be or have no use; give the table's column that is read, or None.

    Args:
        options: the recipe's.
        alignment: of the student's loss.
        column: what the teacher reads already, since a run reads one column.

    Raises:
        OptionError: words without weight, weight without words, two columns, or words beside mixed pictures.
    """
    text = options.alignment_text
    if (text.source != "none") != alignment.is_on:
        raise OptionError(
            "alignment_text.source and loss.alignment.weight belong together: "
            f"got source = {text.source!r} and weight = {alignment.weight:g}; set both, or neither."
        )
    if text.source == "none":
        return column
    refuse_mixed(options.views, "alignment_text has words of one")
    with naming("alignment_text"):
        check_texts(text, "own")
    refuse_unaudited(text, "alignment_text")
    if text.source in ("classes", "descriptions") and text.kind != "privileged":
        raise OptionError(
            f"alignment_text.source = {text.source!r} gives each picture the text of its label: say alignment_text.kind = "
            "'privileged'. That is no leak here: the student learns from the labels anyway, and reads nothing later."
        )
    if text.source != "column":
        return column
    wanted = text.column or options.data.columns.text
    if column is not None and column != wanted:
        raise OptionError(f"A run reads one column of words: text has {column!r}, alignment_text {wanted!r}. Take the same one.")
    return wanted


def aligned_to(stages: Stages, text: AlignmentTextOptions, student: ImageEncoder) -> AlignedTo:
    """The texts of every training picture, whitened, and a new projector from the student's features to their width."""
    if text.source == "none":
        return AlignedTo()
    with naming("alignment_text"):
        words = Words(stages, text, HeadOptions(mode="own"), text_encoder=text.text_encoder, name="alignment words")
    assert words.own is not None
    ids = torch.from_numpy(stages.pictures.ids[stages.train_rows])
    vectors = words.own.of(Batch(ids, torch.zeros_like(ids), torch.full_like(ids, UNLABELLED))).mean()
    # Whitened by the training texts alone: those of test pictures have no say in what is learnt.
    whitened = Queries(whiten(vectors)[:, None], torch.ones(len(ids), 1, dtype=torch.bool))
    projector = stages.new_projector(student, words.width, part="text projector")
    return AlignedTo(TextTable(ids.numpy(), whitened), projector)


def check_class_words(text: TextOptions, setting: str, what: str) -> None:
    """Refuse words that are not the classes', and what words of classes do not have.

    Args:
        text: the words.
        setting: where they stand.
        what: is done with them, for the sentence.

    Raises:
        OptionError: a way to ask or a kind, which belong to words of pictures, or words that are no bank.
    """
    if text.queries != "text" or text.kind != "unknown":
        raise OptionError(f"{setting} {what}: remove its queries and kind.")
    with naming(setting):
        check_texts(text, "bank")
    refuse_unaudited(text, setting)


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """What reads texts speaks of the teacher's, `text`; within the block its errors name `setting` instead."""
    try:
        yield
    except (OptionError, TextError) as error:
        raise type(error)(re.sub(r"(?<![\w.])text\.", f"{setting}.", str(error))) from error
