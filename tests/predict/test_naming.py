"""What a person names as pictures: folders, files, patterns and tables, with names of any kind."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_line import CommandLine
from picturebook.errors import DataError
from picturebook.predict.pictures import Picture, list_pictures
from toys import toy_picture

NOT_UTF8 = os.fsdecode(b"caf\xe9 1.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures in two folders, one hidden file, and a file that is no picture."""
    folder = tmp_path / "my photos 🐦"
    for name in ("b.png", "a.png", "deep/er/c.JPG", "deep/d.png", "list[1].png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        toy_picture(0, 1).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def names(*arguments: str | Path) -> list[str]:
    return [picture.name for picture in list_pictures(arguments)]


def test_a_folder_is_all_pictures_in_it(photos: Path) -> None:
    expected = ["a.png", "b.png", "deep/d.png", "deep/er/c.JPG", "list[1].png"]
    assert names(photos) == [str(photos / name) for name in expected]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png", "b.png", "list[1].png"]),
        ("[ab].png", ["a.png", "b.png"]),
        ("?.png", ["a.png", "b.png"]),
        ("**/*.JPG", ["deep/er/c.JPG"]),
        ("dee*", ["deep/d.png", "deep/er/c.JPG"]),
        ("*", ["a.png", "b.png", "deep/d.png", "deep/er/c.JPG", "list[1].png"]),
        ("list[1].png", ["list[1].png"]),
    ],
)
def test_a_pattern_is_what_matches_and_a_name_is_a_name_first(photos: Path, pattern: str, expected: list[str]) -> None:
    assert names(photos / pattern) == [str(photos / name) for name in expected]


def test_patterns_start_at_the_working_directory(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert names("*/*.png") == ["deep/d.png"]


def test_a_pattern_without_a_picture_is_refused(photos: Path) -> None:
    for pattern in ("*.gif", "*.txt"):
        with pytest.raises(DataError, match="No picture matches"):
            list_pictures([photos / pattern])


def test_a_table_names_pictures_beside_it_or_anywhere_as_often_as_it_likes(photos: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "x.png"
    listed = ["deep/d.png", str(elsewhere), "../x.png", "deep/d.png", "none.png"]
    expected = [Picture(name, photos / name) for name in listed]
    with (photos / "list.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "file_name"), *(("sky, high", name) for name in listed)])
    (photos / "list.jsonl").write_text("".join(json.dumps({"file_name": name}) + "\n" for name in listed))
    pq.write_table(pa.table({"file_name": listed}), photos / "list.parquet")
    for ending in ("csv", "jsonl", "parquet"):
        assert list_pictures([photos / f"list.{ending}"]) == expected
    assert expected[1].path == elsewhere


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name\na.png\n", "has no column 'file_name'"),
        ("file_name,label\n,sky\n", "line 2, names no picture: fill in file_name, or drop the row"),
        ("file_name\n", "No pictures"),
        ("", "has no column 'file_name'"),
    ],
)
def test_a_table_that_names_nothing_is_refused(photos: Path, content: str, reason: str) -> None:
    (photos / "list.csv").write_text(content)
    with pytest.raises(DataError, match=reason):
        list_pictures([photos / "list.csv"])


def test_answers_keep_the_tables_spelling_and_say_what_is_missing(picturebook: CommandLine, photos: Path) -> None:
    (photos / "list.csv").write_text("file_name\ndeep/d.png\nnone.png\nnotes.txt\na\0.png\n")
    answer = picturebook("predict", picturebook.run, photos / "list.csv", "--format", "jsonl")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [(row["file_name"], row["problem"]) for row in rows] == [
        ("deep/d.png", ""),
        ("none.png", "No such file or directory"),
        ("notes.txt", "not an image"),
        ("a\0.png", "not a file name"),
    ]


@pytest.mark.parametrize("output_format", ["csv", "jsonl", "parquet"])
def test_names_of_any_bytes_are_written_as_utf8(
    picturebook: CommandLine, photos: Path, tmp_path: Path, output_format: str
) -> None:
    try:
        toy_picture(0, 1).save(photos / NOT_UTF8)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    out = tmp_path / f"out.{output_format}"
    answer = picturebook("predict", picturebook.exported, photos / NOT_UTF8, photos / "a.png", "--out", out)
    assert (answer.code, answer.err) == (0, f"predicting: done\n{out}: 2 pictures.\n")
    if output_format == "csv":
        found = [row["file_name"] for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8")))]
    elif output_format == "jsonl":
        found = [json.loads(line)["file_name"] for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        found = pq.read_table(out).column("file_name").to_pylist()
    assert found == [str(photos / "caf\\udce9 1.png"), str(photos / "a.png")]


def test_models_may_lie_in_folders_of_any_name(picturebook: CommandLine, photos: Path, tmp_path: Path) -> None:
    odd, emoji = tmp_path / os.fsdecode(b"mod\xe8le 1"), tmp_path / "modèle 🐦 1"
    odd.mkdir()
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    file = odd / "é.onnx"
    answer = picturebook("export", run, "--to", "onnx", "--out", file)
    assert answer.code == 0
    assert "mod\\udce8le 1/é.onnx" in answer.out
    assert json.loads((run / "export.json").read_text("utf-8"))["onnx"]["file"].endswith("mod\\udce8le 1/é.onnx")
    assert picturebook("export", run, "--to", "timm", "--out", emoji).code == 0
    for model in (file, emoji):
        answer = picturebook("predict", model, photos / "a.png")
        assert (answer.code, answer.out.count("\n")) == (0, 2)
    # safetensors reads from names in UTF-8 alone.
    assert "is not valid UTF-8" in picturebook.refusal("export", run, "--to", "timm", "--out", odd / "timm")
    assert [path.name for path in odd.iterdir()] == ["é.onnx"]
