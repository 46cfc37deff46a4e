"""What a first run's settings go by: how many pictures, how even, how large, with what words, and which weights are here."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from picturebook.data.splits import SplitOptions
from picturebook.data.tables import ColumnOptions, DataOptions, read_table
from picturebook.data.texts.masking import class_words, mentions
from picturebook.errors import TextError
from picturebook.inspection import DataInspection
from picturebook.models.at_hand import AtHand
from picturebook.start.mirroring import why_not_mirror
from picturebook.types import UNLABELLED

SMALL = 2000
"""Labelled training pictures below which a folder is small: views are strong, and a student starts from pretrained weights."""
_FEW = 500
"""Below this the heads of a teacher are dealt into fewer folds, so that each learns from enough."""
UNEVEN = 3
"""Pictures of the commonest class for each of the rarest, above which classes are balanced."""
AUDITED = 1000
"""Pictures that a PASS of the audit needs at least."""
TEXT_COLUMNS = (ColumnOptions().text, "caption", "captions", "description")
"""Columns of words that are looked for where nobody names one, in this order."""
_NAMED = 0.01
"""Share of texts that name their class, from which class words are taken out."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is known of the pictures' own texts before anything is trained."""

    column: str | None = None
    """Where they stand; None where there are none."""
    named: float = 0.0
    """Share of the labelled pictures with a text whose text holds a word of their own class's name."""

    @property
    def tell_classes(self) -> bool:
        """Whether class words are to be taken out of them."""
        return self.named >= _NAMED


class Found:
    """What the choices go by."""

    def __init__(self, inspection: DataInspection, words: Words, at_hand: AtHand | None, model: str | None) -> None:
        self.inspection, self.words, self.at_hand, self.model = inspection, words, at_hand, model
        counts = [part.train for part in inspection.classes]
        self.num_train = inspection.training.num_labelled
        self.num_val = sum(part.val for part in inspection.classes)
        self.ratio = max(counts) / max(1, min(counts))
        self.small = self.num_train < SMALL
        self.pretrained = at_hand if self.small and model is None else None
        """What the student starts from, or None for new weights."""
        texts = inspection.texts
        self.own_texts = texts is not None and texts.num_rows > inspection.num_rows // 2
        self.short_side = min(inspection.heights.median, inspection.widths.median)
        # What ImageNet taught is lost on small pictures, so these are enlarged for it (docs/small_folders.md).
        least, most = (32, self.short_side) if self.pretrained is None else (64, 2 * self.short_side)
        self.size = max(side for side in _sizes() if side == least or least < side <= most)
        self.why_not_mirror = why_not_mirror([part.name for part in inspection.classes])

    @property
    def counted(self) -> str:
        num, unlabelled = self.inspection.num_rows, self.inspection.num_unlabelled
        without = f", {unlabelled} without a label" if unlabelled else ""
        return f"{num} pictures, {len(self.inspection.classes)} classes{without}"

    @property
    def folds(self) -> int:
        """0 where the teacher's encoder learns from these very pictures: then no head is held out from anything."""
        if self.at_hand is None:
            return 0
        units = self.inspection.num_groups or self.num_train
        return max(2, min(3 if self.num_train < _FEW else 5, units // 2))

    @property
    def num_audited(self) -> int:
        """Pictures that the audit will ask about: half of the folds, rounded up, or validation."""
        return self.num_train * ((self.folds + 1) // 2) // self.folds if self.folds else self.num_val


def split_for(inspection: DataInspection) -> SplitOptions:
    """What is split off where the data do not say it; of few pictures more for validation, since it chooses the epoch."""
    small = inspection.training.num_labelled < SMALL
    return SplitOptions(test=0.2, val=0.15 if small else 0.1, by="stratified" if inspection.num_groups is None else "group")


def _sizes() -> tuple[int, ...]:
    return (32, 64, 128, 224) if torch.accelerator.is_available() else (32, 64, 128)


def look_at_words(options: DataOptions, columns: Sequence[str]) -> Words:
    """In which of these columns the pictures' own texts stand, and how often they name their class."""
    for column in columns:
        asked = options.model_copy(update={"columns": options.columns.model_copy(update={"text": column})})
        try:
            table = read_table(asked, to_train=False)
        except TextError:  # no such column
            continue
        if table.texts is None:
            continue
        told = [
            (text, label) for text, label in zip(table.texts, table.labels.tolist(), strict=True) if text and label != UNLABELLED
        ]
        own = [class_words((name,)) for name in table.classes]
        return Words(column, sum(mentions(text, own[label]) for text, label in told) / max(1, len(told)))
    return Words()
