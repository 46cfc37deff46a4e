"""One case measured: all its contestants in rounds, or one after the other to an accuracy."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from cases import BATCH, OURS, Case, Contestant
from machine import Machine
from rounds import Length, Rates, take_rounds
from workers import Memory, Worker, all_ready

_FOREVER = 1_000
"""Epochs of a training that is ended when its rate is known."""


@dataclass(frozen=True)
class Measured:
    """What a case's contestants did."""

    rates: Rates
    memory: dict[str, Memory]
    labelling: float
    """Images a second at which picturebook stored its targets; 0 where it took no part."""


def measure_rates(
    machine: Machine, case: Case, spec: dict[str, Any], contestants: Sequence[Contestant], *, rounds: int, length: Length
) -> Measured:
    """All contestants in one run: started, brought to their first step, then in turns, while the others stand still."""

    def starter(contestant: Contestant) -> Callable[[], Worker]:
        return lambda: machine.start(case, contestant, spec, epochs=_FOREVER, views=1, free=False)

    with ExitStack() as running:
        ready = all_ready([starter(contestant) for contestant in contestants], at_once=machine.threads)
        for worker in ready:
            running.callback(worker.end)
        workers = {contestant.name: worker for contestant, worker in zip(contestants, ready, strict=True)}
        memory = {name: _watched_turn(worker, length) for name, worker in workers.items()}
        rates = take_rounds(workers, rounds=rounds, length=length, batch=BATCH, say=lambda line: print(f"{case.name} {line}"))
        labelling = workers[OURS.name].about["labelling"] if OURS.name in workers else 0.0
        return Measured(rates, memory, labelling)


def _watched_turn(worker: Worker, length: Length) -> Memory:
    """A turn whose time does not count, with an eye on the memory."""
    with worker.memory_watched() as peak:
        worker.run(length.seconds / 2, warm=length.warm, least=length.least)
    return peak[0]


@dataclass(frozen=True)
class Reached:
    """A training to an accuracy on validation pictures."""

    seconds: float | None
    """Until it was reached, its own validations included, labelling too; None where it was not."""
    whole: float
    """Seconds of all epochs."""
    last: float
    """Accuracy after the last epoch."""


def measure_seconds(
    machine: Machine, case: Case, spec: dict[str, Any], contestants: Sequence[Contestant], *, epochs: int, accuracy: float
) -> dict[str, Reached]:
    """Train each that ends in a classifier and has a teacher; the clock starts when its libraries are imported."""
    found = {}
    for contestant in contestants:
        if not contestant.classifies or not contestant.teacher:
            continue
        worker = machine.start(case, contestant, spec, epochs=epochs, views=max(1, epochs // 4), free=True)
        try:
            lines = list(worker.answers())
        finally:
            worker.end()
        if not lines:
            worker.answer()  # raises with the end of its log
        first = next((line["seconds"] for line in lines if line["accuracy"] >= accuracy), None)
        found[contestant.name] = Reached(first, lines[-1]["seconds"], lines[-1]["accuracy"])
        print(f"{case.name} {contestant.name}: {found[contestant.name]}")
    return found
