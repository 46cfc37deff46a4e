"""What the engine is given: where its batches come from, and one stage's training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from picturebook.engine.optimization import TrainOptions
from picturebook.objective import Objective
from picturebook.types import Batch, Progress, no_progress


@runtime_checkable  # so that the tests' type checks can look at it
class Batches(Protocol):
    """Step → batch, for this process."""

    num_steps: int
    steps_per_epoch: float

    def at(self, step: int) -> Batch:
        """This process's share of the batch of `step`."""
        ...

    def size(self, step: int) -> int:
        """Samples of that batch over all processes."""
        ...


@dataclass(frozen=True, slots=True)
class Training:
    """One stage's training, ready to run."""

    name: str
    """Stage name; its state lies in the run folder's stages/NAME."""
    objective: Objective
    batches: Batches
    options: TrainOptions
    seed: int
    """Reseeds the generators that dropout and drop-path use, with the step and the process's number."""
    validate: Callable[[], dict[str, float]] | None = None
    """Numbers on the validation pictures, for the log."""
    progress: Progress = no_progress
