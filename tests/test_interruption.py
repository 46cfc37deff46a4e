"""SIGTERM, to each command: it ends with a code of its own, and leaves what was there and nothing half written."""

import os
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from command_line import CommandLine, contents
from picturebook.errors import AbandonedError, InterruptionError, PicturebookError
from picturebook.interruption import sigterm_abandons, sigterm_noted, sigterm_raises
from picturebook.runs import RunFolder
from picturebook.serve.command import serve
from picturebook.types import Silence
from picturebook.writing import UNFINISHED

GO_ON = "picturebook: Stopped by SIGTERM. What was done is kept: the same command goes on from there, `train` with --resume."
BEGIN_ANEW = "picturebook: Stopped by SIGTERM. Nothing half written was left: the same command begins anew."

_due: list[str] = []
"""A part of the path at whose opening SIGTERM comes."""


def _strike(event: str, arguments: tuple[Any, ...]) -> None:
    if _due and event == "open" and _due[0] in str(arguments[0]):
        _due.clear()
        os.kill(os.getpid(), signal.SIGTERM)


sys.addaudithook(_strike)  # stays, and does nothing while nothing is due


@contextmanager
def sigterm_when_opened(part: str) -> Iterator[None]:
    """SIGTERM comes once, as soon as a file is opened whose path holds `part`."""
    _due.append(part)
    try:
        yield
        assert not _due, f"nothing of {part} was opened"
    finally:
        _due.clear()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(UNFINISHED)]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("inspect", "{data}"), "metadata.csv"),
        (("init", "{data}", "--out", "{out}.toml"), ".out.toml."),
        (("evaluate", "{run}", "{data}"), "config.json"),
        (("predict", "{run}", "{data}", "--out", "{out}.csv"), ".out.csv."),
        (("predict", "{run}", "{data}", "--out", "{out}.parquet"), "apple/00.png"),
        (("export", "{run}", "--to", "timm"), "new/config.json"),
        (("export", "{run}", "--to", "hub", "--out", "{out}"), "README.md"),
        (("report", "{run}", "--out", "{out}.html"), ".out.html."),
        (("serve", "{run}", "--port", "0"), "config.json"),
    ],
)
def test_a_command_that_is_stopped_leaves_everything_as_it_was(
    picturebook: CommandLine, tmp_path: Path, arguments: tuple[str, ...], part: str
) -> None:
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    before = contents(tmp_path)
    places = {"run": run, "data": picturebook.data, "out": tmp_path / "out"}
    with sigterm_when_opened(part):
        answer = picturebook(*(argument.format(**places) for argument in arguments))
    assert (answer.code, answer.out) == (143, "")
    assert answer.err.splitlines()[-1] == BEGIN_ANEW
    assert contents(tmp_path) == before
    assert leftovers(tmp_path) == leftovers(picturebook.folder) == []


def test_a_training_that_is_stopped_goes_on(picturebook: CommandLine, tmp_path: Path) -> None:
    settings = ("train", picturebook.run_file, "--set", f"out={tmp_path / 'run'}", "--resume")
    with sigterm_when_opened("student"):
        answer = picturebook(*settings)
    assert (answer.code, answer.err.splitlines()[-1]) == (75, GO_ON)
    assert picturebook(*settings).code == 0
    assert RunFolder(tmp_path / "run").damage() is None
    assert leftovers(tmp_path) == []


def test_a_demo_that_is_stopped_goes_on(picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picturebook.demo.build_openmoji", lambda *_, **__: terminate())
    answer = picturebook("demo", "--out", tmp_path / "demo")
    assert (answer.code, answer.err.splitlines()[-1]) == (75, GO_ON)


def test_an_audit_that_is_stopped_leaves_the_one_before(
    picturebook: CommandLine, finished_run: Callable[[str], RunFolder], tmp_path: Path
) -> None:
    run = RunFolder(shutil.copytree(finished_run("bank").path, tmp_path / "run"))
    before = run.audit.read_bytes()
    with sigterm_when_opened(".audit.json."):
        assert picturebook("audit", run.path).code == 143
    assert run.audit.read_bytes() == before
    assert run.damage() is None
    assert leftovers(tmp_path) == []


def test_a_server_ends_as_by_ctrl_c(picturebook: CommandLine) -> None:
    said: list[str] = []

    class Told(Silence):
        def say(self, sentence: str) -> None:
            said.append(sentence)
            if "answers at" in sentence:
                threading.Thread(target=ask_then_stop, args=(sentence.split("answers at ")[1].split()[0],)).start()

    def ask_then_stop(address: str) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(100):
            try:
                opener.open(f"{address}api/model", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        terminate()

    with sigterm_abandons():
        serve(picturebook.run, host="127.0.0.1", port=0, max_mb=1, cache=picturebook.cache, reporter=Told())
    assert said[-1] == "Stopped."


def test_debug_shows_no_traceback_of_a_stop(picturebook: CommandLine) -> None:
    with sigterm_when_opened("metadata.csv"):
        answer = picturebook("--debug", "inspect", picturebook.data)
    assert (answer.code, answer.err) == (143, f"{BEGIN_ANEW}\n")


# ---- the blocks themselves --------------------------------------------------------------------------------------------------


def stopped(block: Any, *, swallow: type[BaseException] | tuple[()] = ()) -> InterruptionError:
    """What a block raises for SIGTERM, beneath code that takes some errors for failures of its own."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptionError) as raised, block():
        _stand_still(swallow)
    assert signal.getsignal(signal.SIGTERM) == before
    return raised.value


def _stand_still(swallow: type[BaseException] | tuple[()]) -> None:
    try:
        terminate()
    except swallow:
        pytest.fail("it went on")
    pytest.fail("it went on")


def test_sigterm_raises_where_the_program_stands() -> None:
    for block, kind, code in ((sigterm_raises, InterruptionError, 75), (sigterm_abandons, AbandonedError, 143)):
        error = stopped(block)
        assert (type(error), error.exit_code) == (kind, code)


def test_no_one_takes_it_for_a_failure() -> None:
    stopped(sigterm_raises, swallow=Exception)
    assert not issubclass(InterruptionError, PicturebookError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what it drops is the subject
def test_what_python_drops_counts_at_the_end_of_the_block() -> None:
    class Last:
        def __del__(self) -> None:
            terminate()

    with pytest.raises(InterruptionError), sigterm_raises():
        Last()


def test_the_inner_block_counts() -> None:
    with pytest.raises(InterruptionError) as raised, sigterm_abandons(), sigterm_raises():
        terminate()
    assert raised.value.exit_code == 75


def test_sigterm_is_noted_and_counts_at_the_end_of_the_block() -> None:
    seen: list[bool] = []

    def block() -> None:
        with sigterm_noted() as came:
            seen.append(came())
            terminate()
            seen.append(came())

    with pytest.raises(InterruptionError):
        block()
    assert seen == [False, True]
