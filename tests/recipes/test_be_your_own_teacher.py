import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

from picturebook.config import run_recipe
from picturebook.data.pictures import Pictures
from picturebook.errors import ModelError, OptionError, PicturebookError
from picturebook.evaluate import evaluate_rows, evaluate_with_timm, student_logits
from picturebook.models.artefact import load_student
from picturebook.predict import predict_files
from picturebook.runs import RunFolder
from picturebook.types import Silence
from picturebook.writing import read_json
from toy_runs import VIT
from toys import CLASSES, toy_picture

Make = Callable[..., Any]

OWN_MODEL = {"model": "wide_resnet28_2", "model_args": {"width": 1, "depth": 1}, "image_size": 16}


@pytest.fixture(scope="module")
def run(recipe_options: Make, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """With an architecture of picturebook's own, and its second exit kept."""
    out = tmp_path_factory.mktemp("exits") / "run"
    return run_recipe(recipe_options("be_your_own_teacher", out, student=OWN_MODEL, early_exit=2))


def test_every_exit_and_the_ensemble_have_numbers(run: RunFolder) -> None:
    models = read_json(run.results)["models"]
    assert sorted(models) == [
        "ensemble of the exits",
        "exit 1 of 3",
        "exit 2 of 3",
        "student",
        "student through timm's transform",
    ]
    assert len({numbers["test"]["nll"] for numbers in models.values()}) >= 4
    line = run.read_metrics()[-1]
    assert min(line["cross_entropy"], line["distillation_kl"], line["squared_distance"]) > 0


def test_the_student_is_the_plain_backbone(run: RunFolder) -> None:
    config = json.loads((run.student / "config.json").read_text())
    assert config["architecture"] == "wide_resnet28_2"
    assert config["requires"] == "import picturebook.models"
    with torch.no_grad():
        model = timm.create_model(f"local-dir:{run.student}", pretrained=True).eval()
        encoder, names = load_student(run.student)
        pictures = torch.rand(2, 3, 16, 16)
        assert torch.equal(model(encoder.prepare(pictures)), encoder.eval()(pictures))
    assert names == CLASSES


def test_the_early_exit_is_a_smaller_model_with_the_numbers_of_its_exit(run: RunFolder, toy_pictures: Pictures) -> None:
    encoder, names = load_student(run.exit)
    student, _ = load_student(run.student)
    assert (encoder.architecture, names) == ("early_exit", CLASSES)
    assert (len(encoder.model.backbone.stages), len(student.model.stages)) == (2, 3)
    rows = toy_pictures.rows["test"]
    expected = read_json(run.results)["models"]["exit 2 of 3"]["test"]
    found = evaluate_rows(student_logits(encoder), toy_pictures, rows, image_size=16, device=torch.device("cpu"))
    assert found.nll == pytest.approx(expected["nll"], rel=1e-5)
    assert evaluate_with_timm(run.exit, toy_pictures, rows).nll == pytest.approx(expected["nll"], rel=1e-4)


def test_student_and_early_exit_predict(run: RunFolder, toy_data: Path) -> None:
    for model in (run.path, run.exit):
        (prediction,) = predict_files(model, [toy_data / "apple" / "00.png"], top=3, reporter=Silence())
        assert sorted(prediction.classes) == sorted(CLASSES)


def test_a_vits_exits_are_after_the_blocks_that_are_named(recipe_options: Make, tmp_path: Path) -> None:
    deeper = {**VIT, "model_args": {**VIT["model_args"], "depth": 3}}
    options = recipe_options("be_your_own_teacher", tmp_path / "run", student=deeper, blocks=[2], early_exit=1)
    run = run_recipe(options)
    assert "exit 1 of 2" in read_json(run.results)["models"]
    assert len(load_student(run.exit)[0].model.backbone.blocks) == 2
    assert len(load_student(run.student)[0].model.blocks) == 3


def test_without_an_early_exit_there_is_one_artefact(finished_run: Make) -> None:
    assert not finished_run("be_your_own_teacher").exit.exists()


def test_the_exits_teach_the_backbone_something(finished_run: Make) -> None:
    """The student's order, views and first weights are the supervised one's, so what differs comes from the exits."""
    ours, theirs = (load_file(finished_run(case).student / "model.safetensors") for case in ("be_your_own_teacher", "supervised"))
    assert ours.keys() == theirs.keys()
    assert not torch.equal(ours["layer1.0.conv1.weight"], theirs["layer1.0.conv1.weight"])


# ---- what is refused before any training ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"student": {"model": "convnext_atto", "model_args": {}, "image_size": 32}, "data": {"canvas_size": 32}}, ModelError,
         "'convnext_atto' has no stages that are known"),
        ({"student": VIT, "blocks": [2]}, ModelError, "has 2 blocks: expected different numbers from 1 to 1"),
        ({"blocks": [1]}, ModelError, "has stages of its own: leave blocks out"),
        ({"early_exit": 4}, OptionError, "early_exit = 4, but resnet10t has exits 1 to 3 before its last classifier"),
    ],
)  # fmt: skip
def test_what_cannot_have_exits_is_refused_before_training(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], error: type[PicturebookError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        run_recipe(recipe_options("be_your_own_teacher", tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": {"distillation_weight": 1.0}}, "distillation_weight"),
        ({"loss": {"temperature": 0.0}}, "temperature"),
        ({"loss": {"feature_weight": -1.0}}, "feature_weight"),
        ({"early_exit": 0}, "early_exit"),
        ({"train": {"batch_size": 1}}, "train.batch_size: should be greater than or equal to 4, got 1"),
    ],
)
def test_impossible_settings_are_refused(recipe_options: Make, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        recipe_options("be_your_own_teacher", tmp_path / "run", **changes)


def test_pictures_of_one_class_are_refused(recipe_options: Make, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "apple").mkdir(parents=True)
    for index in range(12):
        toy_picture(0, index).save(root / "apple" / f"{index}.png")
    with pytest.raises(PicturebookError, match="class"):
        run_recipe(recipe_options("be_your_own_teacher", tmp_path / "run", data={"root": str(root)}))
    assert not (tmp_path / "run").exists()
