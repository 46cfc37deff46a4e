"""Ratios of two pieces of work, timed in turn in one process, and the JSON file that each row of the table is kept in."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
Clock = Literal["wall", "cpu"]
_LOOKED_AT = (".", ":!benchmarks/*/results/*", ":!benchmarks/*/*.json", ":!docs")
"""Files that what is measured goes by."""
BUSY = 0.5
"""Load average a core from which a machine counts as busy."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    what: str
    ratio: float | None
    """Median of the rounds' ratios; None where it was not measured."""
    target: str
    low: float | None
    """Least ratio of a round."""
    high: float | None
    """Greatest ratio of a round."""
    runs: int
    """Rounds."""
    device: str
    commit: str
    details: dict[str, Any] = field(default_factory=dict)
    """What the ratio was made of; for the page alone."""


@dataclass(frozen=True)
class Plan:
    """How much is measured, and by what clock."""

    rounds: int = 5
    steps: int = 8
    """Turns of a round, at least."""
    seconds: float = 10.0
    """Of a round, at least: short steps need more turns to be told apart from what else a machine does."""
    clock: Clock = "wall"
    quick: bool = False

    def now(self) -> float:
        """Seconds: of the wall, or those that this process's threads computed, which count where cores are shared with others."""
        return time.perf_counter() if self.clock == "wall" else time.process_time()


def compare(ours: Callable[[], object], bare: Callable[[], object], plan: Plan) -> tuple[list[float], dict[str, Any]]:
    """The ratio ours / bare of each round, and the seconds behind it.

    In a round the two take turns, step by step, so that whatever slows the machine slows both; the round's ratio is that of
    their medians. Two steps of each before the first round are not counted.
    """
    for _ in range(2):
        ours()
        bare()
    ratios, seconds = [], []
    for _ in range(plan.rounds):
        times: tuple[list[float], list[float]] = ([], [])
        while len(times[0]) < plan.steps or sum(map(sum, times)) < plan.seconds:
            for work, found in zip((ours, bare), times, strict=True):
                start = plan.now()
                work()
                found.append(plan.now() - start)
        seconds.append((median(times[0]), median(times[1])))
        ratios.append(seconds[-1][0] / seconds[-1][1])
    details = {"ours": median(a for a, _ in seconds), "bare": median(b for _, b in seconds), "clock": plan.clock}
    return ratios, details


def row(what: str, target: str, ratios: list[float], details: dict[str, Any] | None = None) -> Row:
    """A measured row."""
    rounded = [round(ratio, 4) for ratio in ratios]
    values = (round(median(ratios), 4), min(rounded), max(rounded))
    return Row(what, values[0], target, values[1], values[2], len(ratios), device(), commit(), details or {})


def unmeasured(what: str, target: str, why: str) -> Row:
    """A row that this machine cannot measure."""
    return Row(what, None, target, None, None, 0, f"not measured: {why}", commit())


def keep(name: str, measured: Row) -> None:
    """Write a row's file, from which the table is made."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(asdict(measured), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def device() -> str:
    """What was measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    kind = torch.backends.cpu.get_cpu_capability() if platform.machine() in ("x86_64", "AMD64") else platform.machine()
    amx = ", AMX" if torch.cpu._is_amx_tile_supported() else ""
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}, {kind}{amx}"


def commit() -> str:
    """The checkout's commit, with "-dirty" where files differ from it but for results and docs."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    differs = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *_LOOKED_AT], check=False).returncode
    return head + "-dirty" * bool(differs)


def refuse_busy(*, anyway: bool) -> None:
    """Say how busy the machine is, and stop where that would spoil a timing."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    print(f"load average {load:.2f} on {cores} cores")
    if load / cores > BUSY and not anyway:
        raise SystemExit(
            f"The machine is busy (load {load:.2f} on {cores} cores), which would spoil the numbers: wait until it is idle, or "
            "say --busy for a look. --clock cpu counts what this process computed alone."
        )
