"""What is seen of a stage while it runs: seconds, private memory, and the calls that tell how far it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from picturebook.types import Progress, Reporter

_EVERY = 0.02
"""Seconds between two looks at the memory."""


@dataclass(slots=True)
class Seen:
    """What a block took."""

    seconds: float = 0.0
    memory: int = 0
    """Most bytes of private memory that were seen; 0 where the system does not say it."""


@contextmanager
def watched() -> Iterator[Seen]:
    """Time the block, and look at the process's memory while it runs; what was seen is there at its end."""
    seen, over = Seen(memory=private_memory()), threading.Event()

    def look() -> None:
        while not over.wait(_EVERY):
            seen.memory = max(seen.memory, private_memory())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    start = perf_counter()
    try:
        yield seen
    finally:
        seen.seconds = perf_counter() - start
        over.set()
        watcher.join()
        seen.memory = max(seen.memory, private_memory())


def private_memory() -> int:
    """Bytes of this process that no file stands for, where the system says it; else 0."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines.get("RssAnon", "0 kB").split()[0]) * 1024


class Trial:
    """A Reporter that notes when the latest loop went on, and how far.

    Attributes:
        quiet: what stages find out about a few pictures is nobody's business.
        times: when each call of the latest loop came.
        reached: what its last call said is done; 0 where there was none.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.quiet = False
        self.times: list[float] = []
        self.reached = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        self.times, self.reached = [], 0
        with self._reporter.stage(f"trying: {name}" if self.quiet else name) as progress:

            def note(done: int, total: int) -> None:
                self.times.append(perf_counter())
                self.reached = done
                progress(done, total)

            yield note

    def say(self, sentence: str) -> None:
        if not self.quiet:
            self._reporter.say(sentence)
