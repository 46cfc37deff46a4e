"""What stands beside a run's numbers at its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from picturebook.evaluate import student_logits
from picturebook.recipes.outcome import finish
from picturebook.types import Batch
from picturebook.writing import read_json, read_npz
from toy_runs import make_stages


def test_teachers_are_asked_as_the_student_is_and_what_both_say_is_counted(
    recipe_options: Callable[..., Any], tmp_path: Path
) -> None:
    stages = make_stages(recipe_options("supervised", tmp_path / "run"))
    stages.folder.start(resume=False, resolved="")
    student = stages.new_student()
    says = student_logits(student)

    def never(batch: Batch) -> Any:
        return says(batch).roll(1, dims=1)

    def apples(batch: Batch) -> Any:
        return (says(batch) * 0).index_fill(1, batch.labels.new_zeros(1), 1.0)

    finish(stages, student, teachers={"same": says, "never": never, "apples": apples})
    models = read_json(stages.folder.results)["models"]
    kept = read_npz(stages.folder.predictions)
    for split in ("val", "test"):
        said = kept[f"{split}_logits"].argmax(axis=1)
        agreements = {name: models[name][split].get("agreement") for name in models}
        expected = {"student": None, "student through timm's transform": None, "same": 1.0, "never": 0.0}
        assert agreements == expected | {"apples": pytest.approx(np.mean(said == 0))}
        assert (
            models["same"][split]["accuracy"] == models["student"][split]["accuracy"] == np.mean(said == kept[f"{split}_labels"])
        )
