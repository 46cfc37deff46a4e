"""Runs in forked processes that are struck at random moments and taken up again, compared with one that nobody disturbed."""

import gc
import os
import random
import shutil
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finished_work import Notes, redone
from same_ends import differences
from watching import Blow, FaultError, Watch

from picturebook.errors import InterruptionError, PicturebookError
from picturebook.runs import RunFolder
from picturebook.types import Reporter

KINDS = ("SIGKILL", "SIGTERM", "exception", "power cut", "disk error")
SIGTERM_CODE, FAULT_CODE, SENTENCE_CODE = 75, 70, 2
PATIENCE = 300.0
"""Seconds after which a process that does not end counts as hanging."""

Work = Callable[[Path, Reporter], None]


@dataclass(frozen=True)
class Job:
    """What is run, killed and compared."""

    name: str
    work: Work
    reference: Path
    """Where it ran undisturbed."""
    events: dict[str, int]
    """Of the undisturbed run, by stage."""
    epoch_ends: dict[str, list[int]]
    """Steps after which a training of the undisturbed run saved its state, by stage."""
    only: str | None = None
    """The stage that all of it counts as, or None."""
    source: Path | None = None
    """A finished run that it begins with, as PLACE/run."""


@dataclass
class Trial:
    """One run that was struck until it ended."""

    job: str
    stage: str
    kind: str
    struck: list[str] = field(default_factory=list)
    """The stage in which each blow fell."""
    by: list[str] = field(default_factory=list)
    """Each blow in words."""
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return len(self.struck)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_undisturbed(name: str, work: Work, place: Path, *, only: str | None = None, source: Path | None = None) -> Job:
    """Run a job to its end, and count its events."""
    _begin(place, source)
    end = run_forked(work, place, notes=place.with_suffix(".notes"), blow=None, only=only)
    notes = Notes.read(place.with_suffix(".notes"))
    if end != 0:
        raise RuntimeError(f"the undisturbed run of {name} ended with {end}: {place.with_suffix('.out').read_text()[-2000:]}")
    ends: dict[str, list[int]] = {}
    for line in RunFolder(place / "run").read_metrics():
        ends.setdefault(line["stage"], []).append(line["step"])
    return Job(name, work, place, notes.events, ends, only, source)


def _begin(place: Path, source: Path | None) -> None:
    place.mkdir(parents=True)
    if source is None:
        return
    run = RunFolder(shutil.copytree(source, place / "run"))
    run.forget_checksum(run.settings)
    run.settings.write_text(run.settings.read_text().replace(str(source.parent), str(place)))
    run.note_checksum(run.settings)


def run_forked(work: Work, place: Path, *, notes: Path, blow: Blow | None, only: str | None, after: float | None = None) -> int:
    """Run in a child process; its exit code, or minus the signal that ended it. SIGKILL comes `after` seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the child's work needs none of these
        child = os.fork()
    if child == 0:
        _be_child(work, place, notes, blow, only)
    start = time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        waited = time.monotonic() - start
        if after is not None and waited > after:
            os.kill(child, signal.SIGKILL)
            after = None
        if waited > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"no end after {PATIENCE:.0f} s")
        time.sleep(0.005)


def _be_child(work: Work, place: Path, notes: Path, blow: Blow | None, only: str | None) -> None:
    code = 1
    gc.freeze()  # torch's and timm's half a million objects need no look at each collection
    try:
        out = os.open(place.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        watch = Watch(place, notes=notes, blow=blow, only=only)
        try:
            work(place, watch)
            code = 0
            watch.note(events=dict(watch.counts))
        except (PicturebookError, InterruptionError) as error:
            watch.note(refused=str(error))
            code = error.exit_code
        except FaultError:
            code = FAULT_CODE
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def strike(job: Job, stage: str, kind: str, place: Path, chance: random.Random) -> Trial:
    """Run a job, strike it at a random event of a stage, perhaps once more anywhere, and let it end."""
    trial = Trial(job.name, stage, kind)
    blows = [Blow(stage, chance.randrange(job.events[stage]), "SIGKILL" if kind == "power cut" else kind)]
    if chance.random() < 0.25:
        blows.append(Blow("", chance.randrange(max(1, sum(job.events.values()) // 2)), blows[0].kind))
    before: Notes | None = None
    _begin(place, job.source)
    for number, blow in enumerate([*blows, None]):
        notes_file = place.with_suffix(f".{number}.notes")
        code = run_forked(job.work, place, notes=notes_file, blow=blow, only=job.only)
        notes = Notes.read(notes_file)
        if before is not None:
            trial.problems += redone(before, notes, job.epoch_ends)
        trial.struck += [notes.struck] if notes.struck else []
        if code == 0:  # also where what the blow broke was of no consequence
            break
        if blow is None or code not in _codes(kind):
            trial.problems.append(f"ended with {code}: {notes.refusal or _tail(place)}")
            break
        before = notes.ended_by(kind)
        if kind == "power cut":
            is_finished = (place / "run" / "results.json").is_file()
            before.cut = truncate_last(place, chance)
            before.cut_when_finished = is_finished and before.cut.startswith("run/") and not before.cut.startswith("run/stages/")
        trial.by.append(f"{kind} in {notes.struck}, event {blow.event}" + (f", {before.cut} cut off" if before.cut else ""))
    trial.problems += differences(place, job.reference)
    return trial


def _codes(kind: str) -> tuple[int, ...]:
    return {"SIGTERM": (SIGTERM_CODE,), "exception": (FAULT_CODE,), "disk error": (SENTENCE_CODE,)}.get(kind, (-signal.SIGKILL,))


def _tail(place: Path) -> str:
    return place.with_suffix(".out").read_text(errors="replace")[-1500:]


def truncate_last(place: Path, chance: random.Random) -> str:
    """Cut off the file that was written last, at a random length; its name."""
    files = [
        path
        for path in place.rglob("*")
        if path.is_file()
        and path.suffix not in (".unfinished", ".lock")
        and not path.name.startswith(".")
        and path.stat().st_size
    ]
    files = [path for path in files if ".unfinished" not in str(path.parent)]
    if not files:
        return ""
    last = max(files, key=lambda path: path.stat().st_mtime_ns)
    with last.open("r+b") as file:
        file.truncate(chance.randrange(last.stat().st_size))
    return last.relative_to(place).as_posix()


def summary(trials: list[Trial]) -> dict[str, Any]:
    """The table's numbers."""
    stages = Counter(stage for trial in trials for stage in trial.struck)
    kinds = Counter(trial.kind for trial in trials for _ in trial.struck)
    return {
        "kills": sum(stages.values()),
        "lost": sum(bool(trial.problems) for trial in trials),
        "by_stage": dict(stages),
        "by_kind": dict(kinds),
        "problems": [trial.to_dict() for trial in trials if trial.problems],
    }


def forget(place: Path) -> None:
    """Remove a trial's files."""
    shutil.rmtree(place, ignore_errors=True)
    for path in place.parent.glob(f"{place.name}.*"):
        path.unlink()
