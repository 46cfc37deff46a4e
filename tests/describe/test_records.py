import json
from pathlib import Path

import pytest

from picturebook.describe.records import Records, strangers
from picturebook.errors import StoreError

SETTINGS = {"model": "m", "template": "{class}?"}


def records(path: Path, **changes: object) -> Records:
    return Records(path, key="class", settings={**SETTINGS, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "d.jsonl"
    with records(path) as kept:
        kept.append([{"class": "a", "texts": ["red"], "problem": ""}])
        kept.append([{"class": "b", "texts": [], "problem": "down"}, {"class": "c\udcff", "texts": ["x"], "problem": ""}])
    return path


def test_lines_say_how_and_when_they_were_made(path: Path) -> None:
    line = json.loads(path.read_text("utf-8").splitlines()[0])
    assert line.pop("time").endswith("+00:00")
    assert line == {"class": "a", "texts": ["red"], "problem": "", **SETTINGS}


def test_items_with_a_problem_are_missing_and_their_lines_go_at_the_next_start(path: Path) -> None:
    before = path.read_bytes()
    again = records(path)
    assert again.missing(["c\udcff", "b", "a", "d"]) == ["b", "d"]
    assert path.read_bytes() == before, "looking changes nothing"
    with again:
        assert [json.loads(line)["class"] for line in path.read_text("utf-8").splitlines()] == ["a", "c\udcff"]
        again.append([{"class": "b", "texts": ["y"], "problem": ""}])
    assert records(path).missing(["a", "b", "c\udcff"]) == []


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_cut_last_line_is_mended_and_only_its_item_is_missing(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    expected = [] if cut == 1 else ["c\udcff"]  # only the line's end is gone
    with records(path) as again:
        assert again.missing(["a", "c\udcff"]) == expected
        again.append([{"class": "d", "texts": ["z"], "problem": ""}])
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert records(path).missing(["a", "c\udcff", "d"]) == expected


def test_another_model_or_prompt_is_refused_by_the_field_that_differs(path: Path) -> None:
    with pytest.raises(StoreError, match=r"another model: 'm' for a, now 'n'\. Give the former setting, or another --out"):
        records(path, model="n")
    with pytest.raises(StoreError, match="another template"):
        records(path, template="{class}!")
    with records(path) as again, pytest.raises(StoreError, match="another weights: None for a, now 'f'"):
        again.check("weights", "f")


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    for content in (b"hello\nyou\n", b'{"file_name": "a"}\n', b"[]\n{}\n", b"\xff\xfe\n"):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"line 1, is no line of this command"):
            records(path)
        assert path.read_bytes() == content


def test_two_processes_do_not_write_one_file(path: Path) -> None:
    with records(path), pytest.raises(StoreError, match="another process"), records(path):
        pass


def test_what_another_process_wrote_meanwhile_is_kept(path: Path) -> None:
    late = records(path)
    with records(path) as early:
        early.append([{"class": "b", "texts": ["y"], "problem": ""}])
    with late:
        assert late.missing(["a", "b"]) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be"), records(tmp_path / "file" / "d.jsonl"):
        pass
    with pytest.raises(StoreError, match="cannot be read"):
        records(tmp_path)


def test_no_empty_file_is_left(tmp_path: Path) -> None:
    with records(tmp_path / "d.jsonl"):
        pass
    assert not list(tmp_path.iterdir())


def test_lines_of_other_data_are_told(path: Path) -> None:
    assert strangers(records(path), ["a"]) == "1 line of the file are of items that the data lack (c\udcff)."
    assert strangers(records(path), ["a", "c\udcff"]) == ""
