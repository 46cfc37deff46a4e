"""How a contestant's process is started: in its peer's own environment, with the same threads as all others."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import OURS, Case, Contestant
from workers import Worker, start

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


@dataclass(frozen=True)
class Machine:
    """Where environments and files are, and how many threads each process may use."""

    venvs: Path
    work: Path
    threads: int

    def start(self, case: Case, contestant: Contestant, spec: dict[str, Any], *, epochs: int, views: int, free: bool) -> Worker:
        """Start a contestant.

        Args:
            case: its student.
            contestant: who.
            spec: what all contestants of the case are told.
            epochs: how long it would train if nobody stopped it.
            views: stored views of each picture, for picturebook.
            free: let it run to its end and tell its accuracy after each epoch.
        """
        name = f"{case.name} {contestant.name}{' to an accuracy' if free else ''}"
        out = self.work / "runs" / name.replace(" ", "_")
        own = out.with_name(f"{out.name}-cache")  # so that decoding counts in what an accuracy takes
        for folder in (out, own):
            shutil.rmtree(folder, ignore_errors=True)
        spec = spec | {"flags": contestant.flags(case), "workers": contestant.num_workers(case), "out": str(out)}
        spec |= {"epochs": epochs, "views": views, "free": free} | ({"cache": str(own)} if free else {})
        ours = contestant.peer == OURS.peer
        python = sys.executable if ours else str(self.venvs / contestant.peer / "bin" / "python")
        paths = [HERE / "shared", *([REPOSITORY / "src"] if ours else [])]
        command = [python, str(HERE / contestant.peer / "train.py"), json.dumps(spec)]
        return start(name, command, environment=self._environment(paths), log=out.with_name(f"{out.name}.log"))

    def refuse_missing_environments(self, contestants: Sequence[Contestant]) -> None:
        """End the program with a sentence where a peer's environment is not there."""
        peers = {contestant.peer for contestant in contestants} - {OURS.peer}
        missing = sorted(peer for peer in peers if not (self.venvs / peer / "bin" / "python").exists())
        if missing:
            make = f"python {HERE / 'environments.py'} --venvs {self.venvs} {' '.join(missing)}"
            raise SystemExit(f"{self.venvs} holds no environment for {', '.join(missing)}: run {make}")

    def _environment(self, paths: Sequence[Path]) -> dict[str, str]:
        threads = str(self.threads)
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "HF_HUB_OFFLINE": "1",
            "LIGHTLY_TRAIN_EVENTS_DISABLED": "1",  # it would report its use over the network
            "TORCHINDUCTOR_CACHE_DIR": str(self.work / "inductor"),
        }
