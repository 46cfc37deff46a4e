from pathlib import Path

import pytest

from picturebook.config import parse_options
from picturebook.errors import PicturebookError
from picturebook.plan import Plan, StageCost, plan_run
from picturebook.recipes.stages import Stages
from picturebook.types import Silence
from toy_runs import VIT, Listening, write_toy_data


def settings(root: Path, **changes: object) -> dict[str, object]:
    data = {"root": str(write_toy_data(root / "data")), "canvas_size": 16}
    return {
        "recipe": "distil",
        "out": str(root / "run"),
        "cache": str(root / "cache"),
        "data": data,
        "precision": "fp32",
        "student": VIT,
        "teacher": {"train": {"epochs": 50}},
        "train": {"epochs": 200, "batch_size": 8},
        **changes,
    }


def test_a_plan_knows_every_stage_and_leaves_no_run_behind(tmp_path: Path) -> None:
    plan = plan_run(parse_options(settings(tmp_path), source="test"), reporter=Silence())
    stages = {cost.stage: cost for cost in plan.stages}
    assert set(stages) == {"decode", "encoder", "tokens", "head", "targets", "student", "evaluate"}
    assert [cost.stage for cost in plan.stages if cost.seconds <= 0] == []
    assert plan.seconds == pytest.approx(sum(cost.seconds for cost in plan.stages))
    assert not (tmp_path / "run").exists()
    assert {path.name for path in (tmp_path / "cache").iterdir() if path.name in ("tokens", "texts")} == {"texts"}
    assert plan.memory > 1e7


def test_stored_targets_are_counted_for_all_views_and_pictures(tmp_path: Path) -> None:
    plan = plan_run(parse_options(settings(tmp_path), source="test"), reporter=Silence())
    (targets,) = (cost for cost in plan.stages if cost.stage == "targets")
    assert targets.disk == pytest.approx(plan.pictures * 200 * 3 * 2, rel=0.5)  # fp16 of 3 classes


@pytest.mark.parametrize(("epochs", "encodes"), [(4, False), (10, True)])
def test_pictures_are_labelled_as_in_the_run_from_tokens_or_through_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, encodes: bool
) -> None:
    seen = []
    label = Stages.label
    monkeypatch.setattr(Stages, "label", lambda *a, **kw: seen.append(not kw["on_tokens"]) or label(*a, **kw))
    options = parse_options(settings(tmp_path, train={"epochs": epochs, "batch_size": 8}), source="test")
    listening = Listening()
    plan_run(options, reporter=listening)
    assert seen == [encodes]
    assert listening.said == []


def test_longer_trainings_are_planned_longer(tmp_path: Path) -> None:
    short, long = (settings(tmp_path / str(epochs), train={"epochs": epochs, "batch_size": 8}) for epochs in (10, 1000))
    seconds = []
    for part in (short, long):
        plan = plan_run(parse_options(part, source="test"), reporter=Silence())
        seconds += [cost.seconds for cost in plan.stages if cost.stage == "student"]
    assert seconds[1] > 10 * seconds[0]


def test_a_bigger_setting_is_arithmetic_on_what_was_measured() -> None:
    costs = (StageCost("encode words", 5.0, 10, scales=False), StageCost("targets", 10.0, 100), StageCost("student", 20.0, 0))
    bigger = Plan(costs, 7, pictures=100, classes=10).at(pictures=1000, classes=30, processes=4)
    assert [(cost.seconds, cost.disk) for cost in bigger.stages] == [(5.0, 10), (25.0, 3000), (50.0, 0)]
    assert (bigger.seconds, bigger.disk, bigger.memory) == (80.0, 3010, 7)
    assert bigger.to_dict()["processes"] == 4


def test_what_the_run_would_refuse_the_plan_refuses(tmp_path: Path) -> None:
    options = parse_options(settings(tmp_path, student={**VIT, "model": "vit_tinny_patch16_224"}), source="test")
    with pytest.raises(PicturebookError, match="vit_tinny"):
        plan_run(options, reporter=Silence())
