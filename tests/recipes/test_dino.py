"""DINO from end to end at toy size, what becomes of its run, and what is refused before any training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from picturebook.config import run_recipe
from picturebook.errors import DataError, ModelError, OptionError, PicturebookError, TrainingError
from picturebook.evaluate import evaluate_rows, open_classifier, student_logits
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import VIT, Listening, merged, num_steps

Make = Callable[..., Any]

PROBES = ["student", "k-NN", "linear probe", "linear probe of random features"]
GROWING = merged(VIT, {"model_args": {**VIT["model_args"], "dynamic_img_size": True}})


@pytest.fixture(scope="module")
def finished(recipe_options: Make, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a ViT, of which local crops are taken as they are."""
    return run_recipe(recipe_options("dino", tmp_path_factory.mktemp("dino") / "run", student=GROWING, crops={"local_crops": 1}))


def test_a_run_pretrains_probes_and_fine_tunes(finished: RunFolder) -> None:
    assert list(num_steps(finished)) == ["pretrain", "student"]
    results = read_json(finished.results)
    assert [name for name in results["models"] if "timm" not in name] == PROBES
    assert {"probe", "pretrain", "student"} <= results["seconds"].keys()
    (first, *_) = finished.read_metrics()
    assert first.keys() >= {"multi_crop_cross_entropy", "output_entropy", "mean_output_entropy", "feature_spread"}


@pytest.mark.parametrize("finish", ["fine_tune", "linear_probe"])
def test_a_resnet_of_batch_statistics_learns_from_crops_of_two_sizes(recipe_options: Make, tmp_path: Path, finish: str) -> None:
    run = run_recipe(recipe_options("dino", tmp_path / "run", probe={"finish": finish}))
    models = read_json(run.results)["models"]
    assert set(models) >= set(PROBES)
    assert ("student" in num_steps(run)) == (finish == "fine_tune")
    if finish == "linear_probe":
        assert models["student"]["test"]["nll"] == pytest.approx(models["linear probe"]["test"]["nll"], rel=1e-4)


def test_pictures_without_a_label_are_learnt_from_and_not_probed(
    recipe_options: Make, unlabelled_data: Path, tmp_path: Path
) -> None:
    reporter = Listening()
    options = recipe_options("dino", tmp_path / "run", data={"root": str(unlabelled_data)}, probe={"neighbours": 5})
    steps = num_steps(run_recipe(options, reporter=reporter))
    assert steps["pretrain"] > steps["student"]
    assert any("without a label are left out" in sentence for sentence in reporter.said)


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("supervised", {"student": {"init": "RUN"}}),
        ("learned", {"student": {"init": "RUN"}, "teacher": {"image_encoder": "RUN"}}),
        ("dino", {"student": {"init": "RUN"}}),
    ],
)
def test_a_run_starts_students_and_teaches_others(
    recipe_options: Make, finished: RunFolder, tmp_path: Path, case: str, changes: dict[str, Any]
) -> None:
    path = str(finished.path)
    named = {table: dict.fromkeys(setting, path) for table, setting in changes.items()}
    settings = merged(named, {"student": GROWING, "train": {"learning_rate": 1e-8, "epochs": 1}})
    if case == "dino":
        settings = merged(settings, {"pretrain": {"learning_rate": 1e-8, "epochs": 1}})
    run = run_recipe(recipe_options(case, tmp_path / "run", **settings))
    if case != "learned":
        return
    assert read_json(run.provenance)["fingerprints"]["image encoder"]


def test_a_student_that_starts_from_a_run_answers_as_it_where_it_hardly_learns(
    recipe_options: Make, finished: RunFolder, tmp_path: Path, toy_pictures: Any
) -> None:
    settings = {"student": merged(GROWING, {"init": str(finished.path)}), "train": {"learning_rate": 1e-9, "epochs": 1}}
    run = run_recipe(recipe_options("supervised", tmp_path / "run", **settings))
    rows, size = toy_pictures.rows["test"], {"image_size": 16, "device": torch.device("cpu")}
    first, second = (
        evaluate_rows(student_logits(open_classifier(each.path).encoder), toy_pictures, rows, **size).nll
        for each in (finished, run)
    )
    assert second == pytest.approx(first, rel=1e-4)


def test_a_run_that_collapses_is_stopped_and_said(recipe_options: Make, tmp_path: Path) -> None:
    # Neither centred nor sharpened: flat answers, the same to every picture.
    loss = {"centre_momentum": 1.0, "teacher_temperature": [1.0, 1.0]}
    options = recipe_options("dino", tmp_path / "run", pretrain={"epochs": 30}, loss=loss, student=VIT, crops={"local_crops": 0})
    with pytest.raises(TrainingError, match=r"DINO has collapsed: .* Sharpen more"):
        run_recipe(options)
    run = RunFolder(tmp_path / "run")
    assert not run.finished
    last = run.read_metrics()[-1]
    assert last["mean_output_entropy"] - last["output_entropy"] < 0.02


def test_local_crops_of_a_network_of_one_size_are_enlarged_and_that_is_said(recipe_options: Make, tmp_path: Path) -> None:
    reporter = Listening()
    run_recipe(recipe_options("dino", tmp_path / "fixed", student=VIT, pretrain={"epochs": 1}), reporter=reporter)
    (sentence,) = (said for said in reporter.said if "enlarged" in said)
    assert "dynamic_img_size" in sentence


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"crops": {"local_size": 32}}, OptionError, "local_size: need at most 16"),
        ({"student": GROWING, "crops": {"local_size": 10}}, ModelError, "does not take crops.local_size = 10"),
        (
            {"precision": "bf16", "student": {"image_size": 32}, "data": {"canvas_size": 32}, "crops": {"local_size": 16}},
            ModelError,
            "at crops.local_size = 16, layer .* one pixel",
        ),
        ({"probe": {"neighbours": 34}}, OptionError, "only 33 training pictures have a label"),
        ({"pretrain": {"batch_size": 3}}, OptionError, "pretrain.batch_size"),
        ({"train": {"batch_size": 1}}, OptionError, "train.batch_size"),
        ({"head": {"prototypes": 1}}, OptionError, "head.prototypes"),
        ({"loss": {"label_weight": 1.0}}, OptionError, "label_weight"),
    ],
)
def test_what_cannot_work_is_refused_before_any_training(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], error: type[PicturebookError], message: str
) -> None:
    student = changes.get("student", {"image_size": 16})
    with pytest.raises(error, match=message):
        run_recipe(recipe_options("dino", tmp_path / "run", **{**changes, "student": student}))
    assert not list((tmp_path / "run" / "stages").glob("*/state-*"))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_pictures_without_any_label_are_refused_before_any_training(
    recipe_options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picturebook.recipes.stages import Stages
    from picturebook.types import UNLABELLED

    load = Stages.__init__

    def unlabelled(self: Stages, *arguments: Any, **keywords: Any) -> None:
        load(self, *arguments, **keywords)
        self.pictures.labels[self.train_rows] = UNLABELLED

    monkeypatch.setattr(Stages, "__init__", unlabelled)
    with pytest.raises(DataError, match="No training picture has a label"):
        run_recipe(recipe_options("dino", tmp_path / "run"))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
