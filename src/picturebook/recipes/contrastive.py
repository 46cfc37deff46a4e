"""What clip, align and siglip share: two towers, their training on pairs of pictures and texts, and what is asked of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from picturebook.data.paired_texts import PairedTexts, TextNoiseOptions, distinct_sentences
from picturebook.data.texts import TextOptions, class_texts
from picturebook.errors import OptionError, TextError
from picturebook.evaluate import evaluate_rows
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.models.text_encoders import load_text_encoder
from picturebook.models.text_towers import FrozenTextTower, TextTowerOptions, TrainedTextTower
from picturebook.models.vocabulary import Vocabulary
from picturebook.models.zero_shot import ZeroShotClassifier, class_vectors, save_zero_shot
from picturebook.objectives.contrastive import Contrastive, InfoNce, Sigmoid
from picturebook.recipes.outcome import finish
from picturebook.recipes.pairs import (
    ZERO_SHOT,
    PairsRecipe,
    check_pairs,
    check_share,
    find_pairs,
    vocabulary_notes,
    zero_shot_model,
)
from picturebook.recipes.probing import check_probe, finish_student, freeze_classifier, probe
from picturebook.recipes.stages import Stages
from picturebook.recipes.words import encoder_notes
from picturebook.stores.texts import encode_once
from picturebook.types import UNLABELLED


class ContrastiveRecipe(PairsRecipe):
    """A recipe that learns pictures and their texts in one space before it learns labels."""

    text_tower: TextTowerOptions = TextTowerOptions()
    """How texts become vectors."""
    embedding_width: int = Field(256, ge=2)
    """Width of the space that pictures and texts share."""


def check_contrastive(options: ContrastiveRecipe, noise: TextNoiseOptions | None = None) -> str | None:
    """Refuse settings that cannot go together; give the table's column that is read, or None.

    Raises:
        OptionError: there are no words, or a setting cannot take effect.
    """
    if noise is not None and noise.word_dropout and options.text_tower.kind == "frozen":
        raise OptionError(
            "noise.word_dropout takes effect with text_tower.kind = 'trained' only: the frozen one's vectors are stored."
        )
    return check_pairs(options)


@dataclass(frozen=True)
class Towers:
    """What is trained on pairs, and the pairs."""

    encoder: ImageEncoder
    image_projection: nn.Linear
    text_tower: nn.Module
    texts: PairedTexts
    rows: np.ndarray
    """Training rows that have a text."""
    class_inputs: Tensor
    """[K, templates, ...], what the text tower reads of the classes."""
    positive_share: float
    """Share of a batch's pairs that fit."""


@dataclass(frozen=True)
class _Reading:
    """A new text tower, and what it reads of sentences."""

    tower: Callable[[Tensor], nn.Module]
    read: Callable[[list[str]], Tensor]
    notes: list[str] = field(default_factory=list)


def new_towers(stages: Stages, options: ContrastiveRecipe, noise: TextNoiseOptions | None = None) -> Towers:
    """The pictures' texts and new towers; whatever cannot teach is refused here, before any training.

    Raises:
        TextError: a table without words, or texts that are all the same.
    """
    check_probe(stages, options.probe)
    rows, texts = find_pairs(stages, options)
    sentences = distinct_sentences(texts)
    classes = class_texts(TextOptions(template=options.zero_shot.templates), stages.pictures.classes).sentences
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stages.part_seed("text tower"))
        reading = (_frozen if options.text_tower.kind == "frozen" else _trained)(stages, options, sentences)
        inputs = reading.read(sentences)
        if len(torch.unique(inputs, dim=0)) < 2:
            raise TextError(
                f"All {len(rows)} texts are the same to the text tower, so no picture can be told from another by its text: "
                "look at the column or file that text names."
            )
        text_tower = reading.tower(inputs)
    for note in reading.notes:
        stages.reporter.say(note)
    paired = PairedTexts(stages.pictures.ids[rows], texts, inputs, seed=options.seed, noise=noise or TextNoiseOptions())
    share = check_share(stages, options, paired)
    class_inputs = reading.read([sentence for text in classes for sentence in text])
    encoder = freeze_classifier(stages.new_student())
    projection = stages.new_projector(encoder, options.embedding_width, part="image projection")
    assert projection is not None
    shape = (len(classes), len(options.zero_shot.templates), *class_inputs.shape[1:])
    return Towers(encoder, projection, text_tower, paired, rows, class_inputs.reshape(shape), share)


def contrast(stages: Stages, options: ContrastiveRecipe, towers: Towers, loss: InfoNce | Sigmoid) -> ZeroShotClassifier:
    """Train both towers on the pairs; the classifier by words that this gives, which is kept in the run's teacher folder."""
    objective = Contrastive(towers.encoder, towers.image_projection, towers.text_tower, loss, towers.texts)

    def validate() -> dict[str, float]:
        objective.eval()
        size, rows = options.student.image_size, stages.pictures.rows["val"]
        with stages.accelerator.autocast():
            model = zero_shot_model(_by_words(stages, towers, loss))
            result = evaluate_rows(model, stages.pictures, rows, image_size=size, device=stages.device)
        return {"val_accuracy": result.accuracy, "val_nll": result.nll}

    has_labels = (stages.pictures.labels[stages.pictures.rows["val"]] != UNLABELLED).any()
    stages.train("pretrain", objective, rows=towers.rows, options=options.pretrain, validate=validate if has_labels else None)
    classifier = _by_words(stages, towers, loss)
    stages.fingerprints["zero-shot classifier"] = weights_fingerprint(classifier)
    if stages.accelerator.is_main_process:
        save_zero_shot(classifier, stages.folder.teacher, classes=stages.pictures.classes)
    return classifier


def finish_contrastive(stages: Stages, options: ContrastiveRecipe, classifier: ZeroShotClassifier) -> None:
    """The student from the pretrained encoder, with k-NN, linear probe and zero-shot beside it."""
    models = {ZERO_SHOT: zero_shot_model(classifier)} | probe(stages, classifier.encoder, options.probe)
    finish(stages, finish_student(stages, classifier.encoder, options.probe), teachers=models)


@torch.no_grad()
def _by_words(stages: Stages, towers: Towers, loss: InfoNce | Sigmoid) -> ZeroShotClassifier:
    vectors = class_vectors(towers.text_tower.eval(), towers.class_inputs.to(stages.device))
    return ZeroShotClassifier(towers.encoder, towers.image_projection, vectors, float(loss.log_scale.exp())).eval()


def _frozen(stages: Stages, options: ContrastiveRecipe, sentences: list[str]) -> _Reading:
    tower = options.text_tower
    encoder = load_text_encoder(tower.text_encoder)
    stages.fingerprints["text encoder"] = encoder.fingerprint
    cut, unread = encoder.truncated(sentences), encoder.unread(sentences)

    def read(some: list[str]) -> Tensor:
        of_pictures = some is sentences and options.text.source == "column"
        with stages.encoding_words(len(some), of_pictures=of_pictures) as progress:
            return encode_once(encoder, some, cache=stages.cache, progress=progress)

    def new(vectors: Tensor) -> nn.Module:
        return FrozenTextTower(vectors, embedding_width=options.embedding_width, projection=tower.projection)

    return _Reading(new, read, encoder_notes(encoder, len(sentences), cut=cut, unread=unread))


def _trained(stages: Stages, options: ContrastiveRecipe, sentences: list[str]) -> _Reading:
    tower, classes = options.text_tower, stages.pictures.classes
    vocabulary = Vocabulary.build(sentences, tower.max_words)

    def new(ids: Tensor) -> nn.Module:
        return TrainedTextTower(len(vocabulary), tower.length, tower, embedding_width=options.embedding_width)

    notes = vocabulary_notes(vocabulary, sentences, classes, length=tower.length, part="text_tower")
    return _Reading(new, lambda some: vocabulary.encode(some, tower.length), notes)
