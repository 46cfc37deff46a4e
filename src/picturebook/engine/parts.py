"""What is trained: an objective, whole in each process or in parts.

In parts each process has its share of every weight, gradient and optimiser state, and gathers the weights of one block after the
other as it needs them (FSDP, torch's `fully_shard`; Zhao et al., 2023, arXiv:2304.11277; ZeRO's stage 3, arXiv:1910.02054).
The whole objective then waits in the host's memory, and is given the weights where they are measured or kept: recipes know
nothing of parts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial, wraps
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from picturebook.errors import OptionError
from picturebook.objective import Objective


class Trained:
    """An objective that is being trained.

    Args:
        whole: the caller's objective.
        accelerator: of the run.
        in_parts: share it out over the processes.
        compiled: compile the blocks of an objective in parts, each by itself.
    """

    def __init__(self, whole: Objective, accelerator: Accelerator, *, in_parts: bool, compiled: bool = False) -> None:
        self.whole = whole
        self.in_parts = in_parts
        self.objective = _cut(whole.to("cpu"), accelerator, compiled=compiled) if in_parts else whole
        """What turns batches into losses."""
        self.weights = [parameter for parameter in self.objective.parameters() if parameter.requires_grad]
        self.own = [nn.Parameter(own_part(weight)) if isinstance(weight, DTensor) else weight for weight in self.weights]
        """What of each weight this process changes, in the weight's own memory; an optimiser needs to know of nothing else."""
        self._accelerator = accelerator

    def take_gradients(self) -> None:
        """Hand the gradients of the weights over to what this process changes. What could not be cut gets the processes' mean."""
        if not self.in_parts:
            return
        for weight, own in zip(self.weights, self.own, strict=True):
            if weight.grad is not None and own is weight:
                own.grad = cast("Tensor", self._accelerator.reduce(weight.grad, "mean"))
            elif weight.grad is not None:
                own.grad, weight.grad = own_part(weight.grad), None

    def clip(self, greatest: float) -> Tensor:
        """Scale gradients in parts down to a norm of `greatest` where it is larger; the norm of all of them before."""
        found: list[list[Tensor]] = [[], []]
        for weight, own in zip(self.weights, self.own, strict=True):
            if own.grad is not None:
                found[own is weight].append(own.grad)
        cut, uncut = (nn.utils.get_total_norm(gradients).to(self._accelerator.device) for gradients in found)
        norm = (cast("Tensor", self._accelerator.reduce(cut.square(), "sum")) + uncut.square()).sqrt()
        nn.utils.clip_grads_with_norm_(self.own, greatest, norm)
        return norm

    @contextmanager
    def whole_on_device(self) -> Iterator[None]:
        """The whole objective with the weights as they are; in the block the first process's is on its device. All must enter."""
        self.gather()
        if self.in_parts and self._accelerator.is_main_process:
            self.whole.to(self._accelerator.device)
        yield
        if self.in_parts:
            self.whole.to("cpu")

    def gather(self) -> None:
        """Give the whole objective the weights as they are. All processes must ask for it."""
        if self.in_parts:
            self.whole.load_state_dict(gathered(self.objective.state_dict()))

    def optimizer_state(self, optimizer: torch.optim.Optimizer, *, keep: bool) -> dict[str, Any]:
        """An optimiser's state as it is of whole weights. All processes must ask for it, and those that `keep` it have it all."""
        return self._of_weights(optimizer, optimizer.state_dict(), partial(_joined, keep=keep))

    def load_optimizer_state(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Give an optimiser its state back, of which it takes this process's part."""
        optimizer.load_state_dict(self._of_weights(optimizer, state, lambda value, like: own_part(cut_like(value, like))))

    def _of_weights(
        self, optimizer: torch.optim.Optimizer, state: dict[str, Any], change: Callable[[Tensor, DTensor], Tensor]
    ) -> dict[str, Any]:
        """An optimiser's state after a `change` to what belongs to the elements of weights that were cut."""
        weights = {id(own): weight for weight, own in zip(self.weights, self.own, strict=True)}
        places = [weights[id(own)] for group in optimizer.param_groups for own in group["params"]]

        def changed(values: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
            if not isinstance(weight, DTensor):
                return values
            return {name: change(value, weight) if value.ndim else value for name, value in values.items()}

        return state | {"state": {place: changed(values, places[place]) for place, values in state["state"].items()}}


def _cut(whole: Objective, accelerator: Accelerator, *, compiled: bool) -> Objective:
    """A copy of the objective in parts, on the run's device. Weights of no dimension cannot be cut: each process has them."""
    parts = deepcopy(whole).to(accelerator.device).to(memory_format=torch.contiguous_format)  # torch cuts no other layout
    for value in parts.state_dict().values():
        broadcast(value)  # as DDP does: an objective that each process has drawn by itself becomes one
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    uncut = {parameter for parameter in parts.parameters() if parameter.ndim == 0}
    for block in _blocks(parts):
        if compiled:
            block.compile()
        fully_shard(block, mesh=mesh, ignored_params=uncut)
    fully_shard(parts, mesh=mesh, ignored_params=uncut)
    parts.forward = _told(accelerator.autocast()(parts.forward))  # type: ignore[method-assign]  # accelerate's way too
    return parts


def _told(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward`, which says in a sentence that a model takes a block's weights without calling the block."""

    @wraps(forward)
    def told(*arguments: Any, **keywords: Any) -> Any:
        try:
            return forward(*arguments, **keywords)
        except RuntimeError as error:
            if "DTensor" not in str(error):
                raise
            raise OptionError(
                "This model reads weights of its blocks without calling the blocks, so it cannot be trained in parts: say "
                f"strategy = 'ddp' ({str(error).splitlines()[0]})."
            ) from error

    return told


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The outermost modules that stand in a row, as the blocks of ViTs and ResNets do, if nothing else has their weights."""
    owners = _owners(module)

    def inside(block: nn.Module) -> bool:
        alone = all(owners[key] == count for key, count in _owners(block).items())
        return alone and any(parameter.requires_grad for parameter in block.parameters())

    def found(part: nn.Module, *, in_a_row: bool) -> Iterator[nn.Module]:
        for child in part.children():
            if in_a_row and not isinstance(child, nn.ModuleList) and any(True for _ in child.children()) and inside(child):
                yield child
            else:
                yield from found(child, in_a_row=isinstance(child, nn.Sequential | nn.ModuleList))

    return list(dict.fromkeys(found(module, in_a_row=False)))


def _owners(module: nn.Module) -> Counter[int]:
    """How many modules have each parameter, by its identity; a module counts as often as it is held."""
    parts = (part for _, part in module.named_modules(remove_duplicate=False))
    return Counter(id(parameter) for part in parts for parameter in part.parameters(recurse=False))


def own_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, in the same memory; of a whole tensor all."""
    return cast("DTensor", tensor.detach()).to_local() if isinstance(tensor, DTensor) else tensor


def _joined(value: Tensor, like: DTensor, *, keep: bool) -> Tensor:
    """What belongs to a weight's elements, whole."""
    found = DTensor.from_local(value, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    return _whole(found, keep=keep)


def gathered(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """Named tensors, whole and in the host's memory where they were in parts; empty ones there without `keep`.

    All processes must ask for it.
    """
    return {name: _whole(value, keep=keep) if isinstance(value, DTensor) else value for name, value in tensors.items()}


def _whole(tensor: DTensor, *, keep: bool) -> Tensor:
    whole = tensor.full_tensor()
    return whole.cpu() if keep else whole.new_empty(0)


def cut_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, in parts if the other one is."""
    if not isinstance(like, DTensor):
        return value
    # Every process has read the whole tensor, so each cuts its own part out of it.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
