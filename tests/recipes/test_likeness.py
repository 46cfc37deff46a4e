"""Label smoothing by words of the classes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from picturebook.config import run_recipe
from picturebook.data.texts import class_texts
from picturebook.errors import OptionError, TextError
from picturebook.losses import class_likeness
from picturebook.models.text_encoders import load_text_encoder
from picturebook.recipes.likeness import SmoothingTextOptions, likeness
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import make_stages

Make = Callable[..., Any]
SMOOTHED = {"label_smoothing": 0.2}


def test_labels_are_smoothed_by_what_the_classes_texts_say(recipe_options: Make, toy_text_encoder: Path, tmp_path: Path) -> None:
    text = {"source": "classes", "template": "a drawing of a {}.", "text_encoder": str(toy_text_encoder), "temperature": 0.5}
    options = recipe_options("supervised", tmp_path / "run", smoothing_text=text, loss=SMOOTHED)
    RunFolder(tmp_path / "run").start(resume=False, resolved="")
    stages = make_stages(options)
    alike = likeness(stages, options.smoothing_text)
    sentences = class_texts(options.smoothing_text, stages.pictures.classes, seed=0).sentences
    vectors = load_text_encoder(str(toy_text_encoder)).encode([each for (each,) in sentences])
    assert alike is not None
    torch.testing.assert_close(alike, class_likeness(vectors - vectors.mean(dim=0), temperature=0.5))
    assert "smoothing words" in stages.fingerprints
    assert likeness(stages, SmoothingTextOptions()) is None


def test_runs_by_words_differ_from_even_ones_and_say_what_they_read(
    recipe_options: Make, toy_text_encoder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "descriptions.json"
    classes = json.loads(run_recipe(recipe_options("supervised", tmp_path / "even", loss=SMOOTHED)).classes.read_text())
    file.write_text(json.dumps({name: [f"{name} is nice", "small"] for name in classes}))
    text = {"source": "descriptions", "descriptions": str(file), "text_encoder": str(toy_text_encoder)}
    run = run_recipe(recipe_options("supervised", tmp_path / "words", smoothing_text=text, loss=SMOOTHED))
    even, by_words = (RunFolder(tmp_path / name).read_metrics()[-1]["loss"] for name in ("even", "words"))
    assert even != by_words
    assert read_json(run.provenance)["words"]["smoothing words"]["texts"] == len(classes)
    loss = {**SMOOTHED, "alignment": {"weight": 0.5}}
    beside = {"source": "column", "kind": "privileged", "text_encoder": str(toy_text_encoder)}
    both = recipe_options("supervised", tmp_path / "both", smoothing_text=text, alignment_text=beside, loss=loss)
    assert {"smoothing words", "alignment words"} <= set(read_json(run_recipe(both).provenance)["fingerprints"])


@pytest.mark.parametrize(
    ("text", "loss", "said"),
    [
        ({"source": "classes"}, {}, "raise that above 0"),
        ({"temperature": 0.1}, SMOOTHED, "settings but no words"),
        ({"source": "classes", "queries": "sentences"}, SMOOTHED, "remove its queries and kind"),
        ({"source": "classes", "kind": "privileged"}, SMOOTHED, "remove its queries and kind"),
        ({"source": "classes", "control": "other_row"}, SMOOTHED, r"smoothing_text\.control = 'other_row' is a control"),
        ({"source": "descriptions", "descriptions": "gone.json"}, SMOOTHED, r"smoothing_text\.descriptions = 'gone\.json'"),
    ],
)
def test_words_that_cannot_be_or_have_no_use_are_refused(
    recipe_options: Make, toy_text_encoder: Path, tmp_path: Path, text: dict[str, Any], loss: dict[str, Any], said: str
) -> None:
    if text.get("source", "none") != "none":
        text = text | {"text_encoder": str(toy_text_encoder)}
    with pytest.raises((OptionError, TextError), match=said):
        run_recipe(recipe_options("supervised", tmp_path / "run", smoothing_text=text, loss=loss))
