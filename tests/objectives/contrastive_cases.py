"""The contrast of pictures and texts at toy size, for objective_cases.BUILDERS."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from picturebook.data.paired_texts import PairedTexts, TextNoiseOptions, distinct_sentences
from picturebook.models.text_towers import FrozenTextTower, TextTowerOptions, TrainedTextTower
from picturebook.models.vocabulary import Vocabulary
from picturebook.objectives.contrastive import Contrastive, InfoNce, InfoNceOptions, Sigmoid, SigmoidOptions
from picturebook.recipes.probing import freeze_classifier

TEXTS = [("red square", "a red one"), ("green square",), ("blue square",)]
WIDTH = 8
FROZEN = TextTowerOptions(projection="mlp")
TRAINED = TextTowerOptions(kind="trained", width=16, depth=1, num_heads=2, length=6)
NO_NOISE = TextNoiseOptions()


def tower_and_inputs(options: TextTowerOptions, sentences: list[str]) -> tuple[nn.Module, Tensor]:
    """A new tower, and what it reads of the sentences."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if options.kind == "frozen":
            vectors = torch.randn(len(sentences), 6) + 4.0
            return FrozenTextTower(vectors, embedding_width=WIDTH, projection=options.projection), vectors
        vocabulary = Vocabulary.build(sentences, 100)
        tower = TrainedTextTower(len(vocabulary), options.length, options, embedding_width=WIDTH)
        return tower, vocabulary.encode(sentences, options.length)


def contrastive(
    folder: Path, loss: InfoNceOptions | SigmoidOptions, tower: TextTowerOptions = FROZEN, noise: TextNoiseOptions = NO_NOISE
) -> Any:
    from objective_cases import LABELS, Built, batch, encoder, linear  # which has this file's cases among its own

    texts = [TEXTS[label] for label in LABELS.tolist()]
    text_tower, inputs = tower_and_inputs(tower, distinct_sentences(texts))
    paired = PairedTexts(batch().ids.numpy(), texts, inputs, seed=0, noise=noise)
    if isinstance(loss, SigmoidOptions):
        contrast: InfoNce | Sigmoid = Sigmoid(loss, positive_share=paired.positive_share(len(LABELS)))
    else:
        contrast = InfoNce(loss)
    objective = Contrastive(freeze_classifier(encoder(1)), linear(WIDTH), text_tower, contrast, paired)
    return Built(objective, {"encoder", "image_projection", "text_tower", "contrast"}, within_a_batch=frozenset({"contrast"}))


CONTRASTIVE_BUILDERS: dict[str, Callable[[Path], Any]] = {
    "contrastive": partial(contrastive, loss=InfoNceOptions()),
    "contrastive/noisy": partial(
        contrastive,
        loss=InfoNceOptions(temperature=1.0, label_smoothing=0.1),
        tower=TRAINED,
        noise=TextNoiseOptions(swapped=0.1, word_dropout=0.2),
    ),
    "contrastive/sigmoid": partial(contrastive, loss=SigmoidOptions()),
}
