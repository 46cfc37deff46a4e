"""Heads that label only what did not teach them, their calibration, experts together, and controls of the targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from picturebook.config import run_recipe
from picturebook.errors import DataError, OptionError
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.saved_teacher import load_teacher
from picturebook.recipes.stages import Stages
from picturebook.runs import RunFolder
from picturebook.stores.packed import PackedArray, read_header
from picturebook.writing import read_json
from toy_runs import Listening, num_steps

Make = Callable[..., Any]


NAMED = {"image_encoder": "resnet10t"}


def keep_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "discard_stages", lambda self: None)


def targets_of(run: RunFolder) -> PackedArray:
    folder = run.stages / "targets" / "logits"
    return PackedArray.open(folder, read_header(folder)["fingerprint"])


def test_each_fold_has_a_head_that_was_taught_without_it_and_labels_it(
    recipe_options: Make, frozen_encoder: str, toy_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_stages(monkeypatch)
    taught: dict[str, set[int]] = {}
    train = Stages.train

    def noted(stages: Stages, name: str, objective: Any, **arguments: Any) -> None:
        taught[name] = set(stages.pictures.ids[arguments["rows"]].tolist())
        train(stages, name, objective, **arguments)

    monkeypatch.setattr(Stages, "train", noted)
    run = run_recipe(recipe_options("distil", tmp_path / "run", teacher={"folds": 3, "image_encoder": frozen_encoder}))
    assert list(num_steps(run)) == ["head-fold-1", "head-fold-2", "head-fold-3", "student"]
    encoder, head, saved = load_teacher(run.teacher)
    assert saved.folds == len(head.folds) == 3

    targets = targets_of(run)
    left_out = [taught["student"] - taught[f"head-fold-{number}"] for number in (1, 2, 3)]
    assert sorted(one for fold in left_out for one in fold) == targets.ids.tolist()  # each picture in one fold
    assert min(len(fold) for fold in left_out) > 0
    headers = {folder: read_header(folder)["fingerprint"] for folder in (toy_cache / "tokens").iterdir() if folder.is_dir()}
    ours = weights_fingerprint(encoder)
    tokens = next(PackedArray.open(folder, found) for folder, found in headers.items() if found["encoder"] == ours)
    for fold, ids in zip(head.folds, left_out, strict=True):
        places = np.isin(targets.ids, list(ids))
        with torch.no_grad():
            answers = fold(torch.from_numpy(np.asarray(tokens.values[places, 0], dtype=np.float32))).logits
        np.testing.assert_allclose(targets.values[places, 0], answers.numpy(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("folds", [0, 3])
def test_calibration_says_the_temperature_and_changes_the_targets_by_it_alone(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    keep_stages(monkeypatch)
    listening = Listening()
    teacher = {"folds": folds, "image_encoder": frozen_encoder}
    plain = run_recipe(recipe_options("distil", tmp_path / "plain", teacher=teacher))
    options = recipe_options("distil", tmp_path / "calibrated", teacher={**teacher, "calibrate": True})
    calibrated = run_recipe(options, reporter=listening)
    assert sum("The teacher's temperature" in sentence for sentence in listening.said) == 1
    _, head, _ = load_teacher(calibrated.teacher)
    weight = float(head.folds[0].weights)
    assert weight != 1.0
    np.testing.assert_allclose(
        targets_of(calibrated).values.astype(float), targets_of(plain).values.astype(float) * weight, atol=0.05, rtol=0.01
    )


def test_two_experts_answer_together(recipe_options: Make, frozen_encoder: str, tmp_path: Path) -> None:
    for combination in ("product", "mean"):
        changes = {
            "partner": "linear",
            "combination": combination,
            "folds": 2,
            "calibrate": True,
            "image_encoder": frozen_encoder,
        }
        run = run_recipe(recipe_options("own", tmp_path / combination, teacher=changes))
        names = ["head-fold-1", "partner-fold-1", "head-fold-2", "partner-fold-2", "student"]
        assert list(num_steps(run)) == names
        _, head, saved = load_teacher(run.teacher)
        assert [options.mode for options in saved.heads] == ["own", "linear"]
        assert len(head.folds[0].weights) == {"product": 2, "mean": 1}[combination]


@pytest.mark.parametrize(
    ("case", "changes", "said"),
    [
        ("distil", {"teacher": {"folds": 1, **NAMED}}, "at least 2, got 1"),
        ("distil", {"teacher": {"folds": 2, **NAMED}, "loss": {"distilled": "both"}}, "distil logits, or set teacher.folds = 0"),
        (
            "distil",
            {"teacher": {"folds": 2}},
            "holds nothing out here, since the image encoder was taught by these very pictures",
        ),
        ("distil", {"teacher": {"supervised": {"label_smoothing": 0.1}, **NAMED}}, "teacher.supervised takes no effect"),
        ("distil", {"targets": {"control": "class_mean"}, "loss": {"distilled": "both"}}, "need loss.distilled = 'logits'"),
        ("bank", {"teacher": {"combination": "mean"}}, "takes no effect without teacher.partner"),
        ("bank", {"text": {"kind": "label_blind"}}, "head.mode = 'bank' reads none"),
        ("born_again", {"loss": {"alignment": {"weight": 1.0}}}, "born_again reads no words"),
        ("classifier", {"teacher": {"folds": 2}}, "teacher.folds takes no effect"),
        ("linear", {"teacher": {"partner": "linear"}}, "is what the head is already"),
        ("bank", {"teacher": {"partner": "text"}}, "need text.kind = 'label_blind'"),
        ("own", {"teacher": {"partner": "text"}, "text": {"kind": "unknown"}}, "need text.kind = 'label_blind'"),
    ],
)
def test_what_cannot_go_together_is_refused(
    recipe_options: Make, tmp_path: Path, case: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        run_recipe(recipe_options(case, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("case", "calibrate"), [("bank", False), ("own", False), ("distil", True), ("learned", True)])
def test_what_needs_pictures_that_were_held_out_is_refused_before_the_teachers_hours(
    recipe_options: Make, tmp_path: Path, case: str, calibrate: bool
) -> None:
    changes = {"data": {"split": {"val": 0.0}}, "teacher": {"calibrate": calibrate}}
    with pytest.raises(DataError, match="no labelled picture is held out from the teacher"):
        run_recipe(recipe_options(case, tmp_path / "run", **changes))
    assert not (tmp_path / "run" / "stages" / "encoder").exists()


def test_an_encoder_that_a_run_taught_with_these_pictures_holds_nothing_out(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    teacher = {"image_encoder": str(finished_run("supervised").path), "folds": 2}
    with pytest.raises(OptionError, match="holds nothing out here"):
        run_recipe(recipe_options("distil", tmp_path / "run", teacher=teacher))


@pytest.mark.parametrize("control", ["class_mean", "within_class_shuffle", "matched_smoothing"])
def test_a_control_of_the_targets_is_one_option_away(
    recipe_options: Make, finished_run: Make, tmp_path: Path, control: str
) -> None:
    run = run_recipe(recipe_options("bank", tmp_path / "run", targets={"control": control}))
    ours, theirs = (read_json(one.results)["models"] for one in (run, finished_run("bank")))
    assert ours["teacher"] == theirs["teacher"]
    assert ours["student"]["test"]["nll"] != theirs["student"]["test"]["nll"]


@pytest.mark.parametrize("control", ["class_mean", "within_class_shuffle"])
def test_without_a_label_a_control_goes_by_what_the_teacher_says(
    recipe_options: Make, unlabelled_data: Path, tmp_path: Path, control: str
) -> None:
    listening = Listening()
    changes = {"data": {"root": str(unlabelled_data)}, "targets": {"control": control}}
    run_recipe(recipe_options("distil", tmp_path / "run", **changes), reporter=listening)
    assert [sentence for sentence in listening.said if "of the class that the teacher says" in sentence]


def test_predictions_are_kept_picture_by_picture(finished_run: Make) -> None:
    run = finished_run("distil")
    kept = np.load(run.predictions)
    results = read_json(run.results)["models"]["student"]
    for split in ("val", "test"):
        logits, labels = kept[f"{split}_logits"], kept[f"{split}_labels"]
        assert (logits.argmax(axis=1) == labels).mean() == pytest.approx(results[split]["accuracy"])
        probs = softmax(logits.astype(float), axis=1)[np.arange(len(labels)), labels]
        assert -np.log(probs).mean() == pytest.approx(results[split]["nll"], rel=1e-5)
        assert len(kept[f"{split}_groups"]) == len(kept[f"{split}_ids"]) == len(labels)
