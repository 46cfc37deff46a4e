from pathlib import Path

import pytest

from picturebook.errors import RunError
from picturebook.runs import RunFolder
from picturebook.writing import read_json, write_json


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.start(resume=False, resolved="seed = 0\n")
    return run


def test_a_started_run_holds_its_settings(folder: RunFolder) -> None:
    assert folder.settings.read_text() == "seed = 0\n"
    assert not folder.finished


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    RunFolder(tmp_path).start(resume=False, resolved="seed = 0\n")
    assert (tmp_path / "run.toml").is_file()


def test_a_folder_that_holds_something_is_refused_and_left_alone(folder: RunFolder) -> None:
    with pytest.raises(RunError, match="exists already: take another `out`, go on with --resume, or remove it"):
        folder.start(resume=False, resolved="seed = 1\n")
    assert folder.settings.read_text() == "seed = 0\n"


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for resume in (False, True):
        with pytest.raises(RunError, match="is a file"):
            RunFolder(tmp_path / "file").start(resume=resume, resolved="")
    assert (tmp_path / "file").read_text() == "mine"


def test_resume_needs_the_same_settings(folder: RunFolder) -> None:
    folder.start(resume=True, resolved="seed = 0\n")
    with pytest.raises(RunError, match="was started with other settings"):
        folder.start(resume=True, resolved="seed = 1\n")


def test_resume_of_nothing_starts(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").start(resume=True, resolved="seed = 0\n")
    assert (tmp_path / "run" / "run.toml").is_file()


def test_resume_refuses_somebodys_folder(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(RunError, match=r"no run\.toml"):
        RunFolder(tmp_path).start(resume=True, resolved="seed = 0\n")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


def test_opening_says_what_is_wrong(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run folder"):
        RunFolder.open(tmp_path / "nothing")
    (tmp_path / "else").mkdir()
    with pytest.raises(RunError, match=r"holds no run\.toml"):
        RunFolder.open(tmp_path / "else")
    with pytest.raises(RunError, match=r"is half written: go on with `picturebook train .*run\.toml --resume`"):
        RunFolder.open(folder.path)
    write_json(folder.results, {})
    assert RunFolder.open(folder.path) == folder


def test_a_run_that_began_no_stage_leaves_no_folder(folder: RunFolder) -> None:
    folder.discard_if_untouched()
    assert not folder.path.exists()


@pytest.mark.parametrize("made", ["stages", "stages/student", "student", "notes"])
def test_a_run_that_began_is_never_discarded(folder: RunFolder, made: str) -> None:
    (folder.path / made).mkdir(parents=True)
    folder.discard_if_untouched()
    assert folder.settings.is_file()


def test_what_only_an_unfinished_run_needs_is_discarded(folder: RunFolder) -> None:
    (folder.stage("student") / "state").write_text("weights")
    write_json(folder.results, {})
    folder.discard_stages()
    assert sorted(path.name for path in folder.path.iterdir()) == ["results.json", "run.toml"]
    folder.discard_stages()


def test_a_cut_off_line_of_metrics_is_left_out(folder: RunFolder) -> None:
    assert folder.read_metrics() == []
    folder.log({"stage": "student", "step": 1})
    with folder.metrics.open("a") as file:
        file.write('{"stage": "stu')
    assert folder.read_metrics() == [{"stage": "student", "step": 1}]


def test_a_resumed_stage_has_the_lines_of_its_state_and_leaves_others_theirs(folder: RunFolder) -> None:
    for stage, step in (("encoder", 3), ("encoder", 6), ("student", 2), ("student", 4)):
        folder.log({"stage": stage, "step": step})
    with folder.metrics.open("a") as file:
        file.write('{"stage": "stu')
    folder.restore_metrics("student", [{"stage": "student", "step": 2}])
    folder.log({"stage": "student", "step": 4, "again": True})
    kept = [(line["stage"], line["step"]) for line in folder.read_metrics()]
    assert kept == [("encoder", 3), ("encoder", 6), ("student", 2), ("student", 4)]
    assert folder.read_metrics()[-1]["again"]
    folder.metrics.write_text(folder.metrics.read_text()[:60])
    for stage, steps in (("encoder", (3, 6)), ("student", (2, 4))):
        folder.restore_metrics(stage, [{"stage": stage, "step": step} for step in steps])
    assert [(line["stage"], line["step"]) for line in folder.read_metrics()] == kept


@pytest.mark.parametrize("kept", [0, 1, 7])
def test_settings_that_were_cut_off_are_written_again(folder: RunFolder, kept: int) -> None:
    folder.settings.write_text("seed = 0\n"[:kept])
    folder.start(resume=True, resolved="seed = 0\n")
    assert folder.settings.read_text() == "seed = 0\n"


@pytest.fixture
def closed(folder: RunFolder) -> RunFolder:
    (folder.path / "student").mkdir()
    (folder.path / "student" / "weights").write_bytes(b"0123456789")
    write_json(folder.classes, ["ape", "bat"])
    folder.stage("student")
    (folder.exported / "timm").mkdir(parents=True)
    (folder.exported / "timm" / "weights").write_bytes(b"0123456789")
    folder.close({"models": {}})
    return folder


def test_a_closed_run_knows_its_files(closed: RunFolder) -> None:
    assert closed.finished
    assert closed.damage() is None
    assert RunFolder.open(closed.path) == closed
    expected = ["classes.json", "results.json", "run.toml", "student/weights"]
    assert sorted(read_json(closed.path / "checksums.json")) == expected


@pytest.mark.parametrize("name", ["classes.json", "results.json", "run.toml", "student/weights", "checksums.json"])
def test_a_file_that_was_cut_off_unmakes_a_run(closed: RunFolder, name: str) -> None:
    file = closed.path / name
    file.write_bytes(file.read_bytes()[:-3])
    assert not closed.finished
    with pytest.raises(RunError, match=rf"is damaged: {name} .*Make it again with .* --resume"):
        RunFolder.open(closed.path)
    closed.reopen()
    with pytest.raises(RunError, match="is half written"):
        RunFolder.open(closed.path)


def test_a_file_that_was_changed_is_found_where_all_are_read(closed: RunFolder) -> None:
    (closed.student / "weights").write_bytes(b"9876543210")
    assert closed.finished
    assert closed.damage() == "student/weights does not hold what was written"
    (closed.student / "weights").unlink()
    assert not closed.finished
    assert closed.damage() == "student/weights is missing"


def test_what_is_changed_on_purpose_is_noted(closed: RunFolder) -> None:
    closed.forget_checksum(closed.classes)
    write_json(closed.classes, ["ape", "bat", "cat"])
    assert closed.finished
    closed.note_checksum(closed.classes)
    assert closed.damage() is None
    assert "classes.json" in read_json(closed.path / "checksums.json")


def test_a_run_from_before_checksums_is_believed(folder: RunFolder) -> None:
    write_json(folder.results, {})
    assert folder.finished
    assert folder.damage() is None


def test_a_run_that_was_killed_at_its_first_write_begins(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.toml.x1.unfinished").touch()
    RunFolder(tmp_path).start(resume=False, resolved="seed = 0\n")
    assert (tmp_path / "run.toml").is_file()


def test_what_an_interrupted_write_left_goes_and_nothing_else(folder: RunFolder) -> None:
    for name in (".student.x1.unfinished/new/weights", "stages/student/.state-1.x2.unfinished/new/a", "stages/student/state-0/a"):
        (folder.path / name).parent.mkdir(parents=True)
        (folder.path / name).touch()
    (folder.path / ".run.toml.x3.unfinished").touch()
    (folder.path / ".my notes.txt").touch()
    folder.remove_leftovers()
    left = sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())
    assert left == [".my notes.txt", "run.toml", "stages/student/state-0/a"]
