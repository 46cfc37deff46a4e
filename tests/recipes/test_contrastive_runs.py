"""clip, align and siglip from end to end, what is refused before they train, and what their runs are good for later."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from picturebook.config import run_recipe
from picturebook.data.pictures import Pictures
from picturebook.errors import ModelError, OptionError, PicturebookError, TextError
from picturebook.models.artefact import load_student
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.zero_shot import load_zero_shot
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import CLASSES, NUM_A_CLASS, PAIR_CASES, VIT, Listening

Make = Callable[..., Any]
PROBED = ["k-NN", "linear probe", "linear probe of random features", "zero-shot"]
TRAINED = {"kind": "trained", "width": 16, "depth": 1, "num_heads": 2, "length": 6}


@pytest.mark.parametrize("case", PAIR_CASES)
def test_a_run_ends_in_a_student_with_probes_and_zero_shot_beside_it(finished_run: Make, case: str) -> None:
    run = RunFolder.open(finished_run(case).path)
    models = read_json(run.results)["models"]
    assert sorted(models) == sorted([*PROBED, "student", "student through timm's transform"])
    lines = run.read_metrics()
    stages = ["pretrain"] if case == "align" else ["pretrain", "student"]  # align ends in a linear probe
    assert list(dict.fromkeys(line["stage"] for line in lines)) == stages
    assert {"contrast", "scale", "val_accuracy"} <= lines[0].keys() | lines[1].keys()
    found = lines[[line["stage"] for line in lines].index("pretrain")]
    assert found["loss"] == pytest.approx(found["contrast"])
    classifier, classes = load_zero_shot(run.teacher)
    assert classes == CLASSES
    vectors = classifier.class_vectors.norm(dim=1)
    torch.testing.assert_close(vectors, torch.ones(3))
    provenance = read_json(run.provenance)
    assert provenance["fingerprints"]["zero-shot classifier"] == weights_fingerprint(classifier)
    assert provenance["words"]


def test_a_linear_probe_leaves_the_pretrained_encoder_in_the_student(finished_run: Make) -> None:
    run = finished_run("align")
    student, _ = load_student(run.student)
    pretrained = load_zero_shot(run.teacher)[0].encoder
    state = pretrained.state_dict()
    same = {name: torch.equal(value, state[name]) for name, value in student.state_dict().items()}
    assert {name for name, equal in same.items() if not equal} == {"model.head.weight", "model.head.bias"}


def test_class_texts_teach_zero_shot_classification(recipe_options: Make, tmp_path: Path) -> None:
    changes = {"pretrain": {"epochs": 30, "batch_size": 33, "learning_rate": 3e-3}, "train": {"epochs": 1}}
    several = {"templates": ["a photo of a {}.", "{}", "one {}"]}
    results = read_json(run_recipe(recipe_options("siglip", tmp_path / "run", zero_shot=several, **changes)).results)
    assert results["models"]["zero-shot"]["test"]["accuracy"] > 0.8


# ---- later runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", PAIR_CASES)
def test_a_student_learns_from_what_a_run_classifies_by_words(
    finished_run: Make, recipe_options: Make, tmp_path: Path, case: str
) -> None:
    teacher = {"head": "zero_shot", "image_encoder": str(finished_run(case).path)}
    run = run_recipe(recipe_options("classifier", tmp_path / "run", teacher=teacher, loss={"distilled": "both"}))
    theirs = read_json(finished_run(case).results)["models"]["zero-shot"]
    found = read_json(run.results)["models"]["teacher"]
    assert found["test"]["nll"] == pytest.approx(theirs["test"]["nll"], rel=1e-5)


@pytest.mark.parametrize("case", PAIR_CASES)
def test_the_run_starts_another_student_and_is_another_teachers_encoder(
    finished_run: Make, recipe_options: Make, tmp_path: Path, case: str
) -> None:
    path = str(finished_run(case).path)
    run_recipe(recipe_options("supervised", tmp_path / "init", student={**VIT, "init": path}, train={"epochs": 1}))
    teacher = {"image_encoder": path}
    run_recipe(recipe_options("distil", tmp_path / "teacher", student=VIT, teacher=teacher, train={"epochs": 1}))


def test_a_run_without_words_is_no_zero_shot_teacher(finished_run: Make, recipe_options: Make, tmp_path: Path) -> None:
    teacher = {"head": "zero_shot", "image_encoder": str(finished_run("supervised").path)}
    with pytest.raises(ModelError, match="holds no zero-shot classifier: name the folder of a finished run of clip"):
        run_recipe(recipe_options("classifier", tmp_path / "run", teacher=teacher))
    with pytest.raises(OptionError, match=r"need teacher\.image_encoder = the folder of a finished run"):
        run_recipe(recipe_options("classifier", tmp_path / "run", teacher={"head": "zero_shot"}))
    assert not (tmp_path / "run").exists()


# ---- refused before any training ----------------------------------------------------------------------------------------


def data_with(toy_data: Path, root: Path, text: Callable[[int], str] | None) -> dict[str, Any]:
    """The toy data with other words, or none."""
    shutil.copytree(toy_data, root)
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row.pop("text") if text is None else row.update(text=text(number))
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return {"data": {"root": str(root)}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "There is no column 'text'"),
        (lambda number: "", "is empty in every row"),
        (lambda number: "one", "texts are the same to the text tower"),
    ],
)
@pytest.mark.parametrize("tower", ["frozen", "trained"])
def test_pictures_without_words_that_differ_are_refused(
    recipe_options: Make, toy_data: Path, tmp_path: Path, tower: str, text: Any, sentence: str
) -> None:
    changes = data_with(toy_data, tmp_path / "data", text)
    case = "clip" if tower == "frozen" else "align"
    with pytest.raises(PicturebookError, match=sentence):
        run_recipe(recipe_options(case, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_words_of_test_pictures_alone_teach_nothing(
    recipe_options: Make, toy_data: Path, toy_pictures: Pictures, tmp_path: Path
) -> None:
    place = f"{toy_pictures.names[toy_pictures.rows['test'][0]]}"
    number = CLASSES.index(place.split("/")[0]) * NUM_A_CLASS + int(Path(place).stem)
    changes = data_with(toy_data, tmp_path / "data", lambda row: "one" if row == number else "")
    with pytest.raises(TextError, match="No training picture has a text, and clip learns from these"):
        run_recipe(recipe_options("clip", tmp_path / "run", **changes))


def test_pictures_without_a_table_are_refused(recipe_options: Make, toy_data: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_data, tmp_path / "data", ignore=shutil.ignore_patterns("metadata.csv"))
    with pytest.raises(PicturebookError, match=r"There is no column 'text': .* has no metadata file"):
        run_recipe(recipe_options("clip", tmp_path / "run", data={"root": str(tmp_path / "data")}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"text": {"source": "none"}}, "clip learns pictures with their texts: need text.source"),
        ({"text": {"source": "classes"}}, "say text.kind = 'privileged'"),
        ({"text": {"control": "empty"}}, "take 'other_row'"),
        ({"text": {"masked": True}}, r"text\.masked is for the audit, which does not read these texts"),
        ({"text": {"synonyms": "x.json"}}, r"text\.synonyms take effect with text\.mask_class_words = true only"),
        ({"text": {"queries": "tokens"}}, "takes no effect in clip, where a text is one vector"),
        ({"pretrain": {"accumulate": 4}}, "a batch cannot go in parts"),
        ({"views": {"mixup": 0.5}}, "clip has no mix of their texts"),
        ({"probe": {"neighbours": 34}}, "only 33 training pictures have a label"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        run_recipe(recipe_options("clip", tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pretrain": {"batch_size": 1}}, r"pretrain\.batch_size: .*greater than or equal to 4, got 1"),
        ({"zero_shot": {"templates": []}}, r"zero_shot\.templates: .*at least 1"),
        (
            {"zero_shot": {"templates": ["a photo"]}},
            r"zero_shot: templates: need a \{\} where the class name stands, got 'a photo'",
        ),
        ({"text_tower": {"width": 12}}, "width takes no effect with kind = 'frozen'"),
        ({"text_tower": {**TRAINED, "projection": "mlp"}}, "takes no effect with kind = 'trained'"),
        ({"loss": {"temperature": 0.001}}, r"loss\.temperature: .*greater than or equal to 0\.01"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        recipe_options("clip", tmp_path / "run", **changes)


def test_words_cannot_be_hidden_from_a_frozen_language_model(recipe_options: Make, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"noise\.word_dropout takes effect with text_tower\.kind = 'trained' only"):
        run_recipe(
            recipe_options(
                "align", tmp_path / "run", text_tower={"kind": "frozen", "width": 256, "depth": 4, "num_heads": 4, "length": 32}
            )
        )


def test_class_texts_need_a_label_for_every_picture(recipe_options: Make, unlabelled_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="18 pictures have no label, so no class text can be theirs"):
        run_recipe(recipe_options("siglip", tmp_path / "run", data={"root": str(unlabelled_data)}))


@pytest.mark.parametrize("case", ["clip", "align", "siglip", "coca"])
def test_batches_of_one_text_are_refused_before_any_training(
    recipe_options: Make, toy_data: Path, tmp_path: Path, case: str
) -> None:
    changes = data_with(toy_data, tmp_path / "data", lambda number: "one" if number % 16 else "two")
    with pytest.raises(TextError, match=r"Of batches of 16, \d\d% would hold one text alone \(2 different texts in all\)"):
        run_recipe(recipe_options(case, tmp_path / "run", **changes, text={"source": "column", "kind": "label_blind"}))
    assert not list((tmp_path / "run").rglob("*.safetensors"))


# ---- said ---------------------------------------------------------------------------------------------------------------


def test_pictures_without_a_text_are_left_out_and_said(recipe_options: Make, toy_data: Path, tmp_path: Path) -> None:
    changes = data_with(toy_data, tmp_path / "data", lambda number: "" if number % 4 == 0 else f"a photo of {number % 3}")
    listening = Listening()
    run_recipe(recipe_options("align", tmp_path / "run", **changes, pretrain={"epochs": 1}), reporter=listening)
    assert any("without a text left out of the training on pairs" in sentence for sentence in listening.said)
    assert any("class names of which no word is in the training texts (apple, leaf, sky)" in said for said in listening.said)


def test_two_texts_for_all_pictures_leave_little_to_tell_apart_and_this_is_said(
    recipe_options: Make, toy_data: Path, tmp_path: Path
) -> None:
    changes = data_with(toy_data, tmp_path / "data", lambda number: "one" if number % 3 else "two")
    listening = Listening()
    run_recipe(recipe_options("clip", tmp_path / "run", **changes, pretrain={"epochs": 1}), reporter=listening)
    (sentence,) = (said for said in listening.said if "tell apart" in said)
    assert sentence.startswith("In a batch of 16, ")
    assert "only 2 different texts" in sentence
