"""Rows of all processes, for losses that relate every sample of a batch to every other.

Each process holds its share of a batch's rows and computes the loss of these against the columns of all. The gradient goes
back the same way: a row's gradient is the sum of what all processes' losses want of it. So with the loss a mean over the
process's own rows, the weights that the engine gives to shares and the mean that DDP takes, the step is that of one process.
"""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed

Rows = Shaped[Tensor, "batch *record"]
AllRows = Shaped[Tensor, "columns *record"]


def gather_rows(rows: Rows) -> tuple[AllRows, int]:
    """The rows of all processes, one process's after another's, and where this process's own begin.

    Every process must call it, with rows of one type and record size; their number may differ. It is the identity where
    there is one process.

    Args:
        rows: [B, ...]; where they want a gradient, it is the sum over the gradients of all processes' copies.

    Returns:
        [N, ...], N the sum of all B, and the place of row 0.
    """
    if not _is_shared():
        return rows, 0
    sizes = _sizes(rows)
    first = sum(sizes[: distributed.get_rank()])
    gathered: Tensor = _Gathering.apply(rows, sizes, first)
    return gathered, first


class _Gathering(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor, sizes: list[int], first: int) -> Tensor:
        context.own = slice(first, first + len(rows))
        # Collectives want one size from all: the shorter shares are filled up, and cut off again.
        filled = rows.new_zeros((max(sizes), *rows.shape[1:]))
        filled[: len(rows)] = rows
        parts = [torch.empty_like(filled) for _ in sizes]
        distributed.all_gather(parts, filled)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total[context.own], None, None


def _is_shared() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _sizes(rows: Tensor) -> list[int]:
    parts = [torch.empty(1, dtype=torch.int64, device=rows.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, torch.tensor([len(rows)], device=rows.device))
    return [int(part) for part in parts]
