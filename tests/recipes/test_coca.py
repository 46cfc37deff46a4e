"""coca from end to end: what it says of pictures, what is refused before it trains, and what its runs are good for later."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from picturebook.config import run_recipe
from picturebook.data.pictures import Pictures
from picturebook.errors import OptionError, TextError
from picturebook.models.attentional_pooling import AttentionalPooler
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.vocabulary import Vocabulary
from picturebook.models.zero_shot import load_zero_shot
from picturebook.recipes.captioning import common_words, content_words
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import CLASSES, Listening

Make = Callable[..., Any]
OF_CLASSES = {"source": "classes", "kind": "privileged"}
PROBED = ["k-NN", "linear probe", "linear probe of random features", "zero-shot"]


@pytest.fixture(scope="module")
def taught(recipe_options: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[str]]:
    """A run whose captions can name the class, and what it said."""
    listening = Listening()
    options = recipe_options(
        "coca",
        tmp_path_factory.mktemp("coca") / "run",
        text=OF_CLASSES,
        pretrain={"epochs": 40, "batch_size": 33, "learning_rate": 5e-3},
        train={"epochs": 1},
        probe={"finish": "linear_probe"},
    )
    return run_recipe(options, reporter=listening), listening.said


def test_a_run_learns_to_classify_by_words_and_to_write_what_it_sees(
    taught: tuple[RunFolder, list[str]], toy_pictures: Pictures
) -> None:
    run, said = taught
    results = read_json(run.results)
    assert sorted(results["models"]) == sorted([*PROBED, "student", "student through timm's transform"])
    assert results["models"]["zero-shot"]["test"]["accuracy"] > 0.8
    found = results["captions"]
    lines = [json.loads(line) for line in run.captions.read_text(encoding="utf-8").splitlines()]
    assert found["split"] == "test"
    assert found["pictures"] == len(lines) == len({toy_pictures.groups[row] for row in toy_pictures.rows["test"]})
    hits = [line["file_name"].split("/")[0] in line["generated"].split() for line in lines]
    assert found["share_a_content_word"] == pytest.approx(sum(hits) / len(hits))
    assert found["share_a_content_word"] > 0.8 > found["shuffled"]
    assert found["p"] < 0.1  # of so few pictures
    assert {line["text"] for line in lines} <= {f"a photo of a {name}." for name in CLASSES}
    assert any("share a content word with the picture's own text" in sentence for sentence in said)
    assert set(Vocabulary.load(run.teacher / "vocabulary.json").words) == {"a", "photo", "of", *CLASSES}


def test_the_log_has_both_losses(taught: tuple[RunFolder, list[str]]) -> None:
    first = taught[0].read_metrics()[0]
    assert first["stage"] == "pretrain"
    assert first["loss"] == pytest.approx(first["contrast"] + 2 * first["captioning"])


def test_a_student_learns_from_what_the_run_classifies_by_words(
    taught: tuple[RunFolder, list[str]], recipe_options: Make, tmp_path: Path
) -> None:
    run = taught[0]
    classifier, classes = load_zero_shot(run.teacher)
    assert classes == CLASSES
    assert isinstance(classifier.projection, AttentionalPooler)
    assert read_json(run.provenance)["fingerprints"]["zero-shot classifier"] == weights_fingerprint(classifier)
    logits, features = classifier.forward_features(torch.rand(2, 3, 16, 16))
    assert (logits.shape, features.shape[1]) == ((2, 3), classifier.feature_width)
    teacher = {"head": "zero_shot", "image_encoder": str(run.path)}
    later = run_recipe(recipe_options("classifier", tmp_path / "run", teacher=teacher, loss={"distilled": "both"}))
    theirs, found = (read_json(one.results)["models"] for one in (run, later))
    assert found["teacher"]["test"]["nll"] == pytest.approx(theirs["zero-shot"]["test"]["nll"], rel=1e-5)


def test_the_run_starts_another_student(taught: tuple[RunFolder, list[str]], recipe_options: Make, tmp_path: Path) -> None:
    options = recipe_options("coca", tmp_path / "other")
    student = {**options.student.model_dump(), "init": str(taught[0].path)}
    run_recipe(recipe_options("supervised", tmp_path / "run", student=student, train={"epochs": 1}))


def test_content_words_are_neither_function_words_nor_in_most_texts() -> None:
    common = common_words([("a red bird", "a bird"), ("a blue bird",), ("The green fish",)])
    assert common == {"a", "bird"}
    assert content_words(("The red bird", "is on it"), common) == {"red"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text": {"source": "none"}}, "coca learns pictures with their texts: need text.source"),
        ({"text": {"source": "classes"}}, "say text.kind = 'privileged'"),
        ({"pretrain": {"accumulate": 4}}, "a batch cannot go in parts"),
        ({"captioner": {"width": 15}}, "width needs to be a multiple of num_heads, got 15 and 2"),
        ({"captioner": {"num_layers": 3}}, r"captioner\.num_layers: .*multiple of 2, got 3"),
        ({"pretrain": {"batch_size": 1}}, r"pretrain\.batch_size: .*greater than or equal to 4, got 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        run_recipe(recipe_options("coca", tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_texts_that_are_all_the_same_to_the_decoder_are_refused(recipe_options: Make, tmp_path: Path) -> None:
    options = recipe_options("coca", tmp_path / "run", captioner={"length": 3})
    with pytest.raises(TextError, match="texts are the same to the decoder"):  # the first word of each is "a"
        run_recipe(options)
    assert not (tmp_path / "run").exists()
