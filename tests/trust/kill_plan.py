"""Which jobs are struck where: every stage by every kind."""

import random
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from killing import KINDS, Job, Trial, Work, forget, run_undisturbed, strike
from toy_world import World
from watching import STAGES

RUNS = ("classifier", "bank", "own")
"""Runs that are struck; all have every stage but the first, which encodes nothing."""
LONG_NUM, LONG_SEEDS = 140, (0, 1)
"""Trials of each seed in the long form, and its seeds."""
EXPORTS = ("export timm", "export hub", "export onnx", "export int8")


class Jobs:
    """The undisturbed runs, made when they are first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._world = World.make(root / "world")
        self._made: dict[str, Job] = {}

    def of(self, name: str) -> Job:
        """A job by its name."""
        if name == "compare":
            return self._make("compare", self._world.compare, only="compare")
        if name in EXPORTS:
            source = self._run("classifier").reference / "run"
            to = name.removeprefix("export ")
            return self._make(name, partial(self._world.export, to=to), only="export", source=source)
        return self._run(name)

    def _run(self, mode: str) -> Job:
        return self._make(mode, self._world.run(mode))

    def _make(self, name: str, work: Work, **how: Any) -> Job:
        if name not in self._made:
            self._made[name] = run_undisturbed(name, work, self._root / "undisturbed" / name.replace(" ", "-"), **how)
        return self._made[name]


def jobs_with(stage: str) -> tuple[str, ...]:
    """The jobs that have a stage."""
    special = {"compare": ("compare",), "export": EXPORTS, "encode": ("bank", "own")}
    return special.get(stage, RUNS)


def plan(num: int, seed: int) -> list[tuple[str, str, str]]:
    """(stage, kind, job) of `num` trials, each stage, each kind and each of a stage's jobs as often as the others."""
    pairs = [(stage, kind) for kind in KINDS for stage in STAGES]
    chance = random.Random(seed)
    chosen: list[tuple[str, str]] = []
    while len(chosen) < num:
        chance.shuffle(pairs)
        chosen += pairs
    jobs = {stage: cycle(jobs_with(stage)) for stage in STAGES}
    return [(stage, kind, next(jobs[stage])) for stage, kind in chosen[:num]]


def trials(root: Path, chosen: list[tuple[str, str, str]], seed: int) -> Iterator[Trial]:
    """Strike a job for each (stage, kind, job)."""
    jobs = Jobs(root)
    for number, (stage, kind, job) in enumerate(chosen):
        chance = random.Random(1000 * seed + number)
        place = root / "trials" / f"{number:04d}"
        place.parent.mkdir(parents=True, exist_ok=True)
        trial = strike(jobs.of(job), stage, kind, place, chance)
        if not trial.problems:
            forget(place)
        yield trial
