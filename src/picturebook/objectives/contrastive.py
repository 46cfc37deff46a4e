"""Pictures and their texts in one space, both towers trained: CLIP and ALIGN (softmax), SigLIP (sigmoid)."""

from math import log

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from picturebook.data.paired_texts import PairedTexts
from picturebook.losses import gather_columns, gather_positives, info_nce, sigmoid_contrast
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objective import Loss, Objective
from picturebook.options import Options
from picturebook.types import Batch

LARGEST_SCALE = 100.0
"""Where the softmax's learnt scale stops (arXiv:2103.00020, section 2.5)."""

_Vectors = Float[Tensor, "batch width"]


class InfoNceOptions(Options):
    """Tell a picture's text from the others of the batch, and a text's picture."""

    temperature: float = Field(0.07, ge=1.0 / LARGEST_SCALE)
    """What the learnt temperature starts from; it stops at 0.01."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the target that is spread evenly over the batch."""


class SigmoidOptions(Options):
    """Ask of every picture and every text of the batch whether they belong together."""

    scale: float = Field(10.0, gt=0.0)
    """What the learnt scale of the cosine starts from."""
    bias: float | None = None
    """What the learnt bias starts from; by default the log odds with which a picture and a text of a batch belong together."""


class InfoNce(nn.Module):
    """Symmetric InfoNCE with a learnt scale, over the batch of all processes."""

    def __init__(self, options: InfoNceOptions) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-log(options.temperature)))
        self._label_smoothing = options.label_smoothing

    def forward(self, images: _Vectors, texts: _Vectors, text_ids: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
        return info_nce(
            images,
            texts,
            scale=self.log_scale.exp(),
            positives=gather_positives(text_ids),
            label_smoothing=self._label_smoothing,
            columns=gather_columns(images, texts),
        )

    def after_step(self) -> None:
        """Keep the scale in its range."""
        with torch.no_grad():
            self.log_scale.clamp_(max=log(LARGEST_SCALE))


class Sigmoid(nn.Module):
    """The sigmoid loss with a learnt scale and bias, over the batch of all processes.

    At first cosines are near 0, so that σ(b) is the answer to every pair. With b the log odds of the share of pairs that
    belong together, that answer is right on average, whatever the batch: for 32,768 different texts it is −10.4, and the
    source (arXiv:2303.15343, section 3.2) has −10; with −10 in a small batch the first steps only raise the bias.

    Args:
        options: where scale and bias start.
        positive_share: of a batch's pairs, in (0, 1).
    """

    def __init__(self, options: SigmoidOptions, *, positive_share: float) -> None:
        super().__init__()
        assert 0.0 < positive_share < 1.0
        bias = log(positive_share / (1.0 - positive_share)) if options.bias is None else options.bias
        self.log_scale = nn.Parameter(torch.tensor(log(options.scale)))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, images: _Vectors, texts: _Vectors, text_ids: Int64[Tensor, " batch"]) -> Float[Tensor, ""]:
        return sigmoid_contrast(
            images,
            texts,
            scale=self.log_scale.exp(),
            bias=self.bias,
            positives=gather_positives(text_ids),
            columns=gather_columns(images, texts),
        )

    def after_step(self) -> None:
        """Nothing: the source sets the scale no limit."""


class Contrastive(Objective):
    """The contrast of projected pooled features and projected texts.

    Args:
        encoder: whose pooled features are read; its classifier has no part in it and comes frozen.
        image_projection: from these to the shared space.
        text_tower: from what `texts` gives to the shared space.
        contrast: the loss.
        texts: of every picture that it is trained on.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        image_projection: nn.Linear,
        text_tower: nn.Module,
        contrast: InfoNce | Sigmoid,
        texts: PairedTexts,
    ) -> None:
        super().__init__()
        self.encoder, self.image_projection, self.text_tower, self.contrast = encoder, image_projection, text_tower, contrast
        self._texts = texts

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        text_ids, inputs = self._texts.of(batch)
        _, features = self.encoder.forward_features(batch.images)
        value = self.contrast(self.image_projection(features), self.text_tower(inputs), text_ids)
        return Loss(value, {"contrast": value.detach(), "scale": self.contrast.log_scale.detach().exp()})

    def after_step(self, step: int, num_steps: int) -> None:
        """Keep the learnt scale in its range."""
        self.contrast.after_step()
