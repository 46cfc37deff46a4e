"""The one loop. Training is a function of the step: step → batch, learning rate, generator state.

A step's batch comes whole from `Batches.at(step)`; nothing but the objective, the optimiser and the step number is
carried over, so a resumed training equals a straight one bit for bit on CPU with equal threads, and two processes
equal one to float tolerance (for models without batch statistics: BatchNorm normalises per process).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from picturebook.engine.checkpoints import Best, State, load_state, save_state
from picturebook.engine.epoch_log import EpochLog, ends_epoch
from picturebook.engine.optimization import build_optimizer
from picturebook.engine.parts import Trained, gathered
from picturebook.engine.stepping import Stepper
from picturebook.engine.tracking import start_tracking
from picturebook.engine.training import Training
from picturebook.interruption import sigterm_noted
from picturebook.runs import RunFolder


def train(training: Training, *, run: RunFolder, accelerator: Accelerator, in_parts: bool = False) -> int:
    """Train `training.objective` to its last step, going on from a saved state if there is one.

    `in_parts` shares weights, gradients and optimiser state out over several processes (FSDP).

    Returns:
        The number of steps after which the weights that it is left with were reached: of all, or up to the best validation.

    Raises:
        InterruptionError: SIGTERM came; the state is saved.
        TrainingError: the loss is no longer finite, or the saved state is of another number of processes.
        RunError: a tracker cannot be started.
    """
    start_tracking(accelerator, run)
    step = _learn(training, run, accelerator, in_parts=in_parts)
    training.objective.to(accelerator.device)
    for buffer in training.objective.buffers():
        broadcast(buffer)  # batch statistics are each process's own; from here on the first one's are everyone's
    accelerator.wait_for_everyone()
    return step


def _learn(training: Training, run: RunFolder, accelerator: Accelerator, *, in_parts: bool) -> int:
    """Take the steps and leave the objective with the weights that are kept; the steps after which these were reached."""
    folder, options, objective = run.stage(training.name), training.options, training.objective
    trained = Trained(objective, accelerator, in_parts=in_parts, compiled=options.compile)
    optimizer = build_optimizer(trained.own, options)
    trained.objective.train()
    module: Any = trained.objective
    if not trained.in_parts:
        module, optimizer = accelerator.prepare(module, optimizer)
        module = torch.compile(module) if options.compile else module
    averages = {name: value.clone() for name, value in trained.objective.state_dict().items()} if options.average else None
    state = State(trained, optimizer, averages, Best() if options.keep == "best" else None)
    load_state(folder, state, stage=training.name, num_processes=accelerator.num_processes)
    if accelerator.is_main_process:
        run.restore_metrics(training.name, state.log)
    with sigterm_noted() as sigterm_came:
        _take_steps(
            Stepper(training, module, state, accelerator), EpochLog(training, run, accelerator, state), folder, sigterm_came
        )
    trained.gather()
    if averages is not None:
        objective.load_state_dict(gathered(averages))
    if state.best is not None:
        objective.load_state_dict(state.best.weights)
    accelerator.free_memory(module, optimizer)
    return state.step if state.best is None else state.best.step


def _take_steps(stepper: Stepper, log: EpochLog, folder: Path, sigterm_came: Callable[[], bool]) -> None:
    training, state, accelerator = stepper.training, stepper.state, stepper.accelerator

    def save() -> None:
        state.since = log.since()
        save_state(folder, state, num_processes=accelerator.num_processes, writes=accelerator.is_main_process)

    alone = accelerator.num_processes == 1
    for step in range(state.step, training.batches.num_steps):
        log.add(*stepper.take(step))
        training.progress(state.step, training.batches.num_steps)
        epoch_ends = ends_epoch(state.step, training.batches)
        if epoch_ends or stepper.knows_at_once:
            stepper.refuse_too_many_left_out(save, folder)
        if epoch_ends:
            log.write(state)
            save()
        if sigterm_came() and (alone or epoch_ends):  # several processes stop where all of them stand at one step
            if not epoch_ends:
                save()
            return
