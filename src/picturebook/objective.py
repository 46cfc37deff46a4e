"""What the engine trains: a module that turns one batch into one loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float, Int64
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

    What is carried from step to step lies in parameters and buffers: states are saved of these, and with FSDP a deep copy is
    trained, whose hooks must not refer to the original.
    """

    @abstractmethod
    def forward(self, batch: Batch) -> Loss:
        """The loss of one batch."""

    def after_step(self, step: int, num_steps: int) -> None:
        """Advance what varies with the step (averages, temperatures, centres); called after every optimiser step."""


def over_labels(
    batch: Batch, loss: Callable[[Int64[Tensor, " batch"], Float[Tensor, " batch"] | None], Float[Tensor, ""]]
) -> Float[Tensor, ""]:
    """A loss of the labels. Of mixed pictures it is share · loss(own label) + (1 − share) · loss(partner's), row by row.

    Args:
        batch: whose labels are learnt.
        loss: of labels and of the rows' weights, None where all are 1; the mean over all rows.
    """
    if batch.mixed is None:
        return loss(batch.labels, None)
    share = batch.mixed.share
    return loss(batch.labels, share) + loss(batch.mixed.labels, 1.0 - share)


def by_class(
    class_weights: Float[Tensor, " classes"] | None, labels: Int64[Tensor, " batch"], weights: Float[Tensor, " batch"] | None
) -> Float[Tensor, " batch"] | None:
    """The rows' weights times those of their classes; an unlabelled row's does not count, as it has no loss."""
    if class_weights is None:
        return weights
    of_rows = class_weights[labels.clamp(min=0)]
    return of_rows if weights is None else weights * of_rows
