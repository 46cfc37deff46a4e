"""A training's state on disk: the objective, the optimiser, the step, and averages or the best weights where kept."""

import io
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from picturebook.checksums import CHECKSUMS, checksums_of, damage
from picturebook.engine.parts import Trained, cut_like, gathered
from picturebook.errors import PicturebookError, TrainingError
from picturebook.tensor_files import read_tensors, write_tensors
from picturebook.writing import atomic_folder, read_json, write_json

_OBJECTIVE, _AVERAGES, _BEST = "objective.safetensors", "averages.safetensors", "best.safetensors"
_OPTIMIZER, _STEP = "optimizer.pt", "step.json"
_KEPT = 2
"""States on disk."""


@dataclass(slots=True)
class Best:
    """The best validation so far: the highest accuracy and, of equal ones, the lowest NLL."""

    accuracy: float = -math.inf
    nll: float = math.inf
    step: int = 0
    """Steps taken before it."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """What the objective's state held then, by name; empty before the first validation."""

    def consider(self, accuracy: float, nll: float, *, step: int, objective: nn.Module) -> None:
        """Take the objective's weights as they are, if this validation is better than any before it."""
        nll = math.inf if math.isnan(nll) else nll
        if not self.weights or (accuracy, -nll) > (self.accuracy, -self.nll):
            self.accuracy, self.nll, self.step = accuracy, nll, step
            self.weights = {name: value.clone() for name, value in objective.state_dict().items()}


@dataclass(slots=True)
class State:
    """What is carried from step to step."""

    trained: Trained
    optimizer: torch.optim.Optimizer
    averages: dict[str, Tensor] | None
    """Running averages of what the objective's state holds, by name, or None where none are kept."""
    best: Best | None = None
    """The best validation, or None where the last weights are kept."""
    step: int = 0
    """Steps taken."""
    left_out: int = 0
    """Steps among them that were not finite and changed nothing."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """The stage's lines of the log so far."""
    since: dict[str, Any] = field(default_factory=dict)
    """What has been summed for the next line, where the state is not an epoch's last."""


def save_state(folder: Path, state: State, *, num_processes: int, writes: bool = True) -> None:
    """Write the state. The one before it stays, for the day on which the newest turns out to be broken; older ones go.

    All processes call it, for a state in parts is put together; the one that `writes` writes. What is written is the same
    whether the objective was whole or in parts.

    Raises:
        RunError: the place cannot be written.
    """
    objective = gathered(state.trained.objective.state_dict(), keep=writes)
    averages = None if state.averages is None else gathered(state.averages, keep=writes)
    optimizer_state = state.trained.optimizer_state(state.optimizer, keep=writes)
    if not writes:
        return
    with atomic_folder(folder / f"state-{state.step:09d}") as new:
        write_tensors(objective, new / _OBJECTIVE)
        if averages is not None:
            write_tensors(averages, new / _AVERAGES)
        about: dict[str, Any] = {"step": state.step, "processes": num_processes, "left_out": state.left_out}
        about |= {"log": state.log, "since": state.since}
        if state.best is not None and state.best.weights:
            write_tensors(state.best.weights, new / _BEST)
            about["best"] = {"accuracy": state.best.accuracy, "nll": state.best.nll, "step": state.best.step}
        optimizer = io.BytesIO()  # torch hides a full disk's error behind one of its own
        torch.save(optimizer_state, optimizer)
        (new / _OPTIMIZER).write_bytes(optimizer.getbuffer())
        write_json(new / CHECKSUMS, checksums_of(new, sorted(path.name for path in new.iterdir())))
        write_json(new / _STEP, about)
    for old in sorted(folder.glob("state-*"))[:-_KEPT]:
        shutil.rmtree(old)


def load_state(folder: Path, state: State, *, stage: str, num_processes: int) -> None:
    """Take up the newest whole state there is; without one `state` stays as it is.

    Raises:
        TrainingError: it is of another number of processes.
    """
    for newest in sorted(folder.glob("state-*"), reverse=True):
        saved = _read(newest)
        if saved is None:
            continue
        if saved.step["processes"] != num_processes:
            raise TrainingError(
                f"Stage {stage} was started with {saved.step['processes']} processes, now there are {num_processes}: "
                "batches are shared out differently, so go on with as many as before."
            )
        objective = state.trained.objective
        held = objective.state_dict()
        objective.load_state_dict({name: cut_like(value, held.get(name, value)) for name, value in saved.objective.items()})
        if state.averages is not None:
            for name, value in saved.averages.items():
                state.averages[name].copy_(cut_like(value, state.averages[name]))
        if state.best is not None and saved.best:
            device = next(iter(state.trained.whole.state_dict().values())).device
            weights = {name: value.to(device) for name, value in saved.best.items()}
            state.best = Best(**saved.step["best"], weights=weights)
        state.trained.load_optimizer_state(state.optimizer, saved.optimizer)
        state.step, state.left_out = saved.step["step"], saved.step["left_out"]
        state.log, state.since = saved.step.get("log", []), saved.step.get("since", {})
        return


@dataclass(frozen=True, slots=True)
class _Saved:
    """A state's files, read."""

    step: dict[str, Any]
    objective: dict[str, Tensor]
    averages: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Any]


def _read(folder: Path) -> _Saved | None:
    """A saved state; None where one of its files is not what was written."""
    if damage(folder, thorough=True) is not None:
        return None
    try:
        averages, best = (read_tensors(path) if path.is_file() else {} for path in (folder / _AVERAGES, folder / _BEST))
        optimizer = torch.load(folder / _OPTIMIZER, weights_only=True, map_location="cpu")
        return _Saved(read_json(folder / _STEP), read_tensors(folder / _OBJECTIVE), averages, best, optimizer)
    except (PicturebookError, OSError, RuntimeError, EOFError, UnpicklingError):
        return None
