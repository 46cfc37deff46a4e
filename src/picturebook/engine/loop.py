"""The one loop. Training is a function of the step: step → batch, learning rate, generator state.

A step's batch comes whole from `Batches.at(step)`; nothing but the objective, the optimiser and the step number is
carried over, so a resumed training equals a straight one bit for bit on CPU with equal threads, and two processes
equal one to float tolerance (for models without batch statistics: BatchNorm normalises per process).
"""

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, broadcast, broadcast_object_list
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from picturebook.errors import OptionError, RunError, TrainingError
from picturebook.objective import Objective
from picturebook.options import Options
from picturebook.runs import RunFolder, atomic_folder
from picturebook.types import Batch, Progress, no_progress


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
    warmup: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of the training in which the rate rises straight from 0; then it falls by half a cosine to 0."""
    clip: float = Field(1.0, ge=0.0)
    """Largest norm of the gradient; 0 leaves it as it is."""
    num_views: int = Field(0, ge=0)
    """Different views of each picture, shown in turn (epoch e shows view e mod num_views); 0 makes one per epoch."""
    validations: int = Field(10, ge=0)
    """Times the validation pictures are looked at, evenly over the training and at its end; 0 for never."""

    @property
    def distinct_views(self) -> int:
        """How many views of each picture the training shows."""
        return min(self.num_views, self.epochs) if self.num_views else self.epochs


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


def learning_rate(step: int, *, num_steps: int, num_warmup_steps: float, peak: float) -> float:
    """A straight rise over the warm-up, then half a cosine to 0 (arXiv:1608.03983, without restarts)."""
    if step < num_warmup_steps:
        return peak * (step + 1) / (num_warmup_steps + 1)
    progress = (step - num_warmup_steps) / max(1.0, num_steps - num_warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def build_optimizer(module: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser of all trainable parameters; decay only on matrices and kernels."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)


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


def train(training: Training, *, run: RunFolder, accelerator: Accelerator) -> None:
    """Train `training.objective` to its last step, going on from a saved state if there is one.

    Raises:
        TrainingError: the loss is no longer finite, or the saved state is of another number of processes.
    """
    folder = run.stage(training.name)
    optimizer = build_optimizer(training.objective, training.options)
    training.objective.train()
    module, optimizer = accelerator.prepare(training.objective, optimizer)
    first = _load_state(folder, training, optimizer, accelerator.num_processes)
    if accelerator.is_main_process:
        run.forget_metrics_after(training.name, first)
    log = _EpochLog(training, run, accelerator, first)
    for step in range(first, training.batches.num_steps):
        log.add(*_take_step(step, training, module, optimizer, accelerator))
        done = step + 1
        training.progress(done, training.batches.num_steps)
        if _ends_epoch(done, training.batches):
            log.write(done, optimizer)
            if accelerator.is_main_process:
                _save_state(folder, training.objective, optimizer, done, accelerator.num_processes)
    for buffer in training.objective.buffers():
        broadcast(buffer)  # batch statistics are each process's own; from here on the first one's are everyone's
    accelerator.free_memory(module, optimizer)
    accelerator.wait_for_everyone()


def _take_step(
    step: int, training: Training, module: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> tuple[Tensor, dict[str, Tensor], int]:
    options, batches = training.options, training.batches
    rate = learning_rate(
        step,
        num_steps=batches.num_steps,
        num_warmup_steps=options.warmup * batches.num_steps,
        peak=options.learning_rate,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.manual_seed(_step_seed(training.seed, step, accelerator.process_index))
    batch = batches.at(step)
    loss = module(batch)
    # DDP takes the mean over processes; with uneven shares that is no mean over samples until each is weighted by its share.
    share = len(batch) * accelerator.num_processes / batches.size(step)
    accelerator.backward(loss.total * share)
    if options.clip > 0.0:
        accelerator.clip_grad_norm_(module.parameters(), options.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    training.objective.after_step(step, batches.num_steps)
    return loss.total.detach() * share, {name: value * share for name, value in loss.terms.items()}, batches.size(step)


def _step_seed(seed: int, step: int, rank: int) -> int:
    # Odd multipliers keep the three apart; torch wants a signed 64-bit seed.
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) & ((1 << 62) - 1)


def _ends_epoch(done: int, batches: Batches) -> bool:
    return done == batches.num_steps or int(done / batches.steps_per_epoch) > int((done - 1) / batches.steps_per_epoch)


class _EpochLog:
    """Sums losses on the device and writes one line an epoch, so that no step waits for a number."""

    def __init__(self, training: Training, run: RunFolder, accelerator: Accelerator, first: int) -> None:
        self._training, self._run, self._accelerator = training, run, accelerator
        self._last_step = first
        self._reset()

    def _reset(self) -> None:
        self._losses: list[Tensor] = []
        self._terms: dict[str, list[Tensor]] = {}
        self._samples = 0
        self._start = time.perf_counter()

    def add(self, loss: Tensor, terms: dict[str, Tensor], samples: int) -> None:
        self._losses.append(loss)
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value)
        self._samples += samples

    def write(self, done: int, optimizer: torch.optim.Optimizer) -> None:
        training, accelerator = self._training, self._accelerator
        loss = self._mean(self._losses)
        epoch = min(done / training.batches.steps_per_epoch, float(training.options.epochs))
        if not math.isfinite(loss):
            raise TrainingError(
                f"Stage {training.name}: the loss is {loss} in epoch {epoch:.0f}. "
                "Lower that stage's learning_rate, or train with precision = 'fp32'."
            )
        seconds = time.perf_counter() - self._start
        line: dict[str, Any] = {"stage": training.name, "step": done, "epoch": round(epoch, 3), "loss": loss}
        line |= {name: self._mean(values) for name, values in self._terms.items()}
        line |= {"learning_rate": optimizer.param_groups[0]["lr"], "images_per_second": round(self._samples / seconds, 1)}
        if accelerator.is_main_process:
            if training.validate is not None and self._due(done):
                line |= training.validate()
                training.objective.train()
            self._run.log(line)
        self._last_step = done
        self._reset()

    def _mean(self, values: list[Tensor]) -> float:
        """The mean over steps and processes; each value was weighted by its process's share."""
        return float(self._accelerator.reduce(torch.stack(values).mean(), "mean"))

    def _due(self, done: int) -> bool:
        times, total = self._training.options.validations, self._training.batches.num_steps
        return times > 0 and done * times // total > self._last_step * times // total


def _save_state(folder: Path, objective: Objective, optimizer: torch.optim.Optimizer, step: int, num_processes: int) -> None:
    with atomic_folder(folder / f"state-{step:09d}") as new:
        tensors = {name: value.detach().contiguous().cpu() for name, value in objective.state_dict().items()}
        save_file(tensors, new / "objective.safetensors")
        torch.save(optimizer.state_dict(), new / "optimizer.pt")
        (new / "step.json").write_text(json.dumps({"step": step, "processes": num_processes}))
    for old in sorted(folder.glob("state-*"))[:-1]:
        shutil.rmtree(old)


def _load_state(folder: Path, training: Training, optimizer: torch.optim.Optimizer, num_processes: int) -> int:
    states = sorted(folder.glob("state-*"))
    if not states:
        return 0
    saved = json.loads((states[-1] / "step.json").read_text())
    if saved["processes"] != num_processes:
        raise TrainingError(
            f"Stage {training.name} was started with {saved['processes']} processes, now there are {num_processes}: "
            "batches are shared out differently, so go on with as many as before."
        )
    training.objective.load_state_dict(load_file(states[-1] / "objective.safetensors"))
    optimizer.load_state_dict(torch.load(states[-1] / "optimizer.pt", weights_only=True, map_location="cpu"))
    step: int = saved["step"]
    return step


def build_accelerator(
    *, device: Literal["auto", "cpu", "cuda", "mps"], precision: Literal["auto", "bf16", "fp32"]
) -> Accelerator:
    """The process's device and precision: `auto` takes what is there, and bf16 where the processor computes in it."""
    if (device == "cuda" and not torch.cuda.is_available()) or (device == "mps" and not torch.backends.mps.is_available()):
        raise OptionError(f"device = {device!r}: there is none on this machine. Say 'auto' or 'cpu'.")
    cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available() and not torch.backends.mps.is_available())
    if precision == "auto":
        precision = (
            "bf16" if (has_cpu_bf16() if cpu else torch.cuda.is_available() and torch.cuda.is_bf16_supported()) else "fp32"
        )
    AcceleratorState._reset_state()  # a process may train one run after another, in another precision
    mixed = "bf16" if precision == "bf16" else "no"
    # One process labels and decodes while the others wait, longer than the half hour after which they would give up.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))
    return Accelerator(cpu=cpu, mixed_precision=mixed, kwargs_handlers=[patience])


def on_first_process(accelerator: Accelerator, work: Callable[[], None]) -> None:
    """Do `work` in the first process; where it is refused, every process raises that error instead of waiting for the first.

    Raises:
        RunError: what `work` raised.
    """
    refusal: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            work()
        except RunError as error:
            refusal = [str(error)]
    broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise RunError(refusal[0])


def first_process_values(values: Tensor, device: torch.device) -> Tensor:
    """The first process's numbers, on the CPU, in every process: a last bit that differs would be another teacher's."""
    shared: Tensor = broadcast(values.to(device))
    return shared.cpu()


def has_cpu_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware (AVX512_BF16 or AMX); elsewhere bf16 is slower than fp32."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch has no types here
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
