import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.progress import Progress as Bars

from picturebook.config import run_recipe
from picturebook.recipes.options import RecipeOptions
from picturebook.terminal import Terminal
from picturebook.types import Progress, Silence

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3|4|9|10)\d(?:;|m)")
"""An escape that sets the colour of letters or ground."""


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Callable[[io.StringIO], io.StringIO]:
    """Puts a stream in stderr's place, in a plain environment of 100 columns."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")

    def put(stream: io.StringIO) -> io.StringIO:
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return put


def work(terminal: Terminal, *, done: int = 30, total: int = 200) -> None:
    """Do some of a stage's work, long enough to be drawn."""
    with terminal, terminal.stage("labelling pictures") as progress:
        for number in range(1, done + 1):
            time.sleep(0.01)
            progress(number, total)
        time.sleep(0.25)  # bars are drawn ten times a second
        progress(done, total)
        time.sleep(0.15)


def test_a_bar_has_its_name_its_count_its_rate_and_the_time_that_is_left(stderr: Callable[[io.StringIO], io.StringIO]) -> None:
    screen = stderr(Screen())
    work(Terminal())
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"labelling pictures +\S+ +30/200 +[\d.]+/s +0:00:\d\d", drawn), drawn[-400:]


def test_slow_work_has_a_rate_too(stderr: Callable[[io.StringIO], io.StringIO]) -> None:
    screen = stderr(Screen())
    with Terminal() as terminal, terminal.stage("training student") as progress:
        for number in range(1, 4):
            time.sleep(0.3)
            progress(number, 100)
        time.sleep(0.15)
    assert re.search(r"[1-9]\.\d/s", screen.getvalue())


def test_colours_are_left_out_where_no_color_says_so(
    stderr: Callable[[io.StringIO], io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = stderr(Screen())
    work(Terminal())
    assert COLOUR.search(screen.getvalue())
    monkeypatch.setenv("NO_COLOR", "1")
    screen = stderr(Screen())
    work(Terminal())
    assert "30/200" in screen.getvalue()
    assert not COLOUR.search(screen.getvalue())


def test_what_is_no_terminal_gets_one_line_a_stage_and_no_escape(stderr: Callable[[io.StringIO], io.StringIO]) -> None:
    file = stderr(io.StringIO())
    terminal = Terminal()
    work(terminal, done=3)
    terminal.say("A remark about [data].")
    assert file.getvalue() == "labelling pictures: done\nA remark about [data].\n"


def test_a_quiet_terminal_shows_nothing(stderr: Callable[[io.StringIO], io.StringIO]) -> None:
    screen = stderr(Screen())
    terminal = Terminal(quiet=True)
    work(terminal, done=3)
    terminal.say("A remark.")
    assert screen.getvalue() == ""


def test_a_stage_that_fails_is_not_said_to_be_done(stderr: Callable[[io.StringIO], io.StringIO]) -> None:
    file = stderr(io.StringIO())
    with pytest.raises(ValueError, match="no"), Terminal() as terminal, terminal.stage("labelling pictures"):
        raise ValueError("no")
    assert file.getvalue() == ""


def test_bars_of_stages_that_are_over_are_taken_away(stderr: Callable[[io.StringIO], io.StringIO]) -> None:
    stderr(Screen())
    terminal = Terminal()
    work(terminal, done=2)
    assert isinstance(terminal._bars, Bars)
    assert terminal._bars.tasks == []


class Counting(Silence):
    """Keeps the last (done, total) of every stage."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[int, int] | None] = {}

    def stage(self, name: str) -> "Bar":
        self.ends[name] = None
        return Bar(self.ends, name)


class Bar:
    def __init__(self, ends: dict[str, tuple[int, int] | None], name: str) -> None:
        self._ends, self._name = ends, name

    def __enter__(self) -> Progress:
        return lambda done, total: self._ends.__setitem__(self._name, (done, total))

    def __exit__(self, *error: object) -> None:
        pass


def test_every_long_step_of_a_run_counts_to_its_end(
    recipe_options: Callable[..., RecipeOptions], tmp_path: Path, frozen_encoder: str
) -> None:
    counting = Counting()
    teacher = {"image_encoder": frozen_encoder, "folds": 2, "calibrate": True}
    run_recipe(recipe_options("own", tmp_path / "run", cache=str(tmp_path / "cache"), teacher=teacher), reporter=counting)
    steps = {
        "decoding pictures",
        "encoding words",
        "encoding pictures",
        "training head-fold-1",
        "training head-fold-2",
        "calibrating the teacher",
        "auditing the teacher",
        "labelling targets",
        "training student",
        "evaluating student on test",
        "evaluating through timm on test",
    }
    assert steps <= counting.ends.keys()
    for name, end in counting.ends.items():
        assert end is not None, name
        assert end[0] == end[1] > 0, (name, end)
