"""CoCa at toy size, for objective_cases.BUILDERS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from picturebook.data.paired_texts import PairedTexts, TextNoiseOptions, distinct_sentences
from picturebook.models.contrastive_captioner import CaptionerOptions, build_captioner
from picturebook.models.vocabulary import Vocabulary
from picturebook.objectives.coca import Coca, CocaLossOptions

TEXTS = [("red square", "a red one"), ("green square",), ("the blue square",)]
TOY = CaptionerOptions(width=16, num_heads=2, num_layers=2, caption_queries=3, length=6)


def coca(folder: Path, **settings: Any) -> Any:
    from objective_cases import LABELS, Built, batch, encoder  # which has this file's cases among its own

    texts = [TEXTS[label] for label in LABELS.tolist()]
    sentences = distinct_sentences(texts)
    vocabulary = Vocabulary.build(sentences, 100)
    words = vocabulary.encode(sentences, TOY.length)
    paired = PairedTexts(batch().ids.numpy(), texts, words, seed=0, noise=TextNoiseOptions())
    model = build_captioner(encoder(1), TOY, vocabulary_size=len(vocabulary), seed=2)
    objective = Coca(model, paired, CocaLossOptions.model_validate(settings), words_per_caption=3.5)
    return Built(objective, {"model", "log_scale"}, within_a_batch=frozenset({"contrast"}))


COCA_BUILDERS: dict[str, Callable[[Path], Any]] = {"coca": coca}
