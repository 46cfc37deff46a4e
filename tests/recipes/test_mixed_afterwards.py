"""Students of mixed views whose teachers, with heads on stored tokens, answered for whole ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interrupting import Interrupting, PowerCutError
from picturebook.config import run_recipe
from picturebook.data.loaders import MixedAfterwards
from picturebook.data.mixing import Partners
from picturebook.losses import distillation_kl, permute_non_targets
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets
from picturebook.teachers import TableTeacher
from toy_runs import Listening, make_stages

Make = Callable[..., Any]
MIXED = {"mixup": 0.3, "cutmix": 0.5}


def standardised(logits: torch.Tensor) -> torch.Tensor:
    return (logits - logits.mean(dim=1, keepdim=True)) / logits.std(dim=1, correction=0, keepdim=True)


@pytest.mark.parametrize("more", [{}, {"standardise": True}, {"permute_non_targets": True}], ids=str)
def test_a_student_of_a_mix_is_told_what_is_said_of_both_pictures(
    recipe_options: Make, tmp_path: Path, more: dict[str, bool]
) -> None:
    stages = make_stages(recipe_options("own", tmp_path / "run", views=MIXED))
    rows, ids = stages.train_rows, stages.pictures.ids
    said = torch.randn(len(ids), 3, generator=torch.Generator().manual_seed(0)) * 3
    options = SoftTargetOptions.model_validate({"temperature": 2.0, "label_weight": 0.0, **more})
    student = stages.new_student().eval()
    maker = MixedAfterwards(stages.maker, stages.options.views, Partners(ids, rows), 2)
    batch = maker.batch(rows[:16], np.arange(16))
    objective = SoftTargets(student, TableTeacher(ids, said), options, projector=None)
    torch.manual_seed(5)
    loss = objective(batch).total
    place = {id_: row for row, id_ in enumerate(ids.tolist())}
    assert batch.partners is not None
    assert batch.mixed is not None
    both = [said[[place[id_] for id_ in some.ids.tolist()]] for some in (batch, batch.partners)]
    torch.manual_seed(5)
    if more.get("permute_non_targets"):
        both = [permute_non_targets(one) for one in both]
    if more.get("standardise"):
        both = [standardised(one) for one in both]
    share = batch.mixed.share[:, None]
    mixture = share * (both[0] / 2).softmax(dim=1) + (1 - share) * (both[1] / 2).softmax(dim=1)
    logits = student(batch.images)
    compared = standardised(logits) if more.get("standardise") else logits
    expected = options.weight_of_divergence * distillation_kl(compared, 2 * mixture.log(), temperature=2.0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["own", "bank", "linear", "distil"])
def test_the_teacher_is_the_same_whether_its_student_sees_mixes_or_not(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path, case: str
) -> None:
    words = {"text": {"source": "none"}} if case == "linear" else {}
    settings = {"cache": str(tmp_path / "cache"), "teacher": {"image_encoder": frozen_encoder, "head": {}}, **words}
    if case == "distil":
        settings["teacher"].pop("head")
    plain = run_recipe(recipe_options(case, tmp_path / "plain", **settings))
    listening = Listening()
    mixed = run_recipe(recipe_options(case, tmp_path / "mixed", views=MIXED, **settings), reporter=listening)
    assert any("another run has taught it" in sentence for sentence in listening.said)
    assert (plain.teacher / "head.safetensors").read_bytes() == (mixed.teacher / "head.safetensors").read_bytes()
    weights = [(run.student / "model.safetensors").read_bytes() for run in (plain, mixed)]
    assert weights[0] != weights[1]


def test_a_training_on_mixes_that_was_interrupted_ends_where_a_straight_one_ends(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path
) -> None:
    settings = {"cache": str(tmp_path / "cache"), "teacher": {"image_encoder": frozen_encoder}, "views": MIXED}
    settings["targets"] = {"control": "within_class_shuffle"}
    straight = run_recipe(recipe_options("own", tmp_path / "straight", **settings))
    options = recipe_options("own", tmp_path / "resumed", **settings)
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting("training student", 3))
    resumed = run_recipe(options, resume=True)
    assert (resumed.student / "model.safetensors").read_bytes() == (straight.student / "model.safetensors").read_bytes()
