"""Processes that train until they are told to pause: each in a group of its own, stopped whole while others are measured."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SAMPLED = 0.05
"""Seconds between two looks at the memory."""


class WorkerError(RuntimeError):
    """A worker ended or said something else than it should; the message has the end of its log."""


@dataclass(frozen=True)
class Memory:
    """Memory of a group of processes in bytes."""

    private: int = 0
    """Anonymous pages and pages that its processes share; forked copies count once, mapped files not at all."""
    unique: int = 0
    """What no other process maps (USS), summed: mapped files count where no one else has them open."""

    def at_least(self, other: "Memory") -> "Memory":
        return Memory(max(self.private, other.private), max(self.unique, other.unique))


@dataclass
class Worker:
    """A process that takes steps on command. Between commands it and its children are stopped by signal."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    about: dict[str, Any] = field(default_factory=dict)
    """What it said when it was ready."""

    def wait_until_ready(self) -> None:
        """Wait for its first step, then stop it.

        Raises:
            WorkerError: it ended before.
        """
        self.about = self.answer()["ready"]
        self._signal(signal.SIGSTOP)

    def run(self, seconds: float, *, warm: int, least: int) -> tuple[int, float]:
        """Let it take `warm` steps and then at least `least`, for at least `seconds`: how many, and how long they took."""
        self._signal(signal.SIGCONT)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"warm": warm, "seconds": seconds, "least": least}) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        self._signal(signal.SIGSTOP)
        return answer["steps"], answer["seconds"]

    def answer(self) -> dict[str, Any]:
        """The next line from it.

        Raises:
            WorkerError: it ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            tail = self.log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise WorkerError(f"{self.name} ended early. Its log {self.log} closes with:\n{tail}")
        said: dict[str, Any] = json.loads(line)
        return said

    def answers(self) -> Iterator[dict[str, Any]]:
        """Every line until it ends by itself."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    @contextmanager
    def memory_watched(self) -> Iterator[list[Memory]]:
        """Watch the group's memory during the block; the list's one element is the peak."""
        peak, over = [Memory()], threading.Event()

        def watch() -> None:
            while not over.wait(_SAMPLED):
                peak[0] = peak[0].at_least(memory_of_group(self.process.pid))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            over.set()
            thread.join()

    def end(self) -> None:
        """End it and all it started."""
        if self.process.poll() is None or _processes_of_group(self.process.pid):
            self._signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended: the next answer says so
            os.killpg(self.process.pid, number)


def start(name: str, command: Sequence[str], *, environment: dict[str, str], log: Path) -> Worker:
    """Start a worker; what it prints goes to `log`, and answers come by its standard output."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment,
            start_new_session=True,
        )
    return Worker(name, process, log)


def memory_of_group(group: int) -> Memory:
    """What the processes of a group hold together; those that end meanwhile count nothing."""
    private = unique = 0
    for pid in _processes_of_group(group):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        sizes = {key: int(value.split()[0]) * 1024 for key, value in (line.split(":", 1) for line in lines)}
        private += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
        unique += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(private, unique)


def _processes_of_group(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def all_ready(starts: Sequence[Callable[[], Worker]], *, at_once: int) -> list[Worker]:
    """Start workers, some at a time, and bring each to its first step, where it is stopped.

    Raises:
        WorkerError: one ended before; those that were started are ended.
    """
    started: list[Worker] = []

    def bring(begin: Callable[[], Worker]) -> Worker:
        worker = begin()
        started.append(worker)
        worker.wait_until_ready()
        return worker

    try:
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(bring, starts))
    except BaseException:
        for worker in started:
            worker.end()
        raise
