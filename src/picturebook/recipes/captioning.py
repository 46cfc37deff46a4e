"""Held-out pictures captioned for a look, and whether the captions know their pictures."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from picturebook.data.loaders import evaluation_batches
from picturebook.data.texts import TextOptions, own_texts
from picturebook.evaluate import groups_of
from picturebook.models.vocabulary import Vocabulary, words_of
from picturebook.options import Options
from picturebook.permutation import permutation_test
from picturebook.recipes.stages import Stages
from picturebook.writing import write_atomically

Captioner = Callable[[Float[Tensor, "batch 3 height width"]], Int64[Tensor, "batch words"]]

_FUNCTION_WORDS = frozenset(
    words_of(
        "a about above after against all also am an and any are as at be been before behind below beneath beside between "
        "both but by can could did do does down each either for from had has have he her here hers him his how i if in "
        "inside into is it its itself just me more most my near neither no nor not of off on one onto or other our out "
        "outside over per she should so some such than that the their them then there these they this those through to "
        "too toward towards under up upon us very was we were what when where which while who whom whose why will with "
        "within without would you your"
    )
)
_TOO_COMMON = 0.5
"""Share of the training texts from which a word says nothing of a picture, such as those of a template."""


class CaptionOptions(Options):
    """The look at what captions say."""

    num_pictures: int = Field(256, ge=2, le=2000)
    """Held-out pictures that are captioned, one of each group, of the test split where its pictures have texts."""


def content_words(text: Sequence[str], common: frozenset[str]) -> frozenset[str]:
    """The words of a text's sentences without English function words and without `common` ones."""
    return frozenset(word for sentence in text for word in words_of(sentence)) - _FUNCTION_WORDS - common


def common_words(texts: Sequence[tuple[str, ...]]) -> frozenset[str]:
    """The words that more than half of the texts have."""
    counts = Counter(word for text in texts for word in {word for sentence in text for word in words_of(sentence)})
    return frozenset(word for word, count in counts.items() if count > _TOO_COMMON * len(texts))


def caption_held_out(
    stages: Stages,
    captioner: Captioner,
    vocabulary: Vocabulary,
    options: CaptionOptions,
    *,
    text: TextOptions,
    training_texts: Sequence[tuple[str, ...]],
) -> dict[str, Any]:
    """Caption held-out pictures into captions.jsonl, in the first process; how often a caption shares a word with the truth.

    Returns:
        "split", "pictures", "share_a_content_word" (of a picture's caption and its own text), "shuffled" (the same of
        another picture's caption, in the mean), "p" (one-sided, by permutation); empty where there is nothing to caption.
    """
    if not stages.accelerator.is_main_process:
        return {}
    # The truth is the picture's own text, whatever control took its place in training.
    texts = own_texts(text.model_copy(update={"control": "none"}), stages.pictures, seed=stages.options.seed).sentences
    common = common_words(training_texts)
    truths = {row: content_words(texts[row], common) for split in ("test", "val") for row in stages.pictures.rows[split].tolist()}
    split, rows = _held_out(stages, {row for row, words in truths.items() if words}, options.num_pictures)
    if len(rows) < 2:
        stages.reporter.say("Fewer than two held-out pictures have a text of content words: nothing is captioned.")
        return {}
    generated = _captions(stages, captioner, vocabulary, rows)
    lines = [
        {"file_name": stages.pictures.names[row], "text": " ".join(texts[row]), "generated": caption}
        for row, caption in zip(rows.tolist(), generated, strict=True)
    ]
    written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomically(stages.folder.captions, written.encode())
    said = [content_words((caption,), common) for caption in generated]
    fits = np.array([[not words.isdisjoint(truths[row]) for row in rows.tolist()] for words in said])
    test = permutation_test(fits, seed=stages.options.seed)
    stages.reporter.say(
        f"{test.observed:.1%} of {test.n} captions of {split} pictures share a content word with the picture's own text, "
        f"{test.shuffled:.1%} when shuffled (p = {test.p:.2g})."
    )
    shares = {"share_a_content_word": test.observed, "shuffled": test.shuffled, "p": test.p}
    return {"split": split, "pictures": test.n, **shares}


def _held_out(stages: Stages, usable: set[int], num: int) -> tuple[str, np.ndarray]:
    """The split and its rows that are captioned: one a group, in the order of their ids, which is no order of the pictures."""
    pictures = stages.pictures
    for split in ("test", "val"):
        rows = np.array([row for row in pictures.rows[split].tolist() if row in usable], dtype=np.int64)
        rows = rows[np.argsort(pictures.ids[rows])]
        if (groups := groups_of(pictures, rows)) is not None and len(rows):
            rows = rows[np.sort(np.unique(groups, return_index=True)[1])]
        if len(rows) >= 2:
            return split, rows[:num]
    return "", np.empty(0, dtype=np.int64)


@torch.no_grad()
def _captions(stages: Stages, captioner: Captioner, vocabulary: Vocabulary, rows: np.ndarray) -> list[str]:
    captions: list[str] = []
    with stages.timed("caption"), stages.reporter.stage("captioning pictures") as progress, stages.accelerator.autocast():
        size = stages.options.student.image_size
        for batch in evaluation_batches(stages.pictures, rows, image_size=size, device=stages.device):
            assert batch.images is not None
            captions += [vocabulary.decode(ids) for ids in captioner(batch.images).cpu()]
            progress(len(captions), len(rows))
    return captions
