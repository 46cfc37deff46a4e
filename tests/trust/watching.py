"""Inside a process that is to be killed: counts what it does, stage by stage, notes it in a file, and strikes at one event.

An event is a call of a stage's progress, or a file that is opened to be written, renamed or removed under the trial's folder.
"""

import errno
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picturebook.types import Progress

STAGES = ("decode", "encode", "train", "label", "evaluate", "export", "compare")
_STAGE_OF = {
    "decoding": "decode",
    "encoding": "encode",
    "training": "train",
    "labelling": "label",
    "evaluating": "evaluate",
    "writing": "evaluate",
    "auditing": "audit",
    "exporting": "export",
}
_FILE_EVENTS = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1}
"""Audit events that change a folder, and how many paths they name."""


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOENT)


class FaultError(Exception):
    """What a broken machine raises: none of picturebook's errors."""


@dataclass(frozen=True)
class Blow:
    """When a process is struck, and by what."""

    stage: str
    """Whose events are counted; "" for all."""
    event: int
    """The number of the event, from 0."""
    kind: str
    """SIGKILL, SIGTERM, exception or disk error, which waits for the next change of a file."""

    def fall(self) -> None:
        if self.kind == "disk error":
            number = _DISK[self.event % len(_DISK)]
            raise OSError(number, os.strerror(number))
        if self.kind == "exception":
            raise FaultError("the machine broke")
        os.kill(os.getpid(), {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}[self.kind])


class Watch:
    """A Reporter that counts and strikes."""

    def __init__(self, place: Path, *, notes: Path, blow: Blow | None, only: str | None = None) -> None:
        self._place, self._blow, self._only = f"{place}/", blow, only
        self._notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._due = False
        self.stage_now = only or "decode"
        self.counts: Counter[str] = Counter()
        sys.addaudithook(self._audit)  # stays for the rest of the process

    def event(self, *, of_file: bool = False) -> None:
        """Count one event, and strike if it is the one."""
        number, of_all = self.counts[self.stage_now], sum(self.counts.values())
        self.counts[self.stage_now] += 1
        blow = self._blow
        if blow and ((number == blow.event and blow.stage == self.stage_now) or (not blow.stage and of_all == blow.event)):
            self._due = True
        if blow and self._due and (of_file or blow.kind != "disk error"):
            self._blow = None
            self.note(struck=self.stage_now)
            blow.fall()

    def note(self, **what: Any) -> None:
        """Write to the trial's notes: one write, so that it is whole whatever comes after."""
        os.write(self._notes, json.dumps(what).encode() + b"\n")

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        return self._stage(name)

    @contextmanager
    def _stage(self, name: str) -> Iterator[Progress]:
        if self._only is None:
            self.stage_now = _STAGE_OF.get(name.split()[0], self.stage_now)
        self.note(enter=name)

        def progress(done: int, total: int) -> None:
            self.note(at=name, done=done, total=total)
            self.event()

        yield progress
        self.note(left=name)

    def say(self, sentence: str) -> None:
        self.note(said=sentence)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else any(letter in mode for letter in "wax+")
            paths = (path,) if writes else ()
        else:
            paths = arguments[: _FILE_EVENTS.get(event, 0)]
        if any(str(path).startswith(self._place) for path in paths if isinstance(path, str | Path)):
            self.event(of_file=True)
