import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from command_line import CLASSES, CommandLine

COLUMNS = ["file_name", "class_1", "probability_1", "class_2", "probability_2", "problem"]


@pytest.fixture
def photos(picturebook: CommandLine, tmp_path: Path) -> Path:
    """Two pictures, one of them in a sub-folder and with a capital ending, a broken one, and a file that is no picture."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(picturebook.data / "apple" / "00.png", folder / "a.png")
    shutil.copy(picturebook.data / "sky" / "00.png", folder / "deep" / "c.PNG")
    (folder / "b.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    return folder


def rows_of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def rows_of_jsonl(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


UNREAD = "predicting: done\n1 of 3 files could not be read; their rows say why.\n"


def test_csv_on_stdout_is_the_default_and_alone(picturebook: CommandLine, photos: Path) -> None:
    answer = picturebook("predict", picturebook.run, photos, "--top", "2")
    assert (answer.code, answer.err) == (0, UNREAD)
    assert answer.out.splitlines()[0].split(",") == COLUMNS
    rows = rows_of_csv(answer.out)
    assert [row["file_name"] for row in rows] == [str(photos / name) for name in ("a.png", "b.jpg", "deep/c.PNG")]
    assert [row["problem"] for row in rows] == ["", "zero-byte file", ""]
    assert rows[1]["class_1"] == rows[1]["probability_1"] == ""


def test_jsonl_says_the_same(picturebook: CommandLine, photos: Path) -> None:
    of_csv = rows_of_csv(picturebook("predict", picturebook.run, photos, "--top", "3").out)
    answer = picturebook("predict", picturebook.run, photos, "--top", "3", "--format", "jsonl")
    assert (answer.code, answer.err) == (0, UNREAD)
    for row, line in zip(of_csv, rows_of_jsonl(answer.out), strict=True):
        assert (line["file_name"], line["problem"]) == (row["file_name"], row["problem"])
        assert line["classes"] == [row[f"class_{place}"] for place in (1, 2, 3) if row[f"class_{place}"]]
        assert line["probabilities"] == [float(row[f"probability_{place}"]) for place in (1, 2, 3) if row[f"class_{place}"]]


@pytest.mark.parametrize("output_format", ["csv", "jsonl"])
def test_a_file_holds_what_stdout_would(picturebook: CommandLine, photos: Path, tmp_path: Path, output_format: str) -> None:
    arguments = ("predict", picturebook.run, photos, "--format", output_format)
    out = tmp_path / "new" / f"predictions.{output_format}"
    answer = picturebook(*arguments, "--out", out)
    assert (answer.code, answer.out) == (0, "")
    assert out.read_text(encoding="utf-8") == picturebook(*arguments).out


def test_parquet_holds_the_same_rows(picturebook: CommandLine, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.parquet"
    assert picturebook("predict", picturebook.run, photos, "--top", "2", "--format", "parquet", "--out", out).code == 0
    lines = rows_of_jsonl(picturebook("predict", picturebook.run, photos, "--top", "2", "--format", "jsonl").out)
    assert pq.read_table(out).to_pylist() == lines


def test_parquet_is_not_for_the_terminal(picturebook: CommandLine, photos: Path) -> None:
    assert "needs --out FILE" in picturebook.refusal("predict", picturebook.run, photos, "--format", "parquet")


def test_probabilities_fall_and_sum_to_one_over_all_classes(picturebook: CommandLine) -> None:
    answer = picturebook("predict", picturebook.run, picturebook.data, "--top", "9", "--format", "jsonl")
    lines = rows_of_jsonl(answer.out)
    assert len(lines) == 36
    for line in lines:
        assert sorted(line["classes"]) == list(CLASSES)
        assert line["probabilities"] == sorted(line["probabilities"], reverse=True)
        assert sum(line["probabilities"]) == pytest.approx(1, abs=2e-6)


def test_top_gives_the_first_of_them(picturebook: CommandLine, photos: Path) -> None:
    every = rows_of_jsonl(picturebook("predict", picturebook.run, photos, "--top", "3", "--format", "jsonl").out)
    for top in (1, 2):
        some = rows_of_jsonl(picturebook("predict", picturebook.run, photos, "--top", str(top), "--format", "jsonl").out)
        for line, whole in zip(some, every, strict=True):
            assert line["classes"] == whole["classes"][:top]
            assert line["probabilities"] == whole["probabilities"][:top]
            assert sum(line["probabilities"]) <= 1


def test_top_0_is_refused(picturebook: CommandLine, photos: Path) -> None:
    answer = picturebook("predict", picturebook.run, photos, "--top", "0")
    assert answer.code == 2
    assert "--top" in answer.err


def test_run_folder_and_student_folder_agree(picturebook: CommandLine, photos: Path) -> None:
    of_run = picturebook("predict", picturebook.run, photos, "--top", "3")
    assert picturebook("predict", picturebook.run / "student", photos, "--top", "3") == of_run


def test_predictions_are_the_evaluations_own(picturebook: CommandLine) -> None:
    """The confusion matrix's columns count what is predicted."""
    lines = rows_of_jsonl(picturebook("predict", picturebook.run, picturebook.data, "--format", "jsonl").out)
    answer = picturebook("evaluate", picturebook.run, picturebook.data, "--split", "all", "--json")
    confusion = json.loads(answer.out)["confusion"]
    counts = [[0] * 3 for _ in CLASSES]
    for line in lines:
        counts[CLASSES.index(Path(line["file_name"]).parent.name)][CLASSES.index(line["classes"][0])] += 1
    assert counts == confusion


def test_a_file_that_is_no_picture_is_listed_when_it_is_named(picturebook: CommandLine, photos: Path) -> None:
    answer = picturebook("predict", picturebook.run, photos / "notes.txt", photos / "a.png")
    assert [row["problem"] for row in rows_of_csv(answer.out)] == ["not an image", ""]


def test_only_broken_files_still_make_a_table(picturebook: CommandLine, photos: Path) -> None:
    answer = picturebook("predict", picturebook.run, photos / "b.jpg")
    assert answer.out == f"file_name,class_1,probability_1,problem\n{photos / 'b.jpg'},,,zero-byte file\n"


def test_a_name_with_a_comma_and_a_class_keep_their_columns(picturebook: CommandLine, photos: Path) -> None:
    shutil.copy(photos / "a.png", photos / 'x, "y".png')
    rows = rows_of_csv(picturebook("predict", picturebook.run, photos / 'x, "y".png').out)
    assert rows[0]["file_name"] == str(photos / 'x, "y".png')
    assert rows[0]["class_1"] in CLASSES


def test_a_missing_picture_is_refused_before_anything_is_written(picturebook: CommandLine, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    sentence = picturebook.refusal("predict", picturebook.run, photos, tmp_path / "none.png", "--out", out)
    assert sentence == f"There is no file or folder {tmp_path / 'none.png'}."
    assert not out.exists()


def test_a_folder_without_pictures_is_refused(picturebook: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    assert "No pictures" in picturebook.refusal("predict", picturebook.run, tmp_path)


def test_an_unknown_format_is_refused(picturebook: CommandLine, photos: Path) -> None:
    sentence = picturebook.refusal("predict", picturebook.run, photos, "--format", "json")
    assert sentence == "There is no format 'json'. Did you mean 'jsonl'? Known: csv, jsonl, parquet."


def test_a_place_that_cannot_be_written_is_refused(picturebook: CommandLine, photos: Path) -> None:
    sentence = picturebook.refusal("predict", picturebook.run, photos / "a.png", "--out", photos / "deep")
    assert str(photos / "deep") in sentence
    assert sorted(path.name for path in photos.iterdir()) == ["a.png", "b.jpg", "deep", "notes.txt"]
