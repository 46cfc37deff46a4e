"""The one loop. Training is a function of the step: step → batch, learning rate, generator state.

A step's batch comes whole from `Batches.at(step)`; nothing but the objective, the optimiser and the step number is
carried over, so a resumed training equals a straight one bit for bit on CPU with equal threads, and two processes
equal one to float tolerance (for models without batch statistics: BatchNorm normalises per process).
"""

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from picturebook.engine.checkpoints import Best, State, load_state, save_state
from picturebook.engine.epoch_log import EpochLog, ends_epoch
from picturebook.engine.optimization import build_optimizer
from picturebook.engine.stepping import Stepper
from picturebook.engine.tracking import start_tracking
from picturebook.engine.training import Training
from picturebook.interruption import sigterm_noted
from picturebook.runs import RunFolder


def train(training: Training, *, run: RunFolder, accelerator: Accelerator) -> int:
    """Train `training.objective` to its last step, going on from a saved state if there is one.

    Returns:
        The number of steps after which the weights that it is left with were reached: of all, or up to the best validation.

    Raises:
        InterruptionError: SIGTERM came; the state is saved.
        TrainingError: the loss is no longer finite, or the saved state is of another number of processes.
        RunError: a tracker cannot be started.
    """
    start_tracking(accelerator, run)
    folder, options, objective = run.stage(training.name), training.options, training.objective
    optimizer = build_optimizer(objective, options)
    objective.train()
    module, optimizer = accelerator.prepare(objective, optimizer)
    if options.compile:
        module = torch.compile(module)
    averages = {name: value.clone() for name, value in objective.state_dict().items()} if options.average else None
    state = State(objective, optimizer, averages, Best() if options.keep == "best" else None)
    load_state(folder, state, stage=training.name, num_processes=accelerator.num_processes)
    if accelerator.is_main_process:
        run.restore_metrics(training.name, state.log)
    with sigterm_noted() as sigterm_came:
        _take_steps(
            Stepper(training, module, state, accelerator), EpochLog(training, run, accelerator, state), folder, sigterm_came
        )
    if averages is not None:
        objective.load_state_dict(averages)
    if state.best is not None:
        objective.load_state_dict(state.best.weights)
    for buffer in objective.buffers():
        broadcast(buffer)  # batch statistics are each process's own; from here on the first one's are everyone's
    accelerator.free_memory(module, optimizer)
    accelerator.wait_for_everyone()
    return state.step if state.best is None else state.best.step


def _take_steps(stepper: Stepper, log: EpochLog, folder: Path, sigterm_came: Callable[[], bool]) -> None:
    training, state, accelerator = stepper.training, stepper.state, stepper.accelerator

    def save() -> None:
        state.since = log.since()
        if accelerator.is_main_process:
            save_state(folder, state, num_processes=accelerator.num_processes)

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
            save()
            return
