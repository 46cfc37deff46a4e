import json
from pathlib import Path

import pytest

from picturebook.errors import RunError
from picturebook.runs import RunFolder, atomic_folder, read_json, write_atomically, write_json


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


def test_a_resumed_stage_drops_only_its_own_later_lines(folder: RunFolder) -> None:
    for stage, step in (("encoder", 3), ("encoder", 6), ("student", 2), ("student", 4)):
        folder.log({"stage": stage, "step": step})
    with folder.metrics.open("a") as file:
        file.write('{"stage": "stu')
    folder.forget_metrics_after("student", 2)
    folder.log({"stage": "student", "step": 4, "again": True})
    kept = [(line["stage"], line["step"]) for line in folder.read_metrics()]
    assert kept == [("encoder", 3), ("encoder", 6), ("student", 2), ("student", 4)]
    assert folder.read_metrics()[-1]["again"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")

    def broken(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(RunError, match=r"file cannot be written \(no space left\)"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_an_atomic_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "state"
    with atomic_folder(target) as new:
        (new / "a").write_text("1")
        assert not target.exists()

    def interrupted() -> None:
        with atomic_folder(target) as new:
            (new / "b").write_text("2")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    assert [entry.name for entry in target.iterdir()] == ["a"]
    with atomic_folder(target) as new:
        (new / "c").write_text("3")
    assert [entry.name for entry in target.iterdir()] == ["c"]


def test_json_goes_and_comes(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"name": "Blåbær", "values": [1, 2.5, None]})
    assert read_json(tmp_path / "value.json") == {"name": "Blåbær", "values": [1, 2.5, None]}
    assert "Blåbær" in (tmp_path / "value.json").read_text(encoding="utf-8")


def test_json_that_is_missing_or_broken_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is missing"):
        read_json(tmp_path / "value.json")
    (tmp_path / "value.json").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(RunError, match="is not whole"):
        read_json(tmp_path / "value.json")
