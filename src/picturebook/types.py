"""The values that pass between parts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Progress = Callable[[int, int], None]
"""Called with (done, total) in long loops."""

UNLABELLED = -1
"""Label of a row whose label is empty."""


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

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, places: Int64[Tensor, " some"]) -> "Batch":
        images = None if self.images is None else self.images[places]
        return Batch(self.ids[places], self.views[places], self.labels[places], images)

    def to(self, device: torch.device) -> "Batch":
        images = None if self.images is None else self.images.to(device)
        return replace(self, ids=self.ids.to(device), views=self.views.to(device), labels=self.labels.to(device), images=images)


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
