"""Other words for a class: masked with its name, and looked for by the audit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.texts import TextOptions, class_texts, naming, own_texts
from picturebook.errors import OptionError, TextError
from picturebook.options import validate

CLASSES = ("apple", "oak_leaf", "sky")


def options(**settings: Any) -> TextOptions:
    return validate(TextOptions, settings, source="the test")


def written(folder: Path, content: Any) -> str:
    path = folder / "synonyms.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def pictures(toy_data: Path, toy_cache: Path) -> Pictures:
    return load_pictures(DataOptions(root=str(toy_data), canvas_size=16), cache=toy_cache, text_column="text")


def test_a_class_is_called_by_its_name_and_what_the_file_adds(tmp_path: Path) -> None:
    path = written(tmp_path, {"sky": ["heaven", "sky", "blue yonder"], "skies": ["x"]})
    names, notes = naming(options(source="column", synonyms=path), CLASSES)
    assert names == [("apple",), ("oak_leaf",), ("sky", "heaven", "blue yonder")]
    assert notes == [f"{path}: 1 entry is of no class: skies."]
    assert naming(options(source="column"), CLASSES) == ([("apple",), ("oak_leaf",), ("sky",)], [])


def test_synonyms_of_all_classes_are_masked_in_captions_and_descriptions(pictures: Pictures, tmp_path: Path) -> None:
    path = written(tmp_path, {"sky": ["heaven"], "apple": ["fruit"], "skye": ["island"]})
    told = replace(pictures, classes=CLASSES, texts=("Fruits of the heavens and the apple",) * len(pictures))
    found = own_texts(options(source="column", mask_class_words=True, synonyms=path), told)
    assert set(found.sentences) == {("… of the … and the …",)}
    assert found.notes[0] == f"{path}: 1 entry is of no class: skye (perhaps sky)."
    descriptions = tmp_path / "descriptions.json"
    descriptions.write_text(json.dumps({name: ["a fruit under heaven", f"it is {name}"] for name in CLASSES}), encoding="utf-8")
    asked = options(source="descriptions", descriptions=str(descriptions), mask_class_words=True, synonyms=path)
    assert class_texts(asked, CLASSES).sentences[2] == ("a … under …", "it is …")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"sky": "heaven"}, "class 'sky': need a list of words, one at least and none empty, got \"heaven\""),
        ({"sky": []}, "class 'sky': need a list of words, one at least"),
        ({"sky": {}}, "class 'sky': need a list of words, one at least"),
        ({"sky": ["heaven", " "]}, "class 'sky': need a list of words, one at least and none empty"),
        ("{", r"text\.synonyms = '.*' is no JSON in UTF-8"),
        ('{"sky": ["a"], "sky": ["b"]}', "names 1 class twice"),
    ],
)
def test_what_are_no_synonyms_is_refused(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(TextError, match=sentence):
        naming(options(source="column", synonyms=written(tmp_path, content)), CLASSES)


def test_synonyms_that_nothing_reads_are_refused() -> None:
    with pytest.raises(OptionError, match="synonyms take effect with mask_class_words, and with source = 'column'"):
        options(source="classes", synonyms="x.json")
