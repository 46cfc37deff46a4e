"""CoCa (Yu et al., 2022, arXiv:2205.01917): pictures and texts in one space, and the texts written out from the pictures.

Z = image_encoder(views)     u = pooler of 1 query(Z)     C = pooler of n queries(Z)
h, v ← first half of the decoder(words, class token): no image, no later word     logits ← second half(h, C)
L ← 1 · InfoNCE(u, v; scale learnt, equal texts are positives) + 2 · Σ_t -log p(word_t | words before t, C)
zero-shot: logits ← s u·mean of v(templates of a class)     captions ← the likeliest next word at a time
then labels: fine-tuning, or a linear probe
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from picturebook.data.paired_texts import PairedTexts, TextNoiseOptions, distinct_sentences
from picturebook.data.texts import TextOptions, class_texts
from picturebook.errors import TextError
from picturebook.evaluate import evaluate_rows
from picturebook.models.contrastive_captioner import CaptionerOptions, build_captioner
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.vocabulary import PAD, Vocabulary
from picturebook.models.zero_shot import ZeroShotClassifier, class_vectors, save_zero_shot
from picturebook.objectives.coca import Coca, CocaLossOptions
from picturebook.recipes.captioning import CaptionOptions, caption_held_out
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
from picturebook.recipes.probing import check_probe, finish_student, probe
from picturebook.recipes.stages import Stages
from picturebook.types import UNLABELLED


class CocaRecipe(PairsRecipe):
    """The student's encoder learns to match pictures with their texts and to write these first, then from labels."""

    recipe: Literal["coca"] = "coca"
    """This recipe."""
    captioner: CaptionerOptions = CaptionerOptions()
    """Poolers and text decoder."""
    loss: CocaLossOptions = CocaLossOptions()
    """How much contrast and captions count."""
    captions: CaptionOptions = CaptionOptions()
    """The look at captions of held-out pictures."""


def check(options: CocaRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None."""
    return check_pairs(options)


def run(stages: Stages, options: CocaRecipe) -> None:
    """Train on pairs, classify by words, caption held-out pictures, finish the student on labels."""
    check_probe(stages, options.probe)
    pairs = _pairs(stages, options)
    seed = stages.part_seed("captioner")
    model = build_captioner(stages.new_student(), options.captioner, vocabulary_size=len(pairs.vocabulary), seed=seed)
    objective = Coca(model, pairs.texts, options.loss, words_per_caption=pairs.words_per_caption)
    _pretrain(stages, options, objective, pairs)
    classifier = _by_words(stages, options, objective, pairs.vocabulary)
    stages.fingerprints["zero-shot classifier"] = weights_fingerprint(classifier)
    if stages.accelerator.is_main_process:
        save_zero_shot(classifier, stages.folder.teacher, classes=stages.pictures.classes)
        pairs.vocabulary.save(stages.folder.teacher / "vocabulary.json")
    captions = caption_held_out(
        stages, model.eval().caption, pairs.vocabulary, options.captions, text=options.text, training_texts=pairs.sentences
    )
    models = {ZERO_SHOT: zero_shot_model(classifier)} | probe(stages, model.encoder, options.probe)
    student = finish_student(stages, model.encoder, options.probe)
    finish(stages, student, teachers=models, measured={"captions": captions})


@dataclass(frozen=True)
class _Pairs:
    """What the training shows."""

    rows: np.ndarray
    """Training rows that have a text."""
    sentences: list[tuple[str, ...]]
    """Their texts."""
    texts: PairedTexts
    """The same as numbers of words."""
    vocabulary: Vocabulary
    words_per_caption: float


def _pairs(stages: Stages, options: CocaRecipe) -> _Pairs:
    """The pictures' texts in numbers; what cannot teach is refused here, before any training.

    Raises:
        TextError: a table without words, or texts that are all the same.
    """
    rows, texts = find_pairs(stages, options)
    sentences, length = distinct_sentences(texts), options.captioner.length
    vocabulary = Vocabulary.build(sentences, options.captioner.max_words)
    words = vocabulary.encode(sentences, length)
    if len(torch.unique(words, dim=0)) < 2:
        raise TextError(
            f"All {len(rows)} texts are the same to the decoder, so no picture can be told from another by its text: "
            "look at the column or file that text names."
        )
    for note in vocabulary_notes(vocabulary, sentences, stages.pictures.classes, length=length, part="captioner"):
        stages.reporter.say(note)
    paired = PairedTexts(stages.pictures.ids[rows], texts, words, seed=options.seed, noise=TextNoiseOptions())
    check_share(stages, options, paired)
    num_words = dict(zip(sentences, ((words != PAD).sum(dim=1) - 1).tolist(), strict=True))  # START is given, not written
    mean = float(np.mean([np.mean([num_words[sentence] for sentence in text]) for text in texts]))
    return _Pairs(rows, texts, paired, vocabulary, mean)


def _pretrain(stages: Stages, options: CocaRecipe, objective: Coca, pairs: _Pairs) -> None:
    held_out = stages.pictures.rows["val"]

    def validate() -> dict[str, float]:
        objective.eval()
        size, model = options.student.image_size, zero_shot_model(_by_words(stages, options, objective, pairs.vocabulary))
        with stages.accelerator.autocast():
            result = evaluate_rows(model, stages.pictures, held_out, image_size=size, device=stages.device)
        return {"val_accuracy": result.accuracy, "val_nll": result.nll}

    labelled = (stages.pictures.labels[held_out] != UNLABELLED).any()
    validation = validate if labelled else None
    stages.train("pretrain", objective, rows=pairs.rows, options=options.pretrain, validate=validation)


@torch.no_grad()
def _by_words(stages: Stages, options: CocaRecipe, objective: Coca, vocabulary: Vocabulary) -> ZeroShotClassifier:
    model, templates = objective.model.eval(), options.zero_shot.templates
    named = class_texts(TextOptions(template=templates), stages.pictures.classes).sentences
    words = vocabulary.encode([sentence for text in named for sentence in text], options.captioner.length).to(stages.device)
    vectors = class_vectors(model.decoder.embed, words.reshape(len(named), len(templates), -1))
    return ZeroShotClassifier(model.encoder, model.contrastive_pooler, vectors, float(objective.log_scale.exp())).eval()
