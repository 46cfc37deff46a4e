"""One step: batch, loss, gradient, update; a step that is not finite changes nothing."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from picturebook.engine.checkpoints import State
from picturebook.engine.optimization import set_step
from picturebook.engine.parts import own_part
from picturebook.engine.training import Training
from picturebook.errors import TrainingError
from picturebook.types import Batch
from picturebook.writing import write_json

_NAMED = 4
"""Ids in a sentence; a batch has many, of up to 20 digits."""
_AVERAGE_WARMUP = 10
"""Steps around which a running average begins to look further back than it is old."""


class Stepper:
    """Takes a training's steps, one after the other; `state` is where it stands."""

    def __init__(self, training: Training, module: nn.Module, state: State, accelerator: Accelerator) -> None:
        self.training, self.state, self.accelerator = training, state, accelerator
        self.knows_at_once = accelerator.device.type == "cpu"
        """Whether looking at a number costs nothing; elsewhere it would make the processor wait for the device at each step."""
        self._module = module
        # What accelerate puts around it is for fp16, and looks for a package at every step.
        self._optimizer: Any = getattr(state.optimizer, "optimizer", state.optimizer)
        self._parameters = state.trained.own
        self._buffers = list(state.trained.objective.buffers())
        values, averages = state.trained.objective.state_dict(), state.averages or {}
        pairs = [(own_part(average), own_part(values[name])) for name, average in averages.items()]
        self._averages = [average for average, _ in pairs if average.is_floating_point()]
        self._averaged = [value for average, value in pairs if average.is_floating_point()]
        self._counted = [pair for pair in pairs if not pair[0].is_floating_point()]
        """Running averages, what they are of, and what is copied instead, as counters are."""
        self._left_out: list[Tensor] = []
        self._first = state.step

    def take(self, step: int) -> tuple[Tensor, dict[str, Tensor], int]:
        """Take a step: its loss and terms, weighted by this process's share, and how many samples it had in all processes."""
        training, accelerator, optimizer = self.training, self.accelerator, self.state.optimizer
        options, batches = training.options, training.batches
        set_step(optimizer, options, step, batches.num_steps)
        self._seed(step)
        batch = batches.at(step)
        # DDP takes the mean over processes; with uneven shares that is no mean over samples until each is weighted by its share.
        share = len(batch) * accelerator.num_processes / batches.size(step)
        before = [buffer.clone() for buffer in self._buffers] if options.nonfinite_steps else []
        # As many parts in each process, however its share is rounded: a loss may gather rows of all in every part.
        num_parts = max(1, min(options.accumulate, batches.size(step) // accelerator.num_processes))
        total, terms = self._differentiate(batch, share, num_parts)
        norm = self._clip(options.clip or math.inf)
        bad = ~torch.isfinite(norm)
        self._update(bad, before)
        self.state.trained.objective.after_step(step, batches.num_steps)
        self._average(step)
        self.state.step = step + 1
        return _unless(bad, total), {name: _unless(bad, value) for name, value in terms.items()}, batches.size(step)

    def refuse_too_many_left_out(self, save: Callable[[], None], folder: Path) -> None:
        """Stop where more steps were not finite than may be.

        Raises:
            TrainingError: there were; it names the last of them and its first samples. All of a process's are in
                nonfinite-PROCESS.json in `folder`.
        """
        if not self._left_out:
            return
        left_out = [self._first + place for place, bad in enumerate(torch.stack(self._left_out).tolist()) if bad]
        self._left_out, self._first = [], self.state.step
        self.state.left_out += len(left_out)
        if not left_out or self.state.left_out <= self.training.options.nonfinite_steps:
            return
        save()
        step, name = left_out[-1], self.training.name
        ids = self.training.batches.at(step).ids.tolist()
        file = folder / f"nonfinite-{self.accelerator.process_index}.json"
        folder.mkdir(parents=True, exist_ok=True)  # the first process alone saves, and another may be here before it
        write_json(file, {"step": step, "ids": ids})
        some = ", ".join(map(str, ids[:_NAMED]))
        raise TrainingError(
            f"Stage {name}: loss or gradient of step {step} is not finite (samples {some}, …: all of them are in {file}). That "
            f"step changed nothing, and the state is saved. Lower that stage's learning_rate, train with precision = 'fp32', or "
            "leave such steps out (nonfinite_steps)."
        )

    def _differentiate(self, batch: Batch, share: float, num_parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        totals: list[Tensor] = []
        terms: dict[str, list[Tensor]] = {}
        for part, weight, context in self._parts(batch, num_parts):
            with context:
                loss = self._module(part)
                (loss.total * (share * weight)).backward()
            totals.append(loss.total.detach() * (share * weight))
            for name, value in loss.terms.items():
                terms.setdefault(name, []).append(value * (share * weight))
        self.state.trained.take_gradients()
        return torch.stack(totals).sum(), {name: torch.stack(values).sum() for name, values in terms.items()}

    def _parts(self, batch: Batch, num: int) -> Iterator[tuple[Batch, float, Any]]:
        """The batch's parts, their shares of it, and what keeps processes from adding gradients before the last of them."""
        places = torch.arange(len(batch)).tensor_split(num)
        if len(places) == 1:
            yield batch, 1.0, nullcontext()
            return
        for number, part in enumerate(places):
            last = number == len(places) - 1
            context = nullcontext() if last else self.accelerator.no_sync(self._module)
            yield batch[part], len(part) / len(batch), context

    def _seed(self, step: int) -> None:
        seed = _step_seed(self.training.seed, step, self.accelerator.process_index)
        if self.knows_at_once:
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` takes a millisecond to seed devices that are not used
        else:
            torch.manual_seed(seed)

    def _clip(self, greatest: float) -> Tensor:
        """Scale the gradient down to a norm of `greatest` where it is larger; its norm before."""
        if self.state.trained.in_parts:
            return self.state.trained.clip(greatest)
        if not self.knows_at_once:
            norm: Tensor = self.accelerator.clip_grad_norm_(self._parameters, greatest)
            return norm
        norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        if greatest < norm < math.inf:  # a gradient that is short enough is not written again, times one
            nn.utils.clip_grads_with_norm_(self._parameters, greatest, norm)
        return norm

    def _update(self, bad: Tensor, before: list[Tensor]) -> None:
        optimizer = self._optimizer
        self._left_out.append(bad)
        if not self.knows_at_once:
            optimizer.found_inf = bad.float()  # fused optimisers then leave everything as it is, on the device
            optimizer.step()
        elif not bad:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for buffer, old in zip(self._buffers, before, strict=bool(before)):
            buffer.copy_(torch.where(bad, old, buffer))

    def _average(self, step: int) -> None:
        if self.state.averages is None:
            return
        decay = min(self.training.options.average, (1 + step) / (_AVERAGE_WARMUP + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._averaged, 1.0 - decay)
            for average, value in self._counted:
                average.copy_(value)


def _unless(bad: Tensor, value: Tensor) -> Tensor:
    """The value, or nan, which the log's means leave out."""
    return torch.where(bad, math.nan, value)


def _step_seed(seed: int, step: int, rank: int) -> int:
    # Odd multipliers keep the three apart; torch wants a signed 64-bit seed.
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) & ((1 << 62) - 1)
