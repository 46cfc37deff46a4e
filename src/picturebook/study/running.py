"""Running cells: a process each, as many at a time as wanted, teachers before students; a failed cell stops only its students."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from picturebook.config import dump_options
from picturebook.locking import wait_until_free
from picturebook.study.cells import Cell
from picturebook.study.ledger import Ledger
from picturebook.study.records import keep_record, known, recorded, refuse_other_settings
from picturebook.types import Reporter
from picturebook.writing import write_atomically


@runtime_checkable  # so that the tests' type checks can look at it
class Runner(Protocol):
    """What trains a cell."""

    def __call__(self, cell: Cell) -> str | None:
        """Train the cell whose settings are in `cell.file`; the sentence with which it failed, or None."""
        ...

    def stop(self) -> None:
        """End what is being trained, so that it can be taken up again."""
        ...


NOT_RUN = "it has not been run yet"


@runtime_checkable
class RunsCells(Protocol):
    """What sees to it that cells are finished."""

    def run(self, cells: Sequence[Cell], *, given_up: Mapping[Path, str] = MappingProxyType({})) -> dict[Path, str]:
        """Folders of cells that are not, each with the reason."""
        ...


class WhatIsThere:
    """Runs nothing."""

    def run(self, cells: Sequence[Cell], *, given_up: Mapping[Path, str] = MappingProxyType({})) -> dict[Path, str]:
        """Every cell that is not finished, as one that was not run yet."""
        return {cell.folder: NOT_RUN for cell in cells if not known(cell)} | dict(given_up)


class TrainProcesses:
    """Trains each cell by `picturebook train CELL.toml --resume` in a process of its own."""

    def __init__(self, *, threads: int) -> None:
        self._threads = str(threads)
        self._alive: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __call__(self, cell: Cell) -> str | None:
        wait_until_free(cell.folder)  # a study that was killed may have left a training alone; it may well finish
        command = [sys.executable, "-m", "picturebook", "train", str(cell.file), "--resume"]
        environment = os.environ | {"OMP_NUM_THREADS": self._threads, "MKL_NUM_THREADS": self._threads}
        with cell.log.open("wb") as log:
            with self._lock:
                if self._stopped:
                    return "it was not started: the study was interrupted"
                process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603 (ours)
                self._alive.add(process)
            code = process.wait()
        with self._lock:
            self._alive.discard(process)
        return None if code == 0 else last_sentence(cell.log.read_text(encoding="utf-8", errors="replace"), code)

    def stop(self) -> None:
        """End the processes."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                process.terminate()


def last_sentence(log: str, code: int) -> str:
    """Why a process ended with `code`: its error's sentence, else its last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("picturebook: "):
            return " ".join(lines[number:]).removeprefix("picturebook: ")
    if code < 0:
        return f"the process was ended by signal {-code}" + (" (is there too little memory?)" if code == -9 else "")
    return lines[-1].strip() if lines else f"the process ended with code {code} and said nothing"


@dataclass(frozen=True, slots=True)
class Cells:
    """Runs cells and keeps account of them."""

    runner: Runner
    processes: int
    reporter: Reporter
    ledger: Ledger

    def run(self, cells: Sequence[Cell], *, given_up: Mapping[Path, str] = MappingProxyType({})) -> dict[Path, str]:
        """Run those that are not finished, in their order; give the failed ones' folders with their last error sentence.

        `cells` holds everything that one of them needs, before it (`Plan.ordered`). Those `given_up` count as failed, with that
        sentence.

        Raises:
            RunError: a cell was run with other settings; nothing has been started then.
        """
        failed = dict(given_up)
        waiting = [cell for cell in cells if cell.folder not in failed]
        for cell in waiting:
            refuse_other_settings(cell)
        by_key = {(cell.arm, cell.seed): cell for cell in cells if not cell.is_trial}
        waiting = self._to_do(waiting, by_key)
        running: dict[Future[tuple[str | None, float]], Cell] = {}
        with self.reporter.stage("cells") as progress, ThreadPoolExecutor(self.processes) as pool:
            try:
                while waiting or running:
                    self._start(waiting, running, by_key, failed, pool)
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._end(running.pop(future), *future.result(), failed)
                    progress(len(cells) - len(waiting) - len(running), len(cells))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.runner.stop()
                raise
        return failed

    def _to_do(self, cells: Sequence[Cell], by_key: Mapping[tuple[str, int], Cell]) -> list[Cell]:
        """Cells of which nothing is known yet, and runs of which the record alone is left but from which one of them learns."""
        commits, wanted, needed = self.ledger.commits(), list[Cell](), set[Path]()
        for cell in reversed(cells):
            if cell.run.finished:
                if not recorded(cell):
                    keep_record(cell, commits.get(cell.folder, "unknown"))
            elif cell.folder in needed or not recorded(cell):
                wanted.append(cell)
                needed |= {by_key[key].folder for key in cell.needs}
        return wanted[::-1]

    def _start(
        self,
        waiting: list[Cell],
        running: dict[Future[tuple[str | None, float]], Cell],
        by_key: dict[tuple[str, int], Cell],
        failed: dict[Path, str],
        pool: ThreadPoolExecutor,
    ) -> None:
        for cell in list(waiting):
            teachers = [by_key[key] for key in cell.needs]
            lost = [teacher for teacher in teachers if teacher.folder in failed]
            if lost:
                waiting.remove(cell)
                failed[cell.folder] = f"it learns from {lost[0].name}, which failed"
            elif len(running) < self.processes and all(teacher.run.finished for teacher in teachers):
                waiting.remove(cell)
                write_atomically(cell.file, dump_options(cell.options).encode())
                self.reporter.say(f"{cell.name}: started")
                running[pool.submit(self._timed, cell)] = cell

    def _timed(self, cell: Cell) -> tuple[str | None, float]:
        start = time.perf_counter()
        return self.runner(cell), time.perf_counter() - start

    def _end(self, cell: Cell, error: str | None, seconds: float, failed: dict[Path, str]) -> None:
        if error is None and not cell.run.finished:
            error = "it ended without results"
        self.ledger.append(cell.folder, seconds=seconds, error=error)
        if error is None:
            if not recorded(cell):  # what was made again for its students may differ in the last digits on another processor
                keep_record(cell, self.ledger.commit)
            self.reporter.say(f"{cell.name}: finished in {seconds:.0f} s")
        else:
            failed[cell.folder] = error
            self.reporter.say(f"{cell.name}: failed. {error}")
