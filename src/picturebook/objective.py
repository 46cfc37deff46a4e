"""What the engine trains: a module that turns one batch into one loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from picturebook.types import Batch


@dataclass(frozen=True, slots=True)
class Loss:
    """An objective's answer to a batch."""

    total: Float[Tensor, ""]
    """What is differentiated: a mean over the batch's samples."""
    terms: dict[str, Float[Tensor, ""]] = field(default_factory=dict)
    """Every part by name, detached, for the log."""


class Objective(nn.Module, ABC):
    """Owns the models that are trained and the loss. All trainable work happens inside `forward`, as DDP asks for.

    A new objective is one file in `objectives/`, one line in its table and one golden loss. Frozen parts are held in
    `picturebook.teachers.Frozen`, which keeps them out of the parameters, the state and the gradients.
    """

    @abstractmethod
    def forward(self, batch: Batch) -> Loss:
        """The loss of one batch."""

    def after_step(self, step: int, num_steps: int) -> None:
        """Advance what varies with the step (averages, temperatures, centres); called after every optimiser step."""
