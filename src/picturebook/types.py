"""The values that pass between parts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (done, total) in long loops."""

UNLABELLED = -1
"""Label of a row whose label is empty."""

LABEL_PRIVILEGED = "label-privileged"
"""Ends the name of a teacher whose audit failed: its accuracy is not shown beside what was not told the label (docs/audit.md)."""


def to_device(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """The values on a device. To a GPU they go through pinned memory, so that the processor need not wait for them."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was mixed into each picture of a batch (mixup, arXiv:1710.09412; cutmix, arXiv:1905.04899)."""

    labels: Int64[Tensor, " batch"]
    """Class indices of the partners, or UNLABELLED."""
    share: Float[Tensor, " batch"]
    """How much of each mix is the sample's own picture, in [0, 1]; 1 where nothing was mixed in."""
    ids: Int64[Tensor, " batch"] | None = None
    """Sample ids of the partners, where teachers answer for both pictures apart and not for the mix. On the host."""
    views: Int64[Tensor, " batch"] | None = None
    """View numbers of the partners, where there are ids. On the host."""

    def __getitem__(self, places: Int64[Tensor, " some"]) -> "Mixed":
        host = places.cpu()
        ids, views = (None if one is None else one[host] for one in (self.ids, self.views))
        return Mixed(self.labels[places], self.share[places], ids, views)

    def to(self, device: torch.device) -> "Mixed":
        return Mixed(to_device(self.labels, device), to_device(self.share, device), self.ids, self.views)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's samples. Equal for every worker count, rank and resume, since views are functions of (id, view, seed).

    Ids and views are what stores and tables on the host are asked by, so they stay there: reading them back from a GPU would
    make the processor wait for it. All else is on the device that trains.
    """

    ids: Int64[Tensor, " batch"]
    """Sample ids: 64-bit hashes of the file's name or key, never positions. On the host."""
    views: Int64[Tensor, " batch"]
    """View numbers, from 0. On the host."""
    labels: Int64[Tensor, " batch"]
    """Class indices, or UNLABELLED."""
    images: Float[Tensor, "batch 3 height width"] | None = None
    """RGB in [0, 1], or None where a stage works on stored tokens alone."""
    crops: tuple[Float[Tensor, "batch 3 _ _"], ...] = ()
    """Further crops of the same samples, of sizes of their own (multi-crop)."""
    mixed: Mixed | None = None
    """What was mixed into the pictures, or None."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        """Where labels and pictures are."""
        return self.labels.device

    @property
    def partners(self) -> "Batch | None":
        """What was mixed in, without images, for teachers that answer for whole pictures; None where they see the mix."""
        if self.mixed is None or self.mixed.ids is None or self.mixed.views is None:
            return None
        return Batch(self.mixed.ids, self.mixed.views, self.mixed.labels)

    def __getitem__(self, places: Int64[Tensor, " some"]) -> "Batch":
        here, host = to_device(places, self.device), places.cpu()
        images = None if self.images is None else self.images[here]
        mixed = None if self.mixed is None else self.mixed[here]
        crops = tuple(crop[here] for crop in self.crops)
        return Batch(self.ids[host], self.views[host], self.labels[here], images, crops, mixed)

    def to(self, device: torch.device) -> "Batch":
        """The batch with labels and pictures on a device."""
        images = None if self.images is None else to_device(self.images, device)
        mixed = None if self.mixed is None else self.mixed.to(device)
        crops = tuple(to_device(crop, device) for crop in self.crops)
        return Batch(self.ids, self.views, to_device(self.labels, device), images, crops, mixed)


@dataclass(frozen=True, slots=True)
class Targets:
    """What a teacher says of a batch."""

    logits: Float[Tensor, "batch classes"]
    """Unnormalised, in the student's class order."""
    representation: Float[Tensor, "batch width"] | None = None
    """The teacher's attended image representation, where it was kept."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Texts as what asks a picture: each is one vector, or several (its sentences or its tokens)."""

    vectors: Float[Tensor, "texts queries width"]
    mask: Bool[Tensor, "texts queries"]
    """True where a text has that query; each text has one at least."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: Tensor | slice) -> "Queries":
        return Queries(self.vectors[index], self.mask[index])

    def mean(self) -> Float[Tensor, "texts width"]:
        """One vector a text: the mean of its queries."""
        weights = self.mask.to(self.vectors.dtype)
        return (self.vectors * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)

    def to(self, device: torch.device) -> "Queries":
        return Queries(to_device(self.vectors, device), to_device(self.mask, device))


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


@runtime_checkable  # so that the tests' type checks can look at it
class Reporter(Protocol):
    """Where a run tells how it goes: a terminal, a log, or nowhere."""

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        """Show one long loop from its first call to the end of the block."""
        ...

    def say(self, sentence: str) -> None:
        """Tell one thing once."""
        ...


class Silence:
    """A Reporter that shows nothing."""

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        return nullcontext(no_progress)

    def say(self, sentence: str) -> None:
        pass
