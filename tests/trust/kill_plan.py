"""Which jobs are struck where: every stage by every kind."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from killing import KINDS, Job, Trial, Work, forget, run_undisturbed, strike
from toy_world import World
from watching import STAGES

MODES = ("classifier", "bank", "own")
"""Runs that are struck; all have every stage but the first, which encodes nothing."""


class Jobs:
    """The undisturbed runs, made when they are first needed."""

    def __init__(self, root: Path, modes: tuple[str, ...] = MODES) -> None:
        self._root, self._modes = root, modes
        self._world = World.make(root / "world")
        self._made: dict[str, Job] = {}

    def of(self, stage: str, chance: random.Random) -> Job:
        """A job that has this stage."""
        if stage == "compare":
            return self._make("compare", self._world.compare, only="compare")
        if stage == "export":
            to = chance.choice(("timm", "hub"))
            source = self._run("classifier").reference / "run"
            return self._make(f"export {to}", partial(self._world.export, to=to), only="export", source=source)
        return self._run(chance.choice(("own", "bank") if stage == "encode" else self._modes))

    def _run(self, mode: str) -> Job:
        return self._make(mode, self._world.run(mode))

    def _make(self, name: str, work: Work, **how: Any) -> Job:
        if name not in self._made:
            self._made[name] = run_undisturbed(name, work, self._root / "undisturbed" / name.replace(" ", "-"), **how)
        return self._made[name]


def plan(num: int, seed: int) -> list[tuple[str, str]]:
    """(stage, kind) of `num` trials, each stage and each kind as often as the others."""
    pairs = [(stage, kind) for kind in KINDS for stage in STAGES]
    chance = random.Random(seed)
    chosen: list[tuple[str, str]] = []
    while len(chosen) < num:
        chance.shuffle(pairs)
        chosen += pairs
    return chosen[:num]


def trials(root: Path, chosen: list[tuple[str, str]], seed: int, modes: tuple[str, ...] = MODES) -> Iterator[Trial]:
    """Strike a job for each (stage, kind)."""
    jobs = Jobs(root, modes)
    for number, (stage, kind) in enumerate(chosen):
        chance = random.Random(1000 * seed + number)
        place = root / "trials" / f"{number:04d}"
        place.parent.mkdir(parents=True, exist_ok=True)
        trial = strike(jobs.of(stage, chance), stage, kind, place, chance)
        if not trial.problems:
            forget(place)
        yield trial
