"""Words of the classes as further examples of pictures' words: what is said of a class teaches what words of it look like."""

from typing import Literal

import torch
from pydantic import Field

from picturebook.data.texts import TextOptions
from picturebook.errors import OptionError
from picturebook.models.heads import HeadOptions
from picturebook.objectives.image_text import ClassExamples
from picturebook.recipes.alignment import check_class_words, naming
from picturebook.recipes.stages import Stages
from picturebook.recipes.words import Words


class ClassTextOptions(TextOptions):
    """Words of the classes, of which each sentence teaches the head as a text whose class is known and whose picture is not."""

    source: Literal["classes", "descriptions", "none"] = "none"
    """Class names in a template, sentences about each class from a file, or no words."""
    weight: float = Field(0.5, gt=0.0)
    """Weight of their mean cross-entropy beside that of the labelled pictures."""


def check_class_text(text: ClassTextOptions, words: TextOptions, heads: list[HeadOptions]) -> None:
    """Refuse words that cannot be or have no use.

    Args:
        text: words of the classes.
        words: those of the pictures.
        heads: the teacher's.

    Raises:
        OptionError: settings without words, heads that answer no words by themselves, or words of another kind.
    """
    if text.source == "none":
        if text != ClassTextOptions():
            raise OptionError("class_text has settings but no words: say class_text.source, or remove them.")
        return
    if not any(head.answers_words for head in heads):
        blind = "" if words.kind == "label_blind" else f" and text.kind = 'label_blind', got {words.kind!r}"
        raise OptionError(
            "class_text teaches heads that answer words by themselves: need teacher.head.residual = true, head.mode = 'text' or "
            f"partner = 'text'{blind}."
        )
    if words.queries == "tokens":
        raise OptionError("class_text is encoded by the sentence: need text.queries = 'text' or 'sentences', got 'tokens'.")
    check_class_words(text, "class_text", "takes each sentence by itself, for its class")


def class_examples(stages: Stages, text: ClassTextOptions, *, text_encoder: str) -> ClassExamples | None:
    """The sentences of all classes, encoded as the pictures' words are; None without words."""
    if text.source == "none":
        return None
    by_sentence = text.model_copy(update={"queries": "sentences"})
    with naming("class_text"):
        words = Words(stages, by_sentence, HeadOptions(mode="bank"), text_encoder=text_encoder, name="class words")
    bank = words.bank_as_encoded
    assert bank is not None
    labels, places = torch.nonzero(bank.mask, as_tuple=True)
    return ClassExamples(bank.vectors[labels, places].to(stages.device), labels.to(stages.device), text.weight)
