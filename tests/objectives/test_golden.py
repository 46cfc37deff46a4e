"""Golden losses: recipes by stage, and every variant of every objective, over 20 steps, seed 0, CPU, fp32, one thread.

A change that moves a number says so, and why, in its commit, and writes the file anew:

    python -m pytest tests/objectives/test_golden.py --regenerate-golden
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import BUILDERS, train

from picturebook.config import RECIPES, run_recipe
from toy_runs import VIT

GOLDEN = Path(__file__).with_name("golden.json")
VARIANTS = Path(__file__).with_name("golden_variants.json")
CASES = ("supervised", "be_your_own_teacher", "distil", "born_again", "noisy_student", "bank", "own", "learned")
PRETRAINED = ("dino", "clip", "align", "siglip", "coca")
# One batch holds all 33 training pictures, so that the log's line an epoch is a line a step. The rate is so low that what
# processors round differently stays small: at 3e-3 networks with batch statistics differed by up to a tenth after 20 steps.
STEPS = {"epochs": 20, "batch_size": 33, "num_views": 4, "learning_rate": 3e-4}


def losses(recipe_options: Callable[..., Any], case: str, out: Path) -> dict[str, list[float]]:
    """Stage → the loss of each step."""
    changes: dict[str, Any] = {"train": STEPS}
    if case in PRETRAINED:
        changes |= {"pretrain": STEPS}
    elif case == "noisy_student":
        changes = {"train": {**STEPS, "batch_size": 15}}  # its labelled pictures; as many pseudo-labelled ones are a second step
    elif case not in ("supervised", "be_your_own_teacher", "born_again"):
        changes |= {"student": VIT, "teacher": {"train": {**STEPS, "num_views": 0}}}
    found: dict[str, list[float]] = {}
    for line in run_recipe(recipe_options(case, out, **changes)).read_metrics():
        found.setdefault(line["stage"], []).append(float(f"{line['loss']:.7g}"))
    return found


@pytest.mark.parametrize("case", [*CASES, *PRETRAINED])
def test_losses_are_the_golden_ones(
    recipe_options: Callable[..., Any], tmp_path: Path, request: pytest.FixtureRequest, case: str
) -> None:
    assert torch.get_num_threads() == 1
    found = losses(recipe_options, case, tmp_path / "run")
    assert {len(values) for values in found.values()} == {20}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if request.config.getoption("--regenerate-golden"):
        GOLDEN.write_text(json.dumps({**golden, case: found}, indent=1, sort_keys=True) + "\n")
        return
    assert found.keys() == golden[case].keys()
    for stage, values in found.items():
        assert values == pytest.approx(golden[case][stage], rel=1e-3, abs=1e-6), stage


def test_every_recipe_has_golden_losses_that_fall(recipe_settings: Callable[..., Any], tmp_path: Path) -> None:
    assert {recipe_settings(case, tmp_path)["recipe"] for case in (*CASES, *PRETRAINED)} == RECIPES.keys()
    golden = json.loads(GOLDEN.read_text())
    assert sorted(golden) == sorted([*CASES, *PRETRAINED])
    for case, stages in golden.items():
        for stage, values in stages.items():
            assert values[-1] < values[0], (case, stage)


@pytest.mark.parametrize("name", BUILDERS)
def test_losses_of_every_variant_are_the_golden_ones(tmp_path: Path, request: pytest.FixtureRequest, name: str) -> None:
    found = [float(f"{loss:.7g}") for loss in train(BUILDERS[name](tmp_path / "tokens").objective.train(), 20)]
    golden = json.loads(VARIANTS.read_text()) if VARIANTS.is_file() else {}
    if request.config.getoption("--regenerate-golden"):
        VARIANTS.write_text(json.dumps({**golden, name: found}, indent=1, sort_keys=True) + "\n")
        return
    assert found == pytest.approx(golden[name], rel=1e-3, abs=1e-6)


def test_every_variant_has_golden_losses_and_no_two_are_the_same() -> None:
    golden = json.loads(VARIANTS.read_text())
    assert sorted(golden) == sorted(BUILDERS)
    assert len({tuple(losses) for losses in golden.values()}) == len(golden)
