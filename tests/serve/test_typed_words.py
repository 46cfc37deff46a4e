"""Typed words against the maps of the run's own words, which attention.look gives."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from picturebook.attention import look
from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.texts import TextOptions
from picturebook.runs import RunFolder
from picturebook.serve.answers import Answers
from picturebook.serve.opening import open_answers
from picturebook.types import Silence
from served import copy_to_change

OWN = TextOptions(source="column", kind="label_blind")


@pytest.fixture(scope="module")
def pictures(toy_data: Path, toy_cache: Path) -> Pictures:
    return load_pictures(DataOptions(root=str(toy_data), canvas_size=16), cache=toy_cache, text_column="text")


@pytest.mark.parametrize(("mode", "text"), [("own", OWN), ("bank", TextOptions())])
def test_the_runs_own_words_look_where_they_looked(
    answers_of: Callable[[str], Answers],
    finished_run: Callable[[str], RunFolder],
    pictures: Pictures,
    toy_cache: Path,
    mode: str,
    text: TextOptions,
) -> None:
    typed = answers_of(mode).words
    assert typed is not None
    rows = pictures.rows["test"][:4]
    for expected in look(finished_run(mode).teacher, pictures, rows, text, image_size=16, cache=toy_cache):
        (batch,) = evaluation_batches(pictures, np.array([expected.row]), image_size=16, device=torch.device("cpu"))
        np.testing.assert_allclose(typed.look(batch.images, expected.text), expected.weights, atol=1e-5)


def test_typed_words_are_not_kept(answers_of: Callable[[str], Answers], toy_cache: Path, pictures: Pictures) -> None:
    typed = answers_of("own").words
    assert typed is not None
    before = {path: path.read_bytes() for path in (toy_cache / "texts").iterdir()}
    (batch,) = evaluation_batches(pictures, np.array([0]), image_size=16, device=torch.device("cpu"))
    typed.look(batch.images, "three leaf sky photo")
    assert {path: path.read_bytes() for path in (toy_cache / "texts").iterdir()} == before


def test_a_text_encoder_that_is_gone_is_said(finished_run: Callable[[str], RunFolder], toy_cache: Path, tmp_path: Path) -> None:
    run = copy_to_change(finished_run("own").path, tmp_path / "run")
    saved = json.loads((run / "teacher/teacher.json").read_text())
    (run / "teacher/teacher.json").write_text(json.dumps(saved | {"text_encoder": str(tmp_path / "nowhere")}))
    answers = open_answers(run, cache=toy_cache, reporter=Silence())
    assert answers.words is None
    assert answers.no_words.startswith("Typed words cannot be asked: The text encoder")
    assert answers.neighbours is not None, "the rest goes on"


def test_privileged_words_are_called_so(finished_run: Callable[[str], RunFolder], toy_cache: Path, tmp_path: Path) -> None:
    run = copy_to_change(finished_run("own").path, tmp_path / "run")
    settings = (run / "run.toml").read_text()
    assert '"label_blind"' in settings
    (run / "run.toml").write_text(settings.replace('"label_blind"', '"privileged"'))
    assert "(privileged)" in open_answers(run, cache=toy_cache, reporter=Silence()).words_note
