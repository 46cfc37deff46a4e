import json
from pathlib import Path
from typing import Any

import pytest

from picturebook.data.texts.descriptions import read_descriptions
from picturebook.errors import TextError

CLASSES = ("apple", "oak_leaf", "sky")
WHOLE = {"sky": ["wide and blue"], "apple": ["round", "red or green"], "oak_leaf": ["has lobes"]}


def written(folder: Path, content: Any) -> str:
    path = folder / "descriptions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_sentences_come_in_class_order(tmp_path: Path) -> None:
    sentences, notes = read_descriptions(written(tmp_path, WHOLE), CLASSES)
    assert sentences == [("round", "red or green"), ("has lobes",), ("wide and blue",)]
    assert notes == []


def test_missing_classes_are_named_with_what_may_be_meant(tmp_path: Path) -> None:
    half = {"apple": ["round"], "oak leaf": ["has lobes"]}
    with pytest.raises(TextError, match=r"leaves out 2 of 3 classes: oak_leaf \(perhaps oak leaf\), sky\. Write sentences"):
        read_descriptions(written(tmp_path, half), CLASSES)


def test_many_missing_classes_are_not_all_named(tmp_path: Path) -> None:
    classes = [f"class {number:02}" for number in range(50)]
    with pytest.raises(TextError, match=r"leaves out 49 of 50 classes: class 01, .*class 20 and 29 more\."):
        read_descriptions(written(tmp_path, {"class 00": ["x"]}), classes)


def test_entries_of_no_class_and_repeated_sentences_are_noted(tmp_path: Path) -> None:
    path = written(tmp_path, {**WHOLE, "skye": ["an isle"], "sky": ["blue", "blue ", "wide"]})
    sentences, notes = read_descriptions(path, CLASSES)
    assert sentences[2] == ("blue", "wide")
    assert notes == [
        f"{path}: 1 entry is of no class: skye (perhaps sky).",
        f"{path}: 1 class (sky) with a sentence twice: it is used once.",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({**WHOLE, "sky": []}, "class 'sky' has an empty list: write one sentence at least"),
        ({**WHOLE, "sky": ["blue", "  "]}, "class 'sky' has an empty sentence"),
        ({**WHOLE, "sky": "blue"}, "class 'sky': need a list of sentences, got \"blue\""),
        ({**WHOLE, "sky": [1]}, "class 'sky': need a list of sentences"),
        ([["apple", ["round"]]], "need one JSON object of class name"),
        ("{", "is no JSON in UTF-8"),
        ('{"sky": ["a"], "sky": ["b"], "apple": ["c"], "oak_leaf": ["d"]}', r"names 1 class twice \(sky\): join"),
    ],
)
def test_what_is_no_description_is_refused(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(TextError, match=sentence):
        read_descriptions(written(tmp_path, content), CLASSES)


@pytest.mark.parametrize(
    ("written_as", "name"),
    [("red fox", "Red_Fox"), ("GREY WOLF", "grey_wolf"), ("great-tit", "great tit"), ("काल", "काल_"), ("A +", "A+")],
)
def test_a_name_that_is_only_written_another_way_is_meant(tmp_path: Path, written_as: str, name: str) -> None:
    with pytest.raises(TextError) as refused:
        read_descriptions(written(tmp_path, {"A-": ["z"], written_as: ["x"], "robin": ["y"]}), (name, "robin"))
    assert f"{name} (perhaps {written_as})" in str(refused.value)


def test_signs_that_are_no_letters_are_not_all_alike(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"leaves out 1 of 1 class: ☀\. "):
        read_descriptions(written(tmp_path, {"❄": ["x"]}), ("☀",))


def test_the_lines_of_describe_are_not_its_list(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    lines = Path(path).with_suffix(".jsonl")
    lines.write_text('{"class": "sky"}\n{"class": "apple"}\n')
    with pytest.raises(TextError) as refused:
        read_descriptions(str(lines), CLASSES)
    assert f"Is {path!r} meant?" in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot be read: No such file"):
        read_descriptions(str(tmp_path / "none.json"), CLASSES)
