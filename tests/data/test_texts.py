import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.texts import TextOptions, check_texts, class_texts, own_texts
from picturebook.errors import OptionError, TextError
from picturebook.options import validate

CLASSES = ("apple", "oak_leaf", "sky")
DESCRIPTIONS = {
    "apple": ["a round apple", "red or green"],
    "oak_leaf": ["has lobes"],
    "sky": ["wide and blue", "no apples in it"],
}


def options(**settings: Any) -> TextOptions:
    return validate(TextOptions, settings, source="the test")


@pytest.fixture
def described(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps(DESCRIPTIONS), encoding="utf-8")
    return {"source": "descriptions", "descriptions": str(path)}


@pytest.fixture(scope="module")
def pictures(toy_data: Path, toy_cache: Path) -> Pictures:
    return load_pictures(DataOptions(root=str(toy_data), canvas_size=16), cache=toy_cache, text_column="text")


def test_class_names_stand_in_a_template() -> None:
    assert class_texts(options(), CLASSES).sentences[1] == ("a photo of a oak leaf.",)


def test_several_templates_give_a_class_several_sentences(tmp_path: Path) -> None:
    expected = (
        ("one apple", "the apple's picture"),
        ("one oak leaf", "the oak leaf's picture"),
        ("one sky", "the sky's picture"),
    )
    assert class_texts(options(template=["one {}", "the {}'s picture"]), CLASSES).sentences == expected
    path = tmp_path / "templates.txt"
    path.write_text("one {}\n\n the {}'s picture \none {}\n", encoding="utf-8")
    assert class_texts(options(template_file=str(path)), CLASSES).sentences == expected


@pytest.mark.parametrize(("content", "sentence"), [("\n", "has no template"), ("a photo\n", "need a {} where the class name")])
def test_a_file_without_templates_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "templates.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TextError, match=sentence):
        class_texts(options(template_file=str(path)), CLASSES)
    with pytest.raises(TextError, match="cannot be read"):
        class_texts(options(template_file=str(tmp_path / "none.txt")), CLASSES)


def test_descriptions_stand_alone_or_beside_the_name(described: dict[str, Any]) -> None:
    assert class_texts(options(**described), CLASSES).sentences == tuple(tuple(DESCRIPTIONS[name]) for name in CLASSES)
    with_names = class_texts(options(**described, with_names=True), CLASSES).sentences
    assert with_names[1] == ("a photo of a oak leaf.", "has lobes")


def test_class_words_are_masked_in_descriptions_and_names_beside_them_stay(described: dict[str, Any]) -> None:
    texts = class_texts(options(**described, mask_class_words=True, with_names=True), CLASSES).sentences
    assert texts[0] == ("a photo of a apple.", "a round …", "red or green")
    assert texts[2] == ("a photo of a sky.", "wide and blue", "no … in it")


def test_sentences_that_classes_share_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "same.json"
    path.write_text(json.dumps({name: ["it is there", name] for name in CLASSES}), encoding="utf-8")
    notes = class_texts(options(source="descriptions", descriptions=str(path)), CLASSES).notes
    assert notes == ("1 sentence the same for two classes or more: 'it is there'.",)


def test_random_words_take_the_names_place_in_the_template_or_that_of_the_descriptions(described: dict[str, Any]) -> None:
    names = class_texts(options(control="random_words"), CLASSES).sentences
    assert [len(text[0].split()) for text in names] == [5, 6, 5]
    assert all(text[0].startswith("a photo of a ") for text in names)
    assert not any(name.replace("_", " ") in text[0] for name, text in zip(CLASSES, names, strict=True))
    words = class_texts(options(**described, with_names=True, control="random_words"), CLASSES).sentences
    plain = class_texts(options(**described, with_names=True), CLASSES).sentences
    for random, text in zip(words, plain, strict=True):
        assert random[0] == text[0], "the name stays"
        assert [len(sentence.split()) for sentence in random] == [len(sentence.split()) for sentence in text]
    assert words != plain


def test_another_classs_descriptions_stand_beside_the_name(described: dict[str, Any]) -> None:
    texts = class_texts(options(**described, with_names=True, control="other_class"), CLASSES).sentences
    assert [text[0] for text in texts] == ["a photo of a apple.", "a photo of a oak leaf.", "a photo of a sky."]
    assert sorted(text[1:] for text in texts) == sorted(tuple(DESCRIPTIONS[name]) for name in CLASSES)
    assert all(text[1:] != tuple(DESCRIPTIONS[name]) for text, name in zip(texts, CLASSES, strict=True))


@pytest.mark.parametrize("source", ["classes", "descriptions"])
def test_a_permuted_bank_has_all_texts_at_other_classes(described: dict[str, Any], source: str) -> None:
    settings = described if source == "descriptions" else {}
    before = class_texts(options(**settings), CLASSES).sentences
    after = class_texts(options(**settings, control="permuted_bank"), CLASSES, seed=3).sentences
    assert sorted(after) == sorted(before)
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert class_texts(options(**settings, control="permuted_bank"), CLASSES[::-1], seed=3).sentences == after[::-1]


def test_own_texts_are_the_columns(pictures: Pictures) -> None:
    texts = own_texts(options(source="column"), pictures)
    assert texts.sentences == tuple((text,) for text in pictures.texts or ())
    assert texts.notes == ()


def test_own_texts_part_into_sentences_where_each_asks(pictures: Pictures) -> None:
    told = replace(pictures, texts=("One. Two two! 三。四", "", *(pictures.texts or ())[2:]))
    texts = own_texts(options(source="column", queries="sentences"), told)
    assert texts.sentences[:3] == (("One.", "Two two!", "三。", "四"), ("",), ((pictures.texts or ())[2],))
    assert texts.notes == (), "a picture without a text is told of where the pictures are loaded"


@pytest.mark.parametrize(("source", "instead"), [("column", "other_row"), ("classes", "other_class")])
def test_a_banks_control_is_refused_with_one_that_goes(source: str, instead: str) -> None:
    words = options(source=source, control="permuted_bank")
    with pytest.raises(OptionError, match=f"take '{instead}'"):
        check_texts(words, "own")
    check_texts(options(source=source, control=instead), "own")


def test_own_texts_are_masked_by_the_words_of_all_classes(pictures: Pictures) -> None:
    told = replace(pictures, texts=tuple("Apples under a leaf's sky" for _ in range(len(pictures))))
    masked = own_texts(options(source="column", mask_class_words=True), told).sentences
    assert set(masked) == {("… under a …'s …",)}


def test_texts_that_the_data_call_privileged_are_not_taken_for_label_blind(pictures: Pictures) -> None:
    noted = replace(pictures, kinds=("privileged", *["label_blind"] * (len(pictures) - 1)))
    with pytest.raises(TextError, match=r"says 'privileged' of 1 text: " + re.escape(pictures.names[0])):
        own_texts(options(source="column", kind="label_blind"), noted)
    assert len(own_texts(options(source="column", kind="label_blind"), replace(noted, kinds=None)).sentences) == len(pictures)
    for kind, told in (("privileged", noted), ("unknown", noted), ("label_blind", pictures)):
        assert len(own_texts(options(source="column", kind=kind), told).sentences) == len(pictures)


@pytest.mark.parametrize("control", ["random_words", "scramble", "other_row", "empty"])
def test_controls_of_own_texts_never_see_a_label(pictures: Pictures, control: str) -> None:
    told = replace(pictures, texts=tuple(f"picture number {row} is here" for row in range(len(pictures))))
    before = own_texts(options(source="column", control=control), told, seed=1).sentences
    shuffled = replace(told, labels=told.labels[::-1].copy())
    assert own_texts(options(source="column", control=control), shuffled, seed=1).sentences == before
    plain = own_texts(options(source="column"), told).sentences
    assert sum(one == other for one, other in zip(before, plain, strict=True)) <= len(pictures) // 10
    if control == "other_row":
        assert sorted(before) == sorted(plain)
        assert before != own_texts(options(source="column", control=control), told, seed=2).sentences
    if control == "empty":
        assert set(before) == {("",)}


def test_class_texts_as_own_texts_are_those_of_the_label(pictures: Pictures) -> None:
    texts = own_texts(options(kind="privileged"), pictures).sentences
    assert all(text == (f"a photo of a {pictures.classes[label]}.",) for text, label in zip(texts, pictures.labels, strict=True))


def test_another_classs_text_as_own_text_is_never_that_of_the_label_and_not_always_the_same(pictures: Pictures) -> None:
    texts = own_texts(options(kind="privileged", control="other_class"), pictures).sentences
    pairs = {(int(label), text) for text, label in zip(texts, pictures.labels, strict=True)}
    assert all(pictures.classes[label] not in text[0] for label, text in pairs)
    assert len(pairs) == 6


@pytest.mark.parametrize("control", ["random_words", "scramble"])
def test_class_texts_as_own_texts_have_one_control_text_a_class(pictures: Pictures, control: str) -> None:
    texts = own_texts(options(kind="privileged", control=control), pictures, seed=0).sentences
    bank = class_texts(options(control=control), pictures.classes, seed=0).sentences
    assert all(text == bank[label] for text, label in zip(texts, pictures.labels, strict=True))


def test_texts_made_from_the_label_have_to_say_so(pictures: Pictures, unlabelled_pictures: Pictures) -> None:
    for kind in ("label_blind", "unknown"):
        with pytest.raises(TextError, match=r"tells the teacher the label: say text.kind = 'privileged'"):
            own_texts(options(kind=kind), pictures)
    with pytest.raises(TextError, match="18 pictures have no label, so no class text can be theirs"):
        own_texts(options(kind="privileged"), unlabelled_pictures)
    with pytest.raises(TextError, match="The data have no words beside the pictures"):
        own_texts(options(source="column"), replace(pictures, texts=None))
    with pytest.raises(TextError, match=r"needs text.source = 'column' or 'classes', got 'none'"):
        own_texts(options(source="none"), pictures)


@pytest.mark.parametrize(
    ("settings", "role", "sentence"),
    [
        ({"source": "column"}, "bank", "asks with class texts: need text.source = 'classes' or 'descriptions', got 'column'"),
        ({"control": "other_row"}, "bank", "for a bank take 'permuted_bank'"),
        ({"control": "empty"}, "bank", "would give every class of a bank the same text"),
        ({"control": "other_class"}, "bank", "without names take 'permuted_bank'"),
        ({"control": "permuted_bank"}, "own", "take 'other_class'"),
    ],
)
def test_controls_in_the_other_role_are_refused(settings: dict[str, Any], role: Any, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        check_texts(options(**settings), role)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"template": "a photo"}, "need a {} where the class name stands, got 'a photo'"),
        ({"template": []}, "need one at least"),
        ({"template": ["{}", "photo"]}, "need a {} where the class name stands, got 'photo'"),
        ({"template": "the {}", "template_file": "x"}, "takes the place of template"),
        ({"template": "the {}", "source": "column"}, "take effect with class names only, got source = 'column'"),
        ({"column": "text"}, "takes effect with source = 'column' only, got 'classes'"),
        ({"source": "descriptions"}, "needs descriptions, the path of a JSON file"),
        ({"descriptions": "x.json"}, "takes effect with source = 'descriptions' only, got 'classes'"),
        ({"with_names": True}, "with_names takes effect with source = 'descriptions' only"),
        ({"mask_class_words": True}, "of a class name nothing would remain"),
        ({"masked": True}, "masked says of a column that its class words are out already"),
        ({"source": "column", "masked": True, "mask_class_words": True}, "without mask_class_words, got 'column' and true"),
        ({"source": "none", "queries": "tokens"}, "take effect with words only"),
        ({"source": "none", "control": "scramble"}, "take effect with words only"),
        ({"source": "column", "control": "other_class"}, "take 'other_row'"),
        ({"control": "randomwords"}, "text.control|control"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as refused:
        options(**settings)
    assert any(part in str(refused.value) for part in sentence.split("|"))


def test_masking_what_has_no_class_words_changes_nothing(pictures: Pictures) -> None:
    plain = own_texts(options(source="column"), pictures).sentences
    assert own_texts(options(source="column", mask_class_words=True), pictures).sentences == plain
    assert np.unique([len(text) for text in plain]).tolist() == [1]
