"""How a training goes: its length, its rate and decay as functions of the step, its optimiser."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from picturebook.options import Options


class TrainOptions(Options):
    """One training: how long, how fast, with what optimiser."""

    epochs: int = Field(100, ge=1)
    """Times each picture is seen."""
    batch_size: int = Field(128, ge=4)
    """Pictures a step, over all processes together."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9."""
    learning_rate: float = Field(1e-3, gt=0.0)
    """Peak of the schedule; scale it with the batch yourself, nothing else does."""
    weight_decay: float = Field(0.05, ge=0.0)
    """Decoupled for AdamW; never on biases, norms and other vectors."""
    weight_decay_end: float | None = Field(None, ge=0.0)
    """Where half a cosine leads the weight decay by the last step; by default it stays as it is."""
    warmup: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of the training in which the rate rises straight from 0; then it falls by half a cosine to 0."""
    clip: float = Field(1.0, ge=0.0)
    """Largest norm of the gradient; 0 leaves it as it is."""
    num_views: int = Field(0, ge=0)
    """Different views of each picture, shown in turn (epoch e shows view e mod num_views); 0 makes one per epoch."""
    validations: int = Field(10, ge=0)
    """Times the validation pictures are looked at, evenly over the training and at its end; 0 for never."""
    accumulate: int = Field(1, ge=1)
    """Parts in which a batch goes through the model one after the other, where it does not fit as a whole. The step is the same,
    but for what relates the pictures of one batch: batch statistics, contrast, correlations between classes."""
    average: float = Field(0.0, ge=0.0, lt=1.0)
    """Decay of an exponential average of the weights, which takes their place at the end (arXiv:1806.05594 has its idea); 0 keeps
    the last ones."""
    keep: Literal["last", "best"] = "last"
    """Which weights are kept: the last ones, or those of the validation with the highest accuracy (of equal ones, the lowest
    NLL). The best ones need validation pictures, on which the student then looks better than it is."""
    sampling: Literal["each", "balanced"] = "each"
    """each: an epoch shows every picture once. balanced: it shows every class as often, pictures of rare classes several times,
    in different views; it is as long as ever. Pictures without a label are shown once either way."""
    nonfinite_steps: int = Field(0, ge=0)
    """Steps whose loss or gradient is not finite that are left out before the training stops; 0 stops at the first one."""
    compile: bool = False
    """Compile the objective (torch.compile). On a GPU it saves time after a first slow step; on CPUs it saved none so far."""

    @model_validator(mode="after")
    def _parts_are_no_crumbs(self) -> "TrainOptions":
        if self.batch_size < 4 * self.accumulate:
            raise ValueError(f"batch_size = {self.batch_size} in accumulate = {self.accumulate} parts: a part needs 4 pictures")
        return self

    @model_validator(mode="after")
    def _the_best_is_known(self) -> "TrainOptions":
        if self.keep == "best" and self.validations == 0:
            raise ValueError("keep = 'best' needs validations: raise validations above 0")
        if self.keep == "best" and self.average > 0.0:
            raise ValueError("keep = 'best' and average each choose the weights that are kept: set average = 0, or keep = 'last'")
        return self

    @property
    def distinct_views(self) -> int:
        """How many views of each picture the training shows."""
        return min(self.num_views, self.epochs) if self.num_views else self.epochs


def cosine_between(start: float, end: float, progress: float) -> float:
    """Half a cosine from `start` at progress 0 to `end` at progress 1."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def learning_rate(step: int, *, num_steps: int, num_warmup_steps: float, peak: float) -> float:
    """A straight rise over the warm-up, then half a cosine to 0 (arXiv:1608.03983, without restarts)."""
    if step < num_warmup_steps:
        return peak * (step + 1) / (num_warmup_steps + 1)
    return cosine_between(peak, 0.0, (step - num_warmup_steps) / max(1.0, num_steps - num_warmup_steps))


def set_step(optimizer: torch.optim.Optimizer, options: TrainOptions, step: int, num_steps: int) -> None:
    """Give the optimiser the rate and the decay of a step."""
    rate = learning_rate(step, num_steps=num_steps, num_warmup_steps=options.warmup * num_steps, peak=options.learning_rate)
    end = options.weight_decay if options.weight_decay_end is None else options.weight_decay_end
    decay = cosine_between(options.weight_decay, end, step / max(1, num_steps - 1))
    for group in optimizer.param_groups:
        group["lr"] = rate
        if group["decays"]:
            group["weight_decay"] = decay


def build_optimizer(parameters: Iterable[nn.Parameter], options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser of those parameters that are trainable; decay only on matrices and kernels."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": options.weight_decay, "decays": True},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0, "decays": False},
    ]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
    sgd = torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9, nesterov=True, fused=True)
    for parameter in trainable:  # a first step that is left out would else leave them as the memory was
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd
