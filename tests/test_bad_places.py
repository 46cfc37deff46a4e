"""Every reading command on what a person may hand it: no run, half a run, other classes, odd files and names, locked folders."""

import json
import os
import shutil
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest

from command_line import Answer, CommandLine, contents, sets, write_pictures
from permissions import locked
from picturebook.writing import read_json
from served import SVG, ZIP, bomb
from toys import toy_picture

READERS: dict[str, tuple[str, ...]] = {
    "evaluate": ("evaluate", "RUN", "DATA"),
    "predict": ("predict", "RUN", "DATA"),
    "report": ("report", "RUN"),
    "report, baseline": ("report", "WHOLE", "--baseline", "RUN"),
    "audit": ("audit", "RUN"),
    "export": ("export", "RUN", "--to", "onnx"),
    "serve": ("serve", "RUN", "--port", "0"),
}
ODD = {"with spaces and an emoji": "my run 🐦 1", "not UTF-8": os.fsdecode(b"r\xe9sultat 1")}


def asked(picturebook: CommandLine, command: str, run: Path) -> list[object]:
    there = {"RUN": run, "WHOLE": picturebook.run, "DATA": picturebook.data}
    return [there.get(word, word) for word in READERS[command]]


@pytest.mark.parametrize("command", READERS)
def test_what_is_no_run_is_a_sentence_that_names_it(
    picturebook: CommandLine, class_folders: Path, tmp_path: Path, command: str
) -> None:
    before = contents(class_folders)
    for place in (tmp_path / "nowhere", class_folders, class_folders / "apple" / "00.png"):
        assert str(place) in picturebook.refusal(*asked(picturebook, command, place))
    assert contents(class_folders) == before


@pytest.mark.parametrize("command", [*READERS, "inspect"])
def test_a_half_written_run_is_a_sentence_that_says_how_to_go_on(picturebook: CommandLine, tmp_path: Path, command: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(picturebook.run / "run.toml", run)
    words = ["inspect", run] if command == "inspect" else asked(picturebook, command, run)
    sentence = picturebook.refusal(*words)
    assert "is half written" in sentence
    assert "--resume" in sentence
    assert [path.name for path in run.iterdir()] == ["run.toml"]


def test_data_of_another_class_list(picturebook: CommandLine, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_pictures(other / "data", classes=("apple", "leaf", "sea"))
    changes = sets(f"out={(other / 'run').as_posix()}", f"data.root={(other / 'data').as_posix()}")
    assert picturebook("train", picturebook.run_file, *changes).code == 0
    assert "was not taught: sky" in picturebook.refusal("evaluate", other / "run", picturebook.data)
    assert "has other classes than" in picturebook.refusal("report", picturebook.run, "--baseline", other / "run")
    shutil.rmtree(other / "data" / "sea")
    shutil.copytree(picturebook.data / "sky", other / "data" / "sky")
    assert "has other classes than" in picturebook.refusal("export", other / "run", "--to", "onnx")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Three good pictures a class, and files that are called PNG and are none, in a folder of class folders."""
    root = tmp_path / "hostile"
    write_pictures(root, num_a_class=3)
    for name, content in {"svg": SVG, "zip": ZIP, "bomb": bomb(), "empty": b""}.items():
        (root / "apple" / f"{name}.png").write_bytes(content)
    with (root / "apple" / "huge.png").open("wb") as file:
        file.truncate(2**30)  # a hole: it takes no place on disk
    return root


KINDS = {
    "svg": "not an image",
    "zip": "not an image",
    "bomb": "decompression bomb",
    "empty": "zero-byte file",
    "huge": "too large a file",
}


def test_what_poses_as_a_picture_is_named_by_predict(picturebook: CommandLine, hostile: Path) -> None:
    answer = picturebook("predict", picturebook.run, hostile, "--json")
    assert answer.code == 0
    rows = [json.loads(line) for line in answer.out.splitlines()]
    problems = {Path(row["file_name"]).stem: row["problem"] for row in rows if row["problem"]}
    assert problems == KINDS
    assert "5 of 14 files could not be read" in answer.remarks


def test_what_poses_as_a_picture_is_left_out_of_an_evaluation_and_counted(picturebook: CommandLine, hostile: Path) -> None:
    found = json.loads(picturebook("inspect", hostile, "--json").out)
    for name, kind in KINDS.items():
        assert any(kind in finding and name in finding for finding in found["findings"]), (name, found["findings"])
    assert "more than data.max_broken_share" in picturebook.refusal("evaluate", picturebook.run, hostile)
    for name in ("zip", "bomb", "empty", "huge"):
        (hostile / "apple" / f"{name}.png").unlink()
    answer = picturebook("evaluate", picturebook.run, hostile, "--json")
    assert (answer.code, json.loads(answer.out)["num"]) == (0, 9)


@pytest.fixture(params=ODD.values(), ids=list(ODD))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = tmp_path / str(request.param)
    try:
        place.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    return place


def answered(answer: Answer) -> Answer:
    assert answer.code == 0, answer
    return answer


def test_names_of_any_kind_are_read(picturebook: CommandLine, odd: Path) -> None:
    for label in range(3):
        (odd / f"🐦 {label}").mkdir()
        for index in range(8):
            toy_picture(label, index).save(odd / f"🐦 {label}" / f"{odd.name} {index}.png")
    assert json.loads(answered(picturebook("inspect", odd, "--json")).out)["num_rows"] == 24
    assert answered(picturebook("inspect", odd)).out
    rows = answered(picturebook("predict", picturebook.run, odd)).out
    assert rows.count("\n") == 25
    assert "was not taught" in picturebook.refusal("evaluate", picturebook.run, odd)
    if is_utf8(odd):
        answered(picturebook("init", odd, "--out", odd / "RUN.toml"))
        return
    assert "is not UTF-8, and TOML holds nothing else" in picturebook.refusal("init", odd, "--out", odd / "RUN.toml")
    link = odd.with_name("link")
    link.symlink_to(odd)
    answered(picturebook("init", link, "--out", odd / "RUN.toml"))
    assert tomllib.loads((odd / "RUN.toml").read_text(encoding="utf-8"))["data"]["root"] == str(link)


def is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def test_a_class_whose_name_no_file_can_hold_is_a_sentence(picturebook: CommandLine, odd: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", classes=("apple", "leaf", odd.name))
    if odd.name != ODD["not UTF-8"]:
        answered(picturebook("inspect", tmp_path / "data"))
        return
    changes = sets(f"out={(tmp_path / 'run').as_posix()}", f"data.root={(tmp_path / 'data').as_posix()}")
    for words in (("inspect", tmp_path / "data"), ("train", picturebook.run_file, *changes)):
        assert "has a name that is not UTF-8, which no model file can hold: rename it." in picturebook.refusal(*words)


def test_a_run_may_lie_in_a_folder_of_any_name(picturebook: CommandLine, odd: Path) -> None:
    run = shutil.copytree(picturebook.run, odd / "run")
    if odd.name == ODD["not UTF-8"]:  # safetensors reads from names in UTF-8 alone
        assert "is not valid UTF-8" in picturebook.refusal("evaluate", run, picturebook.data)
        return
    for words in (("evaluate", run, picturebook.data), ("inspect", run), ("report", run), ("export", run, "--to", "timm")):
        answered(picturebook(*words))
    assert (run / "report.html").is_file()
    assert read_json(run / "export.json")["timm"]["file"] == "export/timm"


LOCKED: dict[str, tuple[str, ...]] = {
    "init": ("init", "DATA", "--out", "LOCKED/RUN.toml"),
    "train": ("train", "RUN.toml", "--set", "out=LOCKED/run"),
    "predict": ("predict", "RUN", "DATA", "--out", "LOCKED/names.csv"),
    "report": ("report", "RUN", "--out", "LOCKED/report.html"),
    "export": ("export", "RUN", "--to", "timm", "--out", "LOCKED/timm"),
    "compare": ("compare", "STUDY.toml", "--set", "out=LOCKED/study"),
    "describe": ("describe", "DATA", "--captions", "--model", "none", "--out", "LOCKED/captions.jsonl"),
}


@pytest.mark.parametrize("command", LOCKED)
def test_a_folder_that_may_not_be_written_is_a_sentence(picturebook: CommandLine, tmp_path: Path, command: str) -> None:
    study = tmp_path / "STUDY.toml"
    data = picturebook.data.as_posix()
    study.write_text(f'out = "x"\nseeds = [0]\n[run]\ndata = {{ root = "{data}" }}\n[arms.a]\nrecipe = "supervised"\n')
    place = tmp_path / "locked"
    place.mkdir()
    there: dict[str, Any] = {
        "DATA": picturebook.data, "RUN": picturebook.run, "RUN.toml": picturebook.run_file, "STUDY.toml": study,
    }  # fmt: skip
    words = [there.get(word, word.replace("LOCKED", place.as_posix())) for word in LOCKED[command]]
    with locked(place):
        sentence = picturebook.refusal(*words)
    assert str(place) in sentence
    assert list(place.iterdir()) == []


def test_a_cache_that_may_not_be_written_is_a_sentence(picturebook: CommandLine, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", num_a_class=2)
    line = CommandLine(tmp_path)
    line.cache.mkdir()
    with locked(line.cache):
        sentence = line.refusal("evaluate", picturebook.run, tmp_path / "data")
    assert str(line.cache) in sentence


def test_data_and_runs_that_may_not_be_written_can_be_read(picturebook: CommandLine, tmp_path: Path) -> None:
    run, data = shutil.copytree(picturebook.run, tmp_path / "run"), shutil.copytree(picturebook.data, tmp_path / "data")
    with locked(run), locked(data):
        for words in (("evaluate", run, data), ("predict", run, data), ("inspect", run), ("inspect", data)):
            answered(picturebook(*words))
        assert str(run) in picturebook.refusal("report", run)


def test_a_page_needs_no_display(picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "tkagg")
    answered(picturebook("report", picturebook.run, "--out", tmp_path / "page.html"))


def test_reading_asks_nothing_of_a_network(picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"asked for {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    run, data = shutil.copytree(picturebook.run, tmp_path / "run"), picturebook.data
    for words in (
        ("inspect", data),
        ("inspect", run),
        ("evaluate", run, data),
        ("predict", run, data),
        ("report", run),
        ("export", run, "--to", "timm"),
    ):
        answered(picturebook(*words))
