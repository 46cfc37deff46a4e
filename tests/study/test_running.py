import os
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_study import Pretending, plan, study

from picturebook.study.cells import Cell
from picturebook.study.ledger import Ledger, source_commit
from picturebook.study.running import Cells, TrainProcesses, last_sentence
from picturebook.types import Silence

TAUGHT = {
    "again": {"recipe": "born_again", "teacher": {"run": "{arm:supervised@next}"}},
    "supervised": {"recipe": "supervised"},
}


def machine(out: Path, runner: Any, processes: int = 1) -> Cells:
    return Cells(runner, processes, Silence(), Ledger(out))


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_every_cell_is_trained_once_and_teachers_first(tmp_path: Path, processes: int) -> None:
    cells = plan(study(tmp_path, arms=TAUGHT, seeds=[0, 1, 2])).cells()

    class Checking(Pretending):
        def __call__(self, cell: Cell) -> str | None:
            assert all(teacher.run.finished for teacher in cells if (teacher.arm, teacher.seed) in cell.needs)
            return super().__call__(cell)

    runner = Checking()
    assert machine(tmp_path, runner, processes).run(cells) == {}
    assert sorted(runner.asked) == sorted(cell.name for cell in cells)
    assert machine(tmp_path, runner, processes).run(cells) == {}
    assert len(runner.asked) == 6


def test_a_failed_cell_stops_only_its_students(tmp_path: Path) -> None:
    cells = plan(study(tmp_path, arms=TAUGHT, seeds=[0, 1, 2])).cells()
    runner = Pretending(broken={"supervised, seed 1": "Stage student: the loss is nan."})
    failed = machine(tmp_path, runner).run(cells)
    assert {path.relative_to(tmp_path).as_posix(): said for path, said in failed.items()} == {
        "runs/supervised/seed-1": "Stage student: the loss is nan.",
        "runs/again/seed-0": "it learns from supervised, seed 1, which failed",
    }
    assert "again, seed 0" not in runner.asked
    assert sum(cell.run.finished for cell in cells) == 4


def test_the_ledger_has_a_line_a_try_with_its_commit(tmp_path: Path) -> None:
    cells = plan(study(tmp_path)).cells()
    broken = {cells[1].name: "no memory"}
    machine(tmp_path, Pretending(broken=broken)).run(cells)
    machine(tmp_path, Pretending()).run(cells)
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert '"error": "no memory"' in lines[1]
    assert Ledger(tmp_path).commits() == {cell.folder: source_commit() for cell in cells}


def test_an_interruption_stops_what_runs_and_is_passed_on(tmp_path: Path) -> None:
    class Interrupted(Pretending):
        def __call__(self, cell: Cell) -> str | None:
            raise KeyboardInterrupt

    runner = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        machine(tmp_path, runner).run(plan(study(tmp_path)).cells())
    assert runner.stopped


def test_what_ends_without_results_has_failed(tmp_path: Path) -> None:
    class Idle(Pretending):
        def __call__(self, cell: Cell) -> str | None:
            return None

    cells = plan(study(tmp_path)).cells()
    assert set(machine(tmp_path, Idle()).run(cells).values()) == {"it ended without results"}


@pytest.mark.parametrize(
    ("log", "code", "sentence"),
    [
        ("decoding pictures: done\npicturebook: There is no folder x.\n", 2, "There is no folder x."),
        ("picturebook: a.toml: b: wrong.\na.toml: c: wrong.\n", 2, "a.toml: b: wrong. a.toml: c: wrong."),
        ("Traceback (most recent call last):\n  File\nValueError: odd\n", 1, "ValueError: odd"),
        ("training student: done\n", -9, "the process was ended by signal 9 (is there too little memory?)"),
        ("", 1, "the process ended with code 1 and said nothing"),
    ],
)
def test_why_a_process_ended_is_its_last_sentence(log: str, code: int, sentence: str) -> None:
    assert last_sentence(log, code) == sentence


def test_a_process_is_given_its_threads_and_its_words_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "program"
    script.write_text('#!/bin/sh\necho "$@"\necho "picturebook: threads $OMP_NUM_THREADS." >&2\nexit 2\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", os.fspath(script))
    cell = plan(study(tmp_path)).cell("supervised", 0)
    cell.file.parent.mkdir(parents=True)
    assert TrainProcesses(threads=3)(cell) == "threads 3."
    assert cell.log.read_text().splitlines()[0] == f"-m picturebook train {cell.file} --resume"


def test_a_stopped_runner_starts_nothing_more(tmp_path: Path) -> None:
    runner = TrainProcesses(threads=1)
    runner.stop()
    cell = plan(study(tmp_path)).cell("supervised", 0)
    cell.file.parent.mkdir(parents=True)
    assert runner(cell) == "it was not started: the study was interrupted"
