from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from picturebook.attention import WordsInPicture, look
from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.texts import TextOptions
from picturebook.errors import ModelError
from picturebook.models.saved_teacher import load_teacher
from picturebook.runs import RunFolder

OWN = TextOptions(source="column", kind="label_blind")
BANK = TextOptions(source="classes")

Run = Callable[[str], RunFolder]


@pytest.fixture(scope="module")
def pictures(toy_data: Path, toy_cache: Path) -> Pictures:
    return load_pictures(DataOptions(root=str(toy_data), canvas_size=16), cache=toy_cache, text_column="text")


def looked(run: RunFolder, pictures: Pictures, text: TextOptions, cache: Path, rows: np.ndarray) -> list[WordsInPicture]:
    return look(run.teacher, pictures, rows, text, image_size=16, cache=cache)


@pytest.mark.parametrize(("mode", "text"), [("own", OWN), ("bank", BANK)])
def test_maps_have_the_encoders_grid_and_sum_to_one(
    finished_run: Run, pictures: Pictures, toy_cache: Path, mode: str, text: TextOptions
) -> None:
    run, rows = finished_run(mode), pictures.rows["test"][[3, 0, 5]]
    answers = looked(run, pictures, text, toy_cache, rows)
    encoder, _, _ = load_teacher(run.teacher)
    assert [answer.row for answer in answers] == rows.tolist()
    for answer in answers:
        assert answer.weights.shape == encoder.grid == (4, 4)
        assert answer.weights.min() >= 0
        assert answer.weights.sum() == pytest.approx(1, abs=1e-12)
        assert 1 / 3 <= answer.probability <= 1
    assert len({answer.weights.tobytes() for answer in answers}) == 3, "another picture, another map"


def test_own_words_are_the_pictures(finished_run: Run, pictures: Pictures, toy_cache: Path) -> None:
    assert pictures.texts is not None
    for answer in looked(finished_run("own"), pictures, OWN, toy_cache, pictures.rows["test"]):
        assert answer.text == pictures.texts[answer.row]


def test_a_bank_shows_the_text_of_the_class_that_is_said(finished_run: Run, pictures: Pictures, toy_cache: Path) -> None:
    for answer in looked(finished_run("bank"), pictures, BANK, toy_cache, pictures.rows["test"]):
        assert answer.text == f"a photo of a {pictures.classes[answer.prediction]}."


@torch.no_grad()
def test_a_banks_map_is_that_of_the_class_that_is_said(finished_run: Run, pictures: Pictures, toy_cache: Path) -> None:
    run, rows = finished_run("bank"), np.arange(len(pictures))
    answers = looked(run, pictures, BANK, toy_cache, rows)
    encoder, head, _ = load_teacher(run.teacher)
    (batch,) = evaluation_batches(pictures, rows, image_size=16, device=torch.device("cpu"), batch_size=len(rows))
    output = head(encoder.tokens(batch.images), None, with_attention=True)
    assert any(answer.prediction > 0 for answer in answers), "else the first class's map would do"
    for place, answer in enumerate(answers):
        expected = output.attention[place, answer.prediction].reshape(4, 4)
        np.testing.assert_allclose(answer.weights, expected / expected.sum(), atol=1e-6)
        assert answer.prediction == output.logits[place].argmax()


@pytest.mark.parametrize(("mode", "text"), [("own", OWN), ("bank", BANK)])
def test_a_picture_is_answered_the_same_in_any_company(
    finished_run: Run, pictures: Pictures, toy_cache: Path, mode: str, text: TextOptions
) -> None:
    rows = pictures.rows["test"][:4]
    together = looked(finished_run(mode), pictures, text, toy_cache, rows)
    (alone,) = looked(finished_run(mode), pictures, text, toy_cache, rows[2:3])
    np.testing.assert_allclose(alone.weights, together[2].weights, atol=1e-6)
    assert (alone.prediction, alone.text) == (together[2].prediction, together[2].text)
    assert alone.probability == pytest.approx(together[2].probability, abs=1e-5)


def test_other_words_look_elsewhere(finished_run: Run, pictures: Pictures, toy_cache: Path) -> None:
    assert pictures.texts is not None
    told = replace(pictures, texts=tuple("three three three" for _ in pictures.texts))
    rows = pictures.rows["test"]
    before = looked(finished_run("own"), pictures, OWN, toy_cache, rows)
    after = looked(finished_run("own"), told, OWN, toy_cache, rows)
    assert {answer.text for answer in after} == {"three three three"}
    for one, other in zip(before, after, strict=True):
        assert not np.allclose(one.weights, other.weights, atol=1e-6)


@pytest.mark.parametrize("mode", ["linear", "learned", "distil"])
def test_a_head_without_words_is_refused(finished_run: Run, pictures: Pictures, toy_cache: Path, mode: str) -> None:
    run = finished_run(mode)
    with pytest.raises(ModelError) as refused:
        looked(run, pictures, BANK, toy_cache, pictures.rows["test"])
    head = "linear" if mode == "distil" else mode
    assert str(refused.value) == f"{run.teacher} reads no words: its head is {head!r}."


def test_a_run_without_a_head_is_refused(finished_run: Run, pictures: Pictures, toy_cache: Path) -> None:
    with pytest.raises(ModelError, match="holds no teacher with a head: train one with recipe = 'image_text'"):
        looked(finished_run("supervised"), pictures, BANK, toy_cache, pictures.rows["test"])
