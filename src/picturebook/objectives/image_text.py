"""The image-text teacher's head: words ask, the frozen encoder's stored image tokens answer."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

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


@dataclass(frozen=True, eq=False)
class ClassExamples:
    """Texts whose class is known, without a picture."""

    texts: Float[Tensor, "texts text_width"]
    """Encoded as the pictures' own texts are."""
    labels: Int64[Tensor, " texts"]
    weight: float
    """Of their mean cross-entropy, beside that of a batch of pictures."""


class ImageText(Objective):
    """Σ_i H(y_i, head(V_i, t_i)) / B + w Σ_j H(y_j, head(t_j)) / M; only the head learns, encoders were run before and once.

    V are the stored tokens of a batch of B pictures and t their texts; the second sum is over `examples`, for heads that
    answer texts without a picture.
    """

    head: Any  # nn.Module does not declare the way that some heads have for texts alone

    def __init__(
        self,
        head: nn.Module,
        tokens: PackedArray,
        *,
        texts: TextTable | None,
        options: HeadLossOptions,
        examples: ClassExamples | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self._tokens = tokens
        self._texts = texts
        self._options = options
        self._examples = examples

    def forward(self, batch: Batch) -> Loss:
        output = self.head(read_tokens(self._tokens, batch), None if self._texts is None else self._texts.of(batch))
        loss = self._cross_entropy(output.logits, batch.labels)
        if self._examples is None:
            return Loss(loss, {"cross_entropy": loss.detach()})
        beside = self._cross_entropy(self.head.answer_words(self._examples.texts), self._examples.labels)
        terms = {"cross_entropy": loss.detach(), "class_text_cross_entropy": beside.detach()}
        return Loss(loss + self._examples.weight * beside, terms)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits.float(), labels, label_smoothing=self._options.label_smoothing)
