"""What is audited: a teacher as a function of image tokens and texts, and the labelled pictures that it has not learnt from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.errors import DataError
from picturebook.statistics import Interval
from picturebook.types import Queries

Answer = Callable[[Tensor, Tensor, Queries | None], Tensor]
"""(positions int64 [b], tokens float32 [b, N, Dv], texts of b or None) → logits [b, K], unnormalised, on any device.

Positions say which of the n audited pictures a set of tokens stands for: where heads are out of fold, the head that has not
learnt from that picture must answer. Made-up pictures carry the position of a picture whose label they are asked about."""

Kind = Literal["bank", "image_only", "label_blind", "privileged", "unknown"]
"""What the teacher's words may know. bank: class texts, the same for every picture; image_only: no words; the others are a
picture's own words: written without its label, made from it, or of unknown origin."""

READS_OWN_WORDS: tuple[Kind, ...] = ("label_blind", "privileged", "unknown")
"""Kinds in which a picture's own words enter the forward pass."""


@dataclass(frozen=True, slots=True, eq=False)
class AuditData:
    """Labelled pictures that the head has not learnt from (held out, or out of fold), and what is known of words and targets."""

    tokens: Float[Tensor, "n tokens width"]
    """The frozen encoder's tokens, fp16 or fp32, on the CPU."""
    labels: Int64[np.ndarray, " n"]
    """0 … K − 1; unlabelled pictures are left out."""
    classes: tuple[str, ...]
    """The K class names, K at least 2."""
    own: Queries | None = None
    """Each picture's own words, as the head was asked with them. Needed for label_blind words."""
    own_sentences: tuple[str, ...] | None = None
    """The same as sentences, for R14."""
    class_texts: Queries | None = None
    """The text t_k of each class, in class order. None: the words of another picture of class k stand for it."""
    empty_text: Queries | None = None
    """The text encoder's answer to the empty sentence, one text (R7b)."""
    groups: np.ndarray | None = None
    """A label of each picture's group; intervals are then over groups."""
    majority_rate: float | None = None
    """Share of the audited pictures that have the training rows' commonest label, in [0, 1]; None: their own commonest label."""
    image_only: Mapping[str, Float[Tensor, "n classes"] | float] = field(default_factory=dict)
    """Image-only references by name (linear probe, learned queries): logits of the audited pictures, or an accuracy (R1)."""
    training_texts: Queries | None = None
    """Own words of training rows, for the text probe R13."""
    training_labels: Int64[np.ndarray, " rows"] | None = None
    """Labels of those rows."""
    training_sentences: tuple[str, ...] | None = None
    """The same words as sentences, for R14."""
    class_words: tuple[tuple[str, ...], ...] | None = None
    """Words that name each class (name, synonyms), in class order, for R14; None: the class names."""
    claims_masked: bool = False
    """The source says that class words are masked."""
    label_blindness: Literal["proven", "declared", "disproved"] = "declared"
    """label_blind only. proven: made again without labels the words are byte-equal; disproved: they are not."""
    targets_out_of_fold: bool = False
    """The targets come from heads that did not learn from the row they label."""
    calibrated: bool = False
    """The targets' temperature was fitted out of fold."""
    controls: Mapping[str, Interval] = field(default_factory=dict)
    """Student-side controls that were run, "S1" and "S2": the full method's accuracy minus the control's, a fraction."""

    def __post_init__(self) -> None:
        if self.num == 0:
            raise DataError("The audit needs labelled pictures that the head has not learnt from, got none: hold some out.")
        if len(self.classes) < 2:
            raise ValueError(f"classes: expected 2 or more, got {len(self.classes)}")
        if len(self.labels) != self.num or self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise ValueError(f"labels: expected {self.num} values in 0 … {len(self.classes) - 1}")
        if self.training_labels is not None and not np.isin(self.training_labels, np.arange(len(self.classes))).all():
            raise ValueError(f"training_labels: expected 0 … {len(self.classes) - 1}: leave unlabelled rows out")
        self._check_lengths()

    def _check_lengths(self) -> None:
        rows = 0 if self.training_labels is None else len(self.training_labels)
        expected = {
            "own": self.num,
            "own_sentences": self.num,
            "groups": self.num,
            "class_texts": len(self.classes),
            "class_words": len(self.classes),
            "empty_text": 1,
            "training_texts": rows,
            "training_sentences": rows,
        }
        for name, length in expected.items():
            value = getattr(self, name)
            if value is not None and len(value) != length:
                raise ValueError(f"{name}: expected {length}, got {len(value)}")

        for name, reference in self.image_only.items():
            if isinstance(reference, Tensor) and reference.shape != (self.num, len(self.classes)):
                expected_shape, came = (self.num, len(self.classes)), tuple(reference.shape)
                raise ValueError(f"image_only[{name!r}]: expected logits {expected_shape}, got {came}")

    @property
    def num(self) -> int:
        """Audited pictures."""
        return len(self.tokens)

    def image_tokens(self, rows: Int64[np.ndarray, " batch"]) -> Float[Tensor, "batch tokens width"]:
        """Tokens of some pictures, in float32."""
        return self.tokens[torch.from_numpy(rows)].float()
