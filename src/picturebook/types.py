"""The values that pass between parts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (done, total) in long loops."""

UNLABELLED = -1
"""Label of a row whose label is empty."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was mixed into each picture of a batch (mixup, arXiv:1710.09412; cutmix, arXiv:1905.04899)."""

    labels: Int64[Tensor, " batch"]
    """Class indices of the partners, or UNLABELLED."""
    share: Float[Tensor, " batch"]
    """How much of each mix is the sample's own picture, in [0, 1]; 1 where nothing was mixed in."""

    def __getitem__(self, places: Int64[Tensor, " some"]) -> "Mixed":
        return Mixed(self.labels[places], self.share[places])

    def to(self, device: torch.device) -> "Mixed":
        return Mixed(self.labels.to(device), self.share.to(device))


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's samples. Equal for every worker count, rank and resume, since views are functions of (id, view, seed)."""

    ids: Int64[Tensor, " batch"]
    """Sample ids: 64-bit hashes of the file's name or key, never positions."""
    views: Int64[Tensor, " batch"]
    """View numbers, from 0."""
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

    def __getitem__(self, places: Int64[Tensor, " some"]) -> "Batch":
        images = None if self.images is None else self.images[places]
        mixed = None if self.mixed is None else self.mixed[places]
        crops = tuple(crop[places] for crop in self.crops)
        return Batch(self.ids[places], self.views[places], self.labels[places], images, crops, mixed)

    def to(self, device: torch.device) -> "Batch":
        images = None if self.images is None else self.images.to(device)
        mixed = None if self.mixed is None else self.mixed.to(device)
        crops = tuple(crop.to(device) for crop in self.crops)
        return Batch(self.ids.to(device), self.views.to(device), self.labels.to(device), images, crops, mixed)


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
        return Queries(self.vectors.to(device), self.mask.to(device))


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
