"""The work that each row of the table compares: two callables, ours and what is bare."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cases import NUM_CLASSES, Parts

from picturebook.data.text_table import TextTable
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objective import Loss, Objective
from picturebook.objectives.image_text import HeadLossOptions, ImageText
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets
from picturebook.recipes.tokens import EncoderOptions, store_tokens
from picturebook.stores.packed import PackedArray
from picturebook.stores.targets import TargetStore, TargetWriter
from picturebook.teachers import ClassifierTeacher, Frozen, StoredTeacher
from picturebook.types import Batch, Queries, Targets

Work = Callable[[], object]
LABELLED = 128
"""Pictures that a stage labels at a time."""


def stored_step(work: Path, family: str) -> tuple[Work, Work]:
    """A student's step on stored targets, its views made, against the bare step."""
    parts = Parts(work, family)
    objective = SoftTargets(parts.stages.new_student(), any_targets(parts), SoftTargetOptions(), projector=None)
    return parts.stepping(objective), parts.bare_student()


def live_step(work: Path, family: str) -> tuple[Work, Work]:
    """A student's step under a live teacher of its size, against a bare step and a bare forward pass."""
    parts = Parts(work, family)
    teacher = ClassifierTeacher(parts.stages.new_student("encoder"))
    objective = SoftTargets(parts.stages.new_student(), teacher, SoftTargetOptions(), projector=None)
    student, forward = parts.bare_student(), parts.bare_teacher()

    def bare() -> None:
        student()
        forward()

    return parts.stepping(objective), bare


def head_step(work: Path, family: str) -> tuple[Work, Work]:
    """A step of a head on stored tokens, each picture asked by its own text, against one through the encoder."""
    parts = Parts(work, family)
    encoder = parts.stages.new_student("encoder").eval()
    tokens = store_tokens(parts.stages, encoder, EncoderOptions())
    ids = parts.stages.pictures.ids
    vectors = torch.randn(len(ids), 1, 384, generator=torch.Generator().manual_seed(0))
    texts = TextTable(ids, Queries(vectors, torch.ones(len(ids), 1, dtype=torch.bool)))
    sizes = {"token_width": encoder.token_width, "num_tokens": encoder.grid[0] * encoder.grid[1], "text_width": 384}
    make = partial(build_head, HeadOptions(mode="own"), num_classes=NUM_CLASSES, seed=0, **sizes)
    stored = ImageText(make(), tokens, texts=texts, options=HeadLossOptions())
    return parts.stepping(stored, with_images=False), parts.stepping(_ThroughEncoder(make(), tokens, texts, encoder))


def labelling(work: Path, family: str) -> tuple[Work, Work]:
    """A batch labelled and written, its views made, against the bare forward pass of as many pictures."""
    parts = Parts(work, family)
    stages = parts.stages
    teacher = ClassifierTeacher(stages.new_student("encoder"))
    ids = stages.pictures.ids[stages.train_rows]
    numbers = iter(range(10**6))

    def label() -> None:
        number = next(numbers)
        some = ids[np.arange(number * LABELLED, (number + 1) * LABELLED) % len(ids)]
        views = np.full(len(some), number % _VIEWS)
        with torch.no_grad(), parts.accelerator.autocast():
            (batch,) = stages.replay(some, views, progress=lambda done, total: None, batch_size=LABELLED)
            writer.write(batch.ids.numpy(), batch.views.numpy(), teacher(batch))

    writer = _writer(parts, "labelled", ids)
    return label, parts.bare_teacher(LABELLED)


_VIEWS = 4


class _ThroughEncoder(Objective):
    """The head's training without a store: every batch goes through the frozen encoder."""

    def __init__(self, head: torch.nn.Module, tokens: PackedArray, texts: TextTable, encoder: ImageEncoder) -> None:
        super().__init__()
        self.inner = ImageText(head, tokens, texts=texts, options=HeadLossOptions())
        self.texts, self.encoder = texts, Frozen(encoder)

    def forward(self, batch: Batch) -> Loss:
        assert isinstance(self.encoder.module, ImageEncoder)
        with torch.no_grad():
            tokens = self.encoder.module.tokens(batch.images)
        loss = torch.nn.functional.cross_entropy(self.inner.head(tokens, self.texts.of(batch)).logits.float(), batch.labels)
        return Loss(loss, {"cross_entropy": loss.detach()})


def _writer(parts: Parts, name: str, ids: np.ndarray) -> TargetWriter:
    return TargetWriter(
        parts.work / name, {"of": name}, ids=ids, num_views=_VIEWS, num_classes=NUM_CLASSES, representation_width=None
    )


def any_targets(parts: Parts) -> StoredTeacher:
    """Targets of every view that a student is shown; their values do not count here."""
    writer = _writer(parts, "targets", parts.stages.pictures.ids[parts.stages.train_rows])
    ids, views = writer.missing()
    for start in range(0, len(ids), LABELLED):
        some = slice(start, start + LABELLED)
        writer.write(ids[some], views[some], Targets(torch.randn(len(ids[some]), NUM_CLASSES)))
    if len(ids):
        writer.finish()
    return StoredTeacher(
        TargetStore(parts.work / "targets", {"of": "targets"}, num_classes=NUM_CLASSES, with_representation=False)
    )
