"""The worker's end of the pipe: a training loop says when a step has ended, the driver says how long to go on.

Commands and answers are JSON, one a line. The worker's own standard output goes to its log, so that a chatty library cannot
get between the lines.

    ← {"ready": {…}}                                      once, after the first step
    → {"warm": 2, "seconds": 3.0, "least": 3}             take 2 steps, then at least 3 for at least 3 s
    ← {"steps": 17, "seconds": 3.1}                       those that were timed
    ← {"epoch": 1, "accuracy": 0.2, "seconds": 12.5}      in a run to an accuracy, which takes no commands
"""

import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO


def read_spec() -> dict[str, Any]:
    """What the driver asked this worker to be: the JSON that is its one argument."""
    spec: dict[str, Any] = json.loads(sys.argv[1])
    return spec


def open_pipe() -> TextIO:
    """The way to the driver; from here on what is printed goes to the log."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return pipe


@dataclass
class Pace:
    """Stops and times a training loop that calls `step` at the end of each step."""

    pipe: TextIO
    about: dict[str, Any] = field(default_factory=dict)
    """What this worker says of itself: versions, flags."""
    free: bool = False
    """Run to the end without commands, as in a run to an accuracy."""
    _warm: int = 0
    _least: int = 0
    _seconds: float = 0.0
    _steps: int = 0
    _start: float = 0.0
    _is_ready: bool = False

    def step(self) -> None:
        """One step has ended, or the next is about to begin: the loop waits here between the driver's commands."""
        if self.free:
            return
        if not self._is_ready:
            self._is_ready = True
            self.tell({"ready": self.about})
            self._take_command()
            return
        if self._warm:
            self._warm -= 1
            self._start = time.perf_counter()
            return
        self._steps += 1
        seconds = time.perf_counter() - self._start
        if self._steps >= self._least and seconds >= self._seconds:
            self.tell({"steps": self._steps, "seconds": seconds})
            self._take_command()

    def tell(self, line: dict[str, Any]) -> None:
        """Send a line to the driver."""
        self.pipe.write(json.dumps(line) + "\n")

    def _take_command(self) -> None:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # the driver has gone; whatever loop this is called from has nothing more to do
        command = json.loads(line)
        self._warm, self._least, self._seconds = command["warm"], command["least"], command["seconds"]
        self._steps, self._start = 0, time.perf_counter()
