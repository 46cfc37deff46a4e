"""The image-text teacher's head: words ask, the frozen encoder's stored image tokens answer."""

from pydantic import Field
from torch import nn

from picturebook.data.text_table import TextTable
from picturebook.losses import cross_entropy
from picturebook.objective import Loss, Objective
from picturebook.options import Options
from picturebook.stores.packed import PackedArray
from picturebook.teachers import read_tokens
from picturebook.types import Batch


class HeadLossOptions(Options):
    """How the teacher's head is taught."""

    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the target that is spread evenly over all classes."""


class ImageText(Objective):
    """The mean cross-entropy of the head's logits; only the head learns, encoders were run before and once."""

    def __init__(self, head: nn.Module, tokens: PackedArray, *, texts: TextTable | None, options: HeadLossOptions) -> None:
        super().__init__()
        self.head = head
        self._tokens = tokens
        self._texts = texts
        self._options = options

    def forward(self, batch: Batch) -> Loss:
        output = self.head(read_tokens(self._tokens, batch), None if self._texts is None else self._texts.of(batch))
        loss = cross_entropy(output.logits.float(), batch.labels, label_smoothing=self._options.label_smoothing)
        return Loss(loss, {"cross_entropy": loss.detach()})
