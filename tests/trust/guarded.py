"""Readers under guard, in a forked process: what they did with an input, and what no input may make them do."""

import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picturebook.data.images import Broken
from picturebook.errors import PicturebookError

SECONDS = 20.0
"""Of computing that an input may take, however busy the machine is."""
_WAITING = 120.0
"""Seconds that it may take in all."""
MEMORY = 2 * 2**30
"""Bytes that an input may take beyond what the process has when it starts."""
_GRACE = 40.0
_OTHERS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "pickle.find_class",
    "ctypes.dlopen",
)
"""Audit events that no reader causes."""
_IN_FOLDERS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown")

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Input:
    """A place with hostile files, and what reads them."""

    name: str
    prepare: Callable[[Path], None]
    read: Read


class EscapeError(BaseException):
    """A reader did what no input may make it do."""


class HangError(BaseException):
    """A reader took too long."""


def try_all(inputs: Sequence[Input], root: Path) -> list[dict[str, Any]]:
    """What came of each input: a result, a sentence, or a crash, a hang or an escape with its traceback.

    A process that dies is a crash of the input that it had; the next process goes on behind it.
    """
    outcomes: list[dict[str, Any]] = []
    while len(outcomes) < len(inputs):
        told = root / f"outcomes-{len(outcomes)}.jsonl"
        code = _run_child(inputs[len(outcomes) :], root, told)
        outcomes += [json.loads(line) for line in told.read_text().splitlines()] if told.is_file() else []
        if code != 0 and len(outcomes) < len(inputs):
            kind = "hang" if code == -signal.SIGKILL else "crash"
            outcomes.append({"input": inputs[len(outcomes)].name, "kind": kind, "detail": f"the process ended with {code}"})
    return outcomes


def _run_child(inputs: Sequence[Input], root: Path, told: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be_child(inputs, root, told)
    seen, since = -1, time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        size = told.stat().st_size if told.is_file() else 0
        if size != seen:
            seen, since = size, time.monotonic()
        if time.monotonic() - since > _WAITING + _GRACE:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def _be_child(inputs: Sequence[Input], root: Path, told: Path) -> None:
    code = 1
    try:
        quiet = os.open(root / "child.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        lines = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        guard = _Guard()
        sys.addaudithook(guard.audit)
        signal.signal(signal.SIGALRM, _hang)
        signal.signal(signal.SIGPROF, _hang)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, used + 2 * MEMORY))  # so that the machine lives on
        for number, one in enumerate(inputs):
            place = root / f"input-{os.getpid()}-{number}"
            place.mkdir()
            one.prepare(place)
            os.write(lines, json.dumps({"input": one.name, **_try(one, place, guard)}).encode() + b"\n")
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _try(one: Input, place: Path, guard: "_Guard") -> dict[str, str]:
    Path("/proc/self/clear_refs").write_text("5")  # forget the greatest memory so far
    before = _memory("VmRSS")
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, _WAITING)
    guard.place, guard.escape = str(place), ""
    kind, detail = "result", ""
    try:
        one.read(place)
    except (PicturebookError, Broken) as error:
        kind, detail = "sentence", str(error)[:300]
    except HangError:
        kind, detail = "hang", traceback.format_exc()[-1500:]
    except EscapeError as error:
        kind, detail = "escape", str(error)
    except BaseException:
        kind, detail = "crash", traceback.format_exc()[-1500:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        guard.place = ""
    if guard.escape:  # also where the reader swallowed what the guard raised
        kind, detail = "escape", guard.escape
    elif (taken := _memory("VmHWM") - before) > MEMORY:
        kind, detail = "crash", f"took {taken / 2**30:.1f} GB of memory"
    if kind == "sentence" and not detail.strip():
        kind, detail = "crash", "a sentence without words"
    return {"kind": kind, "detail": detail}


def _memory(field: str) -> int:
    """Bytes, by a line of the process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _places(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """What an event changes; names may be relative to an open folder."""
    num = 2 if event in ("os.rename", "os.symlink", "os.link") else 1
    folders = [number for number in arguments[num:] if isinstance(number, int)][-num:] if event in _IN_FOLDERS else []
    names = [os.fsdecode(path) for path in arguments[:num] if isinstance(path, str | bytes | os.PathLike)]
    return [
        f"/proc/self/fd/{folder}/{name}" if folder > 0 else name
        for name, folder in zip(names, folders or [-1] * num, strict=False)
    ]


def _hang(number: int, frame: object) -> None:
    raise HangError


class _Guard:
    """An audit hook; off while no input is read."""

    def __init__(self) -> None:
        self.place = ""
        self.escape = ""

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.place:
            return
        paths: tuple[Any, ...] = ()
        if event == "open":
            path, mode, flags = arguments
            writes = (
                flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
                if isinstance(flags, int)
                else any(letter in (mode or "") for letter in "wax+")
            )
            paths = (path,) if writes else ()
        elif event in _WRITES:
            paths = _places(event, arguments)
        elif event in _OTHERS:
            self._tell(f"{event} {arguments!r:.200}")
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike) and not self._may_write(os.fsdecode(path)):
                self._tell(f"{event} {os.fsdecode(path)!r}")

    def _may_write(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real.startswith(self.place) or real == "/dev/null"

    def _tell(self, what: str) -> None:
        self.escape = what
        raise EscapeError(what)
