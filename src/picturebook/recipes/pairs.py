"""Pictures with texts of their own, as clip, align, siglip and coca learn them: what is read, refused and said of them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from picturebook.caching import short_hash
from picturebook.data.findings import quantity
from picturebook.data.paired_texts import PairedTexts, distinct_sentences
from picturebook.data.texts import TextOptions, check_texts, own_texts, refuse_unaudited
from picturebook.engine import TrainOptions
from picturebook.errors import OptionError, TextError
from picturebook.evaluate import Model
from picturebook.models.vocabulary import Vocabulary
from picturebook.models.zero_shot import ZeroShotClassifier
from picturebook.options import Options
from picturebook.recipes.options import RecipeOptions, refuse_mixed
from picturebook.recipes.probing import ProbeOptions
from picturebook.recipes.stages import Stages
from picturebook.types import UNLABELLED, Batch

ZERO_SHOT = "zero-shot"
"""Name of the classifier by words, as it stands in a run's results."""

_MANY_WASTED = 0.01
"""Share of batches that may hold one text alone, which teach nothing."""
_MANY_POSITIVES = 0.5
"""Share of a batch's pairs that fit from which there is little left to tell apart."""


class PairTextOptions(TextOptions):
    """The words that pictures are learnt with; class texts are the label, a column may be label-blind."""

    source: Literal["classes", "descriptions", "column", "none"] = "column"
    """A column of the table, class names in templates, or sentences about each class from a file; none is refused."""


class ZeroShotOptions(Options):
    """How classes are put in words for classification without a classifier."""

    templates: list[str] = Field(default_factory=lambda: ["a photo of a {}."], min_length=1)
    """Sentences with a class name; {} stands for the name. A class is the mean direction of its sentences."""

    @model_validator(mode="after")
    def _templates_have_a_place_for_the_name(self) -> "ZeroShotOptions":
        for template in self.templates:
            if "{}" not in template:
                raise ValueError(f"templates: need a {{}} where the class name stands, got {template!r}")
        return self


class PairsRecipe(RecipeOptions):
    """A recipe that learns pictures and their texts together before it learns labels."""

    text: PairTextOptions = PairTextOptions()
    """The pictures' own texts."""
    pretrain: TrainOptions = TrainOptions()
    """The training on pairs; [train] is that of the student on labels after it."""
    zero_shot: ZeroShotOptions = ZeroShotOptions()
    """Classification by words."""
    probe: ProbeOptions = ProbeOptions()
    """What is asked of the pretrained encoder, and what becomes of it."""


def check_pairs(options: PairsRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that is read, or None.

    Raises:
        OptionError: there are no words, or a setting cannot take effect.
    """
    text, name = options.text, options.recipe
    if text.source == "none":
        raise OptionError(f"{name} learns pictures with their texts: need text.source = 'column', 'classes' or 'descriptions'.")
    check_texts(text, "own")
    refuse_unaudited(text, "text")
    if text.source != "column" and text.kind != "privileged":
        raise OptionError(
            f"text.source = {text.source!r} gives each picture the text of its label: say text.kind = 'privileged'. "
            "Pretraining then learns from the labels; with text.source = 'column' it learns from the pictures' own words."
        )
    if text.control == "empty":
        raise OptionError("text.control = 'empty' leaves no texts that could be told apart: take 'other_row'.")
    if text.queries != "text":
        raise OptionError(f"text.queries = {text.queries!r} takes no effect in {name}, where a text is one vector: remove it.")
    if options.pretrain.accumulate > 1:
        raise OptionError(f"pretrain.accumulate: {name} tells the pictures of one batch apart, so a batch cannot go in parts.")
    refuse_mixed(options.views, f"{name} has no mix of their texts")
    return (text.column or options.data.columns.text) if text.source == "column" else None


def find_pairs(stages: Stages, options: PairsRecipe) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """The training rows that have a text, and their texts.

    Raises:
        TextError: there are none, or texts of classes are asked of pictures without a label.
    """
    pictures, rows = stages.pictures, stages.train_rows
    if options.text.source != "column" and (pictures.labels == UNLABELLED).any():
        raise TextError(
            f"{int((pictures.labels == UNLABELLED).sum())} pictures have no label, so no class text can be theirs: "
            "label them, or take text.source = 'column'."
        )
    found = own_texts(options.text, pictures, seed=options.seed)
    texts = [tuple(sentence for sentence in found.sentences[row] if sentence.strip()) for row in rows.tolist()]
    kept = np.array([bool(text) for text in texts])
    for note in found.notes:
        stages.reporter.say(note)
    if not kept.any():
        raise TextError(f"No training picture has a text, and {options.recipe} learns from these: fill the column of words.")
    if not kept.all():
        stages.reporter.say(f"{quantity(int((~kept).sum()), 'picture')} without a text left out of the training on pairs.")
    stages.words["words"] = {
        "source": options.text.source,
        "texts": int(kept.sum()),
        "sentences": len(distinct_sentences(texts)),
    }
    stages.fingerprints["words"] = short_hash("\n".join(map(str, texts)))
    return rows[kept], [text for text in texts if text]


def vocabulary_notes(
    vocabulary: Vocabulary, sentences: Sequence[str], classes: Sequence[str], *, length: int, part: str
) -> list[str]:
    """What a vocabulary loses of the training texts and of the class names, in sentences."""
    notes = []
    if cut := vocabulary.count_cut(sentences, length):
        notes.append(f"{quantity(cut, 'text')} longer than {part}.length = {length}: the rest is cut off.")
    if share := vocabulary.unknown_share(sentences):
        notes.append(f"{share:.1%} of the words are not among the {len(vocabulary):,} entries of {part}.max_words.")
    unknown = [name for name in classes if vocabulary.unknown_share([name.replace("_", " ")]) == 1.0]
    if unknown:
        notes.append(
            f"{quantity(len(unknown), 'class name')} of which no word is in the training texts ({', '.join(unknown[:5])}): "
            "zero-shot cannot tell these."
        )
    return notes


def check_share(stages: Stages, options: PairsRecipe, texts: PairedTexts) -> float:
    """The share of a batch's pairs that fit; says so where it leaves little to learn.

    Raises:
        TextError: too many batches would hold one text alone.
    """
    size = options.pretrain.batch_size
    if (wasted := texts.single_text_share(size)) > _MANY_WASTED:
        raise TextError(
            f"Of batches of {size}, {wasted:.0%} would hold one text alone ({quantity(len(texts), 'different text')} in all), "
            "and there no picture can be told from another: raise pretrain.batch_size, or take texts that differ more."
        )
    share = texts.positive_share(size)
    if share > _MANY_POSITIVES:
        stages.reporter.say(
            f"In a batch of {size}, {share:.0%} of the pairs of a picture and a text fit, since there are "
            f"only {quantity(len(texts), 'different text')}: there is little to tell apart."
        )
    return share


def zero_shot_model(classifier: ZeroShotClassifier) -> Model:
    """The classifier as a Model."""

    def model(batch: Batch) -> Tensor:
        assert batch.images is not None
        logits: Tensor = classifier(batch.images)
        return logits

    return model
