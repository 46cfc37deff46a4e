"""The log of a training: one line an epoch; and with it the validations, of which the best may be kept."""

import math
import time
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from picturebook.engine.checkpoints import State
from picturebook.engine.tracking import track
from picturebook.engine.training import Batches, Training
from picturebook.errors import TrainingError
from picturebook.runs import RunFolder


class EpochLog:
    """Sums losses on the device and writes one line an epoch, so that no step waits for a number."""

    def __init__(self, training: Training, run: RunFolder, accelerator: Accelerator, state: State) -> None:
        self._training, self._run, self._accelerator = training, run, accelerator
        self._last_step = state.step
        while self._last_step and not ends_epoch(self._last_step, training.batches):
            self._last_step -= 1  # what was stopped within an epoch validates where a straight training would
        self._reset()
        self._take_up(state.since)

    def _reset(self) -> None:
        self._losses: list[Tensor] = []
        self._terms: dict[str, list[Tensor]] = {}
        self._samples = 0
        self._start = time.perf_counter()

    def _take_up(self, since: dict[str, Any]) -> None:
        """Go on with an epoch that was interrupted, so that its line is that of the whole epoch."""
        if since:
            device = self._accelerator.device
            self._losses = list(torch.tensor(since["losses"], device=device))
            self._terms = {name: list(torch.tensor(values, device=device)) for name, values in since["terms"].items()}
            self._samples = since["samples"]
            self._start -= since["seconds"]

    def since(self) -> dict[str, Any]:
        """What was added since the last line, for a state that is no epoch's last."""
        if not self._losses:
            return {}
        return {
            "losses": [float(value) for value in self._losses],
            "terms": {name: [float(value) for value in values] for name, values in self._terms.items()},
            "samples": self._samples,
            "seconds": time.perf_counter() - self._start,
        }

    def add(self, loss: Tensor, terms: dict[str, Tensor], samples: int) -> None:
        self._losses.append(loss)
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value)
        self._samples += samples

    def write(self, state: State) -> None:
        """The line of the epoch that ends with this state."""
        training, accelerator, done = self._training, self._accelerator, state.step
        loss = self._mean(self._losses)  # nan where every step was left out
        epoch = min(done / training.batches.steps_per_epoch, float(training.options.epochs))
        if math.isinf(loss):
            raise TrainingError(
                f"Stage {training.name}: the loss is {loss} in epoch {epoch:.0f}. "
                "Lower that stage's learning_rate, or train with precision = 'fp32'."
            )
        seconds = time.perf_counter() - self._start
        line: dict[str, Any] = {
            "stage": training.name,
            "step": done,
            "epoch": round(epoch, 3),
            "loss": None if math.isnan(loss) else loss,
        }
        line |= {name: self._mean(values) for name, values in self._terms.items()}
        line |= {"learning_rate": state.optimizer.param_groups[0]["lr"], "images_per_second": round(self._samples / seconds, 1)}
        if training.validate is not None and self._due(done):
            with state.trained.whole_on_device():
                numbers = training.validate() if accelerator.is_main_process else {}
                training.objective.train()
            self._choose(state, numbers)
            line |= numbers
        state.log.append(line)
        if accelerator.is_main_process:
            self._run.log(line)
            track(accelerator, line)
        self._last_step = done
        self._reset()

    def _choose(self, state: State, numbers: dict[str, float]) -> None:
        """Keep these weights if they are the best; the first process has the numbers, and every process keeps its own weights."""
        if state.best is None:
            return
        found = [numbers.get("val_accuracy", 0.0), numbers.get("val_nll", 0.0)]
        accuracy, nll = broadcast(torch.tensor(found, dtype=torch.float32, device=self._accelerator.device)).tolist()
        state.best.consider(accuracy, nll, step=state.step, objective=self._training.objective)

    def _mean(self, values: list[Tensor]) -> float:
        """The mean over processes and the steps that were not left out; each value was weighted by its process's share."""
        return float(self._accelerator.reduce(torch.stack(values).nanmean(), "mean"))

    def _due(self, done: int) -> bool:
        times, total = self._training.options.validations, self._training.batches.num_steps
        return times > 0 and done * times // total > self._last_step * times // total


def ends_epoch(done: int, batches: Batches) -> bool:
    """Whether the last of `done` steps was an epoch's last."""
    return done == batches.num_steps or int(done / batches.steps_per_epoch) > int((done - 1) / batches.steps_per_epoch)
