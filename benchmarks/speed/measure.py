"""Measure the rows of docs/speed.md that need no peers, each into a JSON file of its own; then write the page.

    python benchmarks/speed/measure.py                     all rows
    python benchmarks/speed/measure.py stored_resnet18 …   some of them; the others keep what was measured before
    python benchmarks/speed/measure.py --missing           those that have not been measured at this commit

--quick measures little and keeps nothing; --clock cpu counts the processor's time of this process, for looks on a busy machine.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import memory
import table
import torch
import work
from cases import NAMES
from gpu import bare_share
from pipelines import pipelines
from timing import RESULTS, Plan, Row, commit, compare, keep, refuse_busy, row, unmeasured

STEPS = {
    "stored": (work.stored_step, "student step with stored targets, views included / bare student step", "≤ 1.05"),
    "live": (work.live_step, "student step with live teacher / (bare student step + bare teacher forward)", "≤ 1.05"),
    "head": (work.head_step, "head epoch on stored tokens / head epoch through the encoder", "≤ 0.05"),
    "labelling": (work.labelling, "labelling / bare teacher inference", "≤ 1.05"),
}
PIPELINE = "image-text pipeline (encoder given, same-size teacher, V = E/4, texts stored) / plain supervised training"
MEMORY = "peak private memory, N = 100k rows / N = 10k rows"
GPU = "on a GPU: share of the bare step rate, ResNet-18 at 32 px, bf16, compiled"


def step_row(kind: str, family: str, plan: Plan) -> Row:
    """A row that compares two kinds of steps."""
    make, what, target = STEPS[kind]
    with tempfile.TemporaryDirectory() as place:
        ratios, details = compare(*make(Path(place), family), plan)
    return row(f"{what} ({NAMES[family]})", target, ratios, details)


def pipeline_row(family: str, plan: Plan) -> Row:
    """A row that compares two runs."""
    with tempfile.TemporaryDirectory() as place:
        ratios, details = pipelines(Path(place), family, plan)
    return row(f"{PIPELINE} ({NAMES[family]})", "≤ 1.15", ratios, details)


def memory_row(plan: Plan) -> Row:
    """Memory's row."""
    few, many = (500, 1500) if plan.quick else (10_000, 100_000)
    with tempfile.TemporaryDirectory() as place:
        ratios, details = memory.growth(Path(place), few, many)
    return row(MEMORY, "≤ 1.1", ratios, details)


def gpu_row(plan: Plan) -> Row:
    """The GPU's row, where there is one."""
    if not torch.cuda.is_available():
        return unmeasured(GPU, "≥ 0.9", "no GPU")
    with tempfile.TemporaryDirectory() as place:
        ratios, details = bare_share(Path(place), plan)
    return row(GPU, "≥ 0.9", ratios, details)


ROWS: dict[str, Callable[[Plan], Row]] = {
    **{f"{kind}_{family}": partial(step_row, kind, family) for kind in STEPS for family in NAMES},
    **{f"pipeline_{family}": partial(pipeline_row, family) for family in NAMES},
    "memory": memory_row,
    "gpu": gpu_row,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="one round of two steps, to see that it works; nothing is kept")
    parser.add_argument("--busy", action="store_true", help="measure although the machine is busy")
    parser.add_argument("--missing", action="store_true", help="only rows that were not measured at this commit")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    asked = parser.parse_args()
    if unknown := set(asked.rows) - ROWS.keys():
        parser.error(f"there is no row {', '.join(sorted(unknown))}: there are {', '.join(ROWS)}")
    refuse_busy(anyway=asked.busy or asked.quick)
    plan = Plan(1, 2, 0.0, asked.clock, quick=True) if asked.quick else Plan(clock=asked.clock)
    for name in asked.rows or ROWS:
        if asked.missing and _commit_of(name) == commit():
            continue
        start = time.perf_counter()
        measured = ROWS[name](plan)
        shown: Any = "not measured" if measured.ratio is None else measured.ratio
        print(
            f"{name}: {shown} ({measured.target}; {measured.low} to {measured.high}), {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        if not asked.quick:
            keep(name, measured)
    if not asked.quick:
        table.main()


def _commit_of(name: str) -> str | None:
    path = RESULTS / f"{name}.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["commit"]) if path.is_file() else None


if __name__ == "__main__":
    main()
