"""What was measured, as tables for a reader, as rows for docs/speed.json, and whole."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cases import CASES, OURS, TITLES, Case, Contestant, target_of
from measuring import Measured, Reached
from rounds import record

from picturebook.engine import cpu_prefers_bf16

_SETTINGS = {"defaults": "at its defaults", "best": "at its best flags", "bare": "without a teacher, at its best flags"}
_MIB = 2**20
_WRITTEN = ("benchmarks/*/results/*", "benchmarks/*/*.json", "docs/*")
"""What benchmarks themselves change."""


def say_case(case: Case, contestants: Sequence[Contestant], measured: Measured) -> None:
    """Print a table: rate, memory, and picturebook's rate over it with its least and greatest round."""
    print(f"\n{case.title}, batch of 64: picturebook labels {measured.labelling:.0f} images/s, once a stored view")
    print(f"{'':24} {'images/s':>9} {'private MiB':>12} {'USS MiB':>8}   picturebook / it")
    for contestant in contestants:
        name, memory = contestant.name, measured.memory[contestant.name]
        ratios, target = measured.rates.ratios(OURS.name, name), target_of(case, contestant)
        aim = "" if target is None else f"   ≥ {target:g}"
        spread = f"{measured.rates.median(OURS.name) / measured.rates.median(name):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        sizes = f"{memory.private / _MIB:12.0f} {memory.unique / _MIB:8.0f}"
        print(f"{name:24} {measured.rates.median(name):9.0f} {sizes}   {spread}{aim}")


def say_seconds(seconds: Mapping[str, Reached], *, accuracy: float) -> None:
    """Print what it took to reach the accuracy."""
    print(f"\nSeconds to {accuracy:.0%} of the validation pictures")
    for name, found in seconds.items():
        first = "not reached" if found.seconds is None else f"{found.seconds:.0f} s"
        print(f"{name:24} {first:>12}   all epochs {found.whole:.0f} s, then {found.last:.1%}")


def write_records(folder: Path, contestants: Sequence[Contestant], measured: Mapping[str, Measured], *, device: str) -> None:
    """A file for each target that was measured; those of other cases stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    commit = commit_name()
    for case in (case for case in CASES if case.name in measured):
        for contestant in contestants:
            target = target_of(case, contestant)
            if target is None:
                continue
            what = f"images/s over {TITLES[contestant.peer]} {_SETTINGS[contestant.setting]}: {case.title}"
            ratios = measured[case.name].rates.ratios(OURS.name, contestant.name)
            row = record(what, ratios, at_least=target, device=device, commit=commit)
            write(folder / f"{case.name}-{contestant.peer}-{contestant.setting}.json", row)


def raw(path: Path, measured: Mapping[str, Measured], seconds: Mapping[str, Reached], **about: Any) -> dict[str, Any]:
    """Every rate of every round, memory in bytes, images/s of labelling, seconds to the accuracy."""
    cases = {
        name: {
            "images_per_second": {key: [round(rate, 2) for rate in values] for key, values in found.rates.by_name.items()},
            "memory": {key: asdict(memory) for key, memory in found.memory.items()},
            "labelling": round(found.labelling, 1),
        }
        for name, found in measured.items()
    }
    reached = {name: asdict(found) for name, found in seconds.items()}
    whole = about | {"commit": commit_name(), "cases": cases, "seconds_to_accuracy": reached}
    write(path, whole)
    return whole


def write(path: Path, content: object) -> None:
    """JSON for people and for git."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def commit_name() -> str:
    """The commit that was measured, with a + where files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    status = [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/", *(f":(exclude,top){path}" for path in _WRITTEN)]
    others = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    return commit + ("+" if others else "")


def device_name(threads: int) -> str:
    """What all contestants computed on."""
    return f"CPU, {threads} threads, {torch.backends.cpu.get_cpu_capability()}{', AMX' if cpu_prefers_bf16() else ''}"
