"""Resumed = straight. The other two equalities are in test_two_processes.py and test_stored_targets.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from interrupting import Interrupting, PowerCutError
from picturebook.config import load_options, run_recipe
from picturebook.runs import RunFolder
from picturebook.writing import read_json, write_json
from toy_runs import RESNET, VIT, frozen, merged

Make = Callable[..., Any]

DROPPING_VIT = merged(VIT, {"model_args": {**VIT["model_args"], "drop_path_rate": 0.2, "proj_drop_rate": 0.1}})
DROPPING_RESNET = merged(RESNET, {"model_args": {**RESNET["model_args"], "drop_path_rate": 0.2, "drop_rate": 0.2}})

DROPPED_VIT = merged(VIT, {"dropout": 0.1, "stochastic_depth": 0.2})

RESUMED: dict[str, dict[str, Any]] = {
    "align": {"student": DROPPING_VIT, "pretrain": {"epochs": 3}},
    "coca": {"student": DROPPING_VIT, "pretrain": {"epochs": 3}},
    "dino": {"student": DROPPING_RESNET, "pretrain": {"epochs": 3}},
    "supervised": {"student": DROPPING_RESNET, "train": {"epochs": 4}},
    "chosen": {
        "student": DROPPING_RESNET,
        "train": {"epochs": 5, "keep": "best", "validations": 5, "sampling": "balanced"},
        "loss": {"class_weights": "balanced"},
    },
    "be_your_own_teacher": {"student": DROPPING_RESNET, "train": {"epochs": 3}, "early_exit": 2},
    "born_again": {"student": DROPPING_RESNET, "train": {"epochs": 3}, "loss": {"distilled": "both", "label_weight": 0.3}},
    "noisy_student": {"student": DROPPED_VIT, "train": {"epochs": 3}, "iterations": 2},
    # More views than stored tokens, so that labelling goes through the encoder.
    "own": {"student": DROPPING_VIT, "train": {"epochs": 3}, "teacher": {"token_views": 1, "train": {"epochs": 3}}},
    "folded": {
        "teacher": {"image_encoder": "FROZEN", "folds": 2, "calibrate": True, "partner": "linear", "train": {"epochs": 3}},
        "loss": {"divergence": "dkd", "permute_non_targets": True},
    },
    # Every view's tokens are stored, so that labelling needs no encoder; it is the run that other tests look at.
    "learned": {},
}


def resumable(recipe_options: Make, encoder: str, case: str, out: Path, cache: Path) -> Any:
    name = {"folded": "own", "chosen": "supervised"}.get(case, case)
    return recipe_options(name, out, cache=str(cache), **frozen(RESUMED[case], encoder))


@pytest.fixture(scope="module")
def straight(recipe_options: Make, frozen_encoder: str, finished_run: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    root = tmp_path_factory.mktemp("straight")
    runs: dict[str, RunFolder] = {}

    def run(case: str) -> RunFolder:
        if case not in runs and not RESUMED[case]:
            runs[case] = finished_run(case)
        elif case not in runs:
            runs[case] = run_recipe(resumable(recipe_options, frozen_encoder, case, root / case, root / f"{case} cache"))
        return runs[case]

    return run


def without_clocks(run: RunFolder) -> tuple[Any, Any]:
    lines = [{name: value for name, value in line.items() if name != "images_per_second"} for line in run.read_metrics()]
    return lines, {name: value for name, value in read_json(run.results).items() if name != "seconds"}


@pytest.mark.parametrize(
    ("case", "stage", "calls"),
    [
        ("supervised", "training student", 6),
        ("chosen", "training student", 9),
        ("be_your_own_teacher", "training student", 5),
        ("born_again", "training student", 5),
        ("align", "training pretrain", 5),
        ("coca", "training pretrain", 5),
        ("dino", "training pretrain", 5),
        ("noisy_student", "training student", 5),
        ("learned", "labelling targets", 1),
        ("folded", "training partner-fold-1", 3),
        ("folded", "auditing the teacher", 2),
    ],
)
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(
    recipe_options: Make, frozen_encoder: str, straight: Make, tmp_path: Path, case: str, stage: str, calls: int
) -> None:
    options = resumable(recipe_options, frozen_encoder, case, tmp_path / "run", tmp_path / "cache")
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting(stage, calls))
    torch.manual_seed(99)  # a new process has another generator
    resumed = run_recipe(options, resume=True)
    expected = straight(case)
    assert (resumed.student / "model.safetensors").read_bytes() == (expected.student / "model.safetensors").read_bytes()
    assert without_clocks(resumed) == without_clocks(expected)
    assert not (resumed.path / "stages").exists()


@pytest.mark.parametrize("case", ["bank", "classifier", "clip", "linear", "siglip"])  # the other recipes are those above
def test_two_runs_of_one_toml_are_the_same_bit_for_bit(finished_run: Make, tmp_path: Path, case: str) -> None:
    first = finished_run(case)
    torch.manual_seed(99)
    again = run_recipe(load_options(first.settings, [f"out={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}"]))
    for name in ("student/model.safetensors", "predictions.npz", "train_ids.npy"):
        assert (again.path / name).read_bytes() == (first.path / name).read_bytes(), name
    assert without_clocks(again) == without_clocks(first)


def test_an_interruption_at_every_stage_in_turn_changes_nothing(recipe_options: Make, straight: Make, tmp_path: Path) -> None:
    options = recipe_options("own", tmp_path / "run", cache=str(tmp_path / "cache"), **RESUMED["own"])
    stages = (
        "decoding pictures",
        "training encoder",
        "encoding pictures",
        "training head",
        "labelling targets",
        "training student",
    )
    for number, stage in enumerate(stages):
        with pytest.raises(PowerCutError):
            run_recipe(options, resume=number > 0, reporter=Interrupting(stage, 4 if "training" in stage else 1))
    resumed = run_recipe(options, resume=True)
    assert (resumed.student / "model.safetensors").read_bytes() == (straight("own").student / "model.safetensors").read_bytes()
    assert without_clocks(resumed) == without_clocks(straight("own"))


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_tries(recipe_options: Make, straight: Make, tmp_path: Path) -> None:
    options = recipe_options("supervised", tmp_path / "run", cache=str(tmp_path / "cache"), **RESUMED["supervised"])
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting("evaluating student on test", 1))
    file = RunFolder(tmp_path / "run").stages / "seconds.json"
    first = read_json(file)
    assert first["decode"] > 0
    assert first["student"] > 0
    write_json(file, {**first, "student": 1000.0, "decode": 500.0})
    run = run_recipe(options, resume=True)
    for seconds in (read_json(run.results)["seconds"], read_json(run.provenance)["seconds"]):
        assert 1000 <= seconds["student"] < 1000 + first["student"]  # its state was loaded, not trained again
        assert seconds["decode"] >= 500
    assert without_clocks(run) == without_clocks(straight("supervised"))


def test_the_seconds_of_the_stage_that_was_cut_off_count_too(recipe_options: Make, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        run_recipe(recipe_options("supervised", tmp_path / "run"), reporter=Interrupting("training student", 4))
    assert read_json(RunFolder(tmp_path / "run").stages / "seconds.json")["student"] > 0
