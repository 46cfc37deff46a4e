"""Anything that turns a batch into targets. Teachers are always frozen.

StoredTeacher       reads what an earlier `label` stage wrote
ClassifierTeacher   an image classifier, alive
HeadTeacher         a frozen image encoder under a frozen head, with words or without, alive
TokenTeacher        the same over stored image tokens
TableTeacher        one answer a sample, whatever the view
MeanTeacher         the mean of several teachers' probabilities
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from picturebook.data.text_table import TextTable
from picturebook.models.head_ensembles import FoldedHead
from picturebook.models.heads import HeadOutput
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.zero_shot import ZeroShotClassifier
from picturebook.stores.packed import PackedArray
from picturebook.stores.targets import TargetStore
from picturebook.types import Batch, Targets, to_device


@runtime_checkable  # so that the tests' type checks can look at it
class Teacher(Protocol):
    """Turns a batch into targets; nothing in it wants a gradient."""

    def __call__(self, batch: Batch) -> Targets:
        """Targets for the batch's samples and views."""
        ...


class Frozen(nn.Module):
    """Holds a module that must not learn: always in eval mode, absent from parameters(), state_dict() and DDP's reduction."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # Inside a tuple the module is no child: it moves with `_apply` below and is seen by nothing else.
        self._held = (module.eval().requires_grad_(requires_grad=False),)

    @property
    def module(self) -> nn.Module:
        return self._held[0]

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        self.module._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch has no types here
        return self


def read_tokens(store: PackedArray, batch: Batch) -> Float[Tensor, "batch tokens width"]:
    """The batch's stored image tokens in fp32, on its device."""
    stored = store.read(batch.ids.numpy(), batch.views.numpy())
    return to_device(stored, batch.device).float()


class StoredTeacher:
    """Targets from disk."""

    def __init__(self, store: TargetStore) -> None:
        self._store = store

    @property
    def store(self) -> TargetStore:
        """All of them."""
        return self._store

    def at(self, temperature: float) -> "StoredTeacher":
        """The same targets for a student that learns at a temperature."""
        return StoredTeacher(self._store.at(temperature))

    def __call__(self, batch: Batch) -> Targets:
        return self._store.read(batch)


class TableTeacher:
    """Targets that know the sample and not its view, as pseudo-labels do.

    Args:
        ids: [n], sample ids.
        logits: [n, K], the targets of each.
    """

    def __init__(self, ids: Int64[np.ndarray, " samples"], logits: Float[Tensor, "samples classes"]) -> None:
        assert len(np.unique(ids)) == len(ids)
        order = np.argsort(ids)
        self._ids, self._logits = ids[order], logits[torch.from_numpy(order)]

    def __call__(self, batch: Batch) -> Targets:
        ids = batch.ids.numpy()
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        assert (self._ids[places] == ids).all(), "a sample of the batch is not in the table"
        return Targets(to_device(self._logits[torch.from_numpy(places)], batch.device))


def one_hot_logits(labels: Int64[Tensor, " batch"], num_classes: int) -> Float[Tensor, "batch classes"]:
    """Logits of which softmax gives exactly 1 for the label and 0 elsewhere, in fp32; finite, so that p log p stays a number."""
    return torch.full((len(labels), num_classes), -1e4).scatter(1, labels[:, None], 0.0)


class ClassifierTeacher(nn.Module):
    """An image classifier with the student's classes; its representation is the pooled feature before the last layer."""

    def __init__(self, encoder: ImageEncoder | ZeroShotClassifier) -> None:
        super().__init__()
        self._encoder = Frozen(encoder)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Targets:
        assert batch.images is not None
        encoder = self._encoder.module
        assert isinstance(encoder, ImageEncoder | ZeroShotClassifier)
        return Targets(*encoder.forward_features(batch.images))


class FoldTable:
    """Which fold's heads may answer for a sample: the fold that it is in, or -1 where it taught none of them.

    Args:
        ids: [n], sample ids.
        numbers: [n], their folds, from 0, or -1.
    """

    def __init__(self, ids: Int64[np.ndarray, " samples"], numbers: Int64[np.ndarray, " samples"]) -> None:
        order = np.argsort(ids)
        self._ids, self._numbers = ids[order], numbers[order]

    @property
    def fingerprint(self) -> str:
        """Of ids and numbers."""
        return blake2b(self._ids.tobytes() + self._numbers.tobytes(), digest_size=12).hexdigest()

    def of(self, batch: Batch) -> Int64[Tensor, " batch"]:
        """The batch's folds, on its device; -1 for samples that are not in the table."""
        ids = batch.ids.numpy()
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return to_device(np.where(self._ids[places] == ids, self._numbers[places], -1), batch.device)


class HeadTeacher(nn.Module):
    """Image encoder → tokens → heads, in which each picture's own text asks when `texts` is given."""

    def __init__(self, encoder: ImageEncoder, head: FoldedHead, *, texts: TextTable | None, folds: FoldTable) -> None:
        super().__init__()
        self._encoder = Frozen(encoder)
        self._head = Frozen(head)
        self._texts = texts
        self._folds = folds

    @torch.no_grad()
    def forward(self, batch: Batch) -> Targets:
        assert batch.images is not None
        encoder = self._encoder.module
        assert isinstance(encoder, ImageEncoder)
        texts = None if self._texts is None else self._texts.of(batch)
        output: HeadOutput = self._head(encoder.tokens(batch.images), texts, folds=self._folds.of(batch))
        return Targets(output.logits, output.representation)


class TokenTeacher(nn.Module):
    """Heads over tokens that were stored when they were trained: HeadTeacher without the encoder's work."""

    def __init__(self, head: FoldedHead, tokens: PackedArray, *, texts: TextTable | None, folds: FoldTable) -> None:
        super().__init__()
        self._head = Frozen(head)
        self._tokens = tokens
        self._texts = texts
        self._folds = folds

    @torch.no_grad()
    def forward(self, batch: Batch) -> Targets:
        texts = None if self._texts is None else self._texts.of(batch)
        output: HeadOutput = self._head(read_tokens(self._tokens, batch), texts, folds=self._folds.of(batch))
        return Targets(output.logits, output.representation)


class MeanTeacher(nn.Module):
    """The mean of several teachers' probabilities, as logits: the ensemble of born-again networks (arXiv:1805.04770)."""

    def __init__(self, teachers: Sequence[nn.Module]) -> None:
        super().__init__()
        self._teachers = nn.ModuleList(teachers)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Targets:
        log_probs = torch.stack([teacher(batch).logits.float().log_softmax(dim=1) for teacher in self._teachers])
        return Targets(log_probs.logsumexp(dim=0) - float(np.log(len(log_probs))))
