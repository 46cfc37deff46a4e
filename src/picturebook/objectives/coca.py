"""Pictures and their texts in one space, and the texts written out from the pictures: CoCa."""

from math import log

import torch
from pydantic import Field
from torch import nn

from picturebook.data.paired_texts import PairedTexts
from picturebook.losses import captioning, gather_columns, gather_positives, info_nce
from picturebook.models.contrastive_captioner import ContrastiveCaptioner
from picturebook.models.vocabulary import PAD
from picturebook.objective import Loss, Objective
from picturebook.options import Options
from picturebook.types import Batch

_LARGEST_SCALE = 100.0
"""Where the learnt scale of the cosine stops (arXiv:2103.00020, section 2.5)."""


class CocaLossOptions(Options):
    """How much each part counts."""

    contrastive_weight: float = Field(1.0, gt=0.0)
    """Weight of telling a picture's text from the others of the batch."""
    captioning_weight: float = Field(2.0, gt=0.0)
    """Weight of saying each text's next word."""
    temperature: float = Field(0.07, ge=1.0 / _LARGEST_SCALE)
    """What the learnt temperature of the contrast starts from; it stops at 0.01."""


class Coca(Objective):
    """a InfoNCE(image vectors, text vectors) + b captioning(logits, next words) (arXiv:2205.01917, section 3.1).

    A batch's equal texts are each other's positives, and its rows are told apart over all processes; a batch's captions
    count by a constant number of words, so that two processes add up to one.

    Args:
        model: encoder, poolers and decoder.
        texts: word numbers of every picture that it is trained on.
        options: the weights a, b and the first temperature.
        words_per_caption: mean number of words after START of the training texts.
    """

    def __init__(
        self, model: ContrastiveCaptioner, texts: PairedTexts, options: CocaLossOptions, *, words_per_caption: float
    ) -> None:
        super().__init__()
        self.model = model
        self.log_scale = nn.Parameter(torch.tensor(-log(options.temperature)))
        self._texts, self._options, self._words_per_caption = texts, options, words_per_caption

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        text_ids, words = self._texts.of(batch)
        images, texts, logits = self.model(batch.images, words)
        contrast = info_nce(
            images,
            texts,
            scale=self.log_scale.exp(),
            positives=gather_positives(text_ids),
            columns=gather_columns(images, texts),
        )
        caption = captioning(logits, words[:, 1:], pad=PAD, words_per_caption=self._words_per_caption)
        total = self._options.contrastive_weight * contrast + self._options.captioning_weight * caption
        terms = {"contrast": contrast, "captioning": caption, "scale": self.log_scale.exp()}
        return Loss(total, {name: value.detach() for name, value in terms.items()})

    def after_step(self, step: int, num_steps: int) -> None:
        """Keep the learnt scale in its range."""
        with torch.no_grad():
            self.log_scale.clamp_(max=log(_LARGEST_SCALE))
