import threading
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from picturebook.config import parse_options
from picturebook.errors import DataError, PicturebookError
from picturebook.plan import Plan, StageCost, growing, plan_run, watching
from picturebook.plan.watching import private_memory
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import HELD_OUT
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


def planned(options: RecipeOptions | dict[str, Any]) -> tuple[Plan, dict[str, StageCost]]:
    plan = plan_run(parse_options(options, source="test") if isinstance(options, dict) else options, reporter=Silence())
    return plan, {cost.stage: cost for cost in plan.stages}


def by_stage(plan: Plan) -> dict[str, StageCost]:
    return {cost.stage: cost for cost in plan.stages}


def test_a_plan_knows_every_stage_and_leaves_no_run_behind(tmp_path: Path) -> None:
    plan, stages = planned(settings(tmp_path))
    trainings = {"encoder", "validate encoder", "head", "student", "validate student"}
    assert set(stages) == {"decode", "tokens", "targets", "evaluate"} | trainings
    assert [cost.stage for cost in plan.stages if not cost.seconds] == []
    assert plan.seconds == pytest.approx(sum(cost.seconds or 0.0 for cost in plan.stages))
    assert not (tmp_path / "run").exists()
    assert {path.name for path in (tmp_path / "cache").iterdir() if path.name in ("tokens", "texts")} == {"texts"}
    assert plan.memory == max(cost.memory for cost in plan.stages)
    assert not private_memory() or min(cost.memory for cost in plan.stages) > 1e7


def test_a_stage_is_shared_out_where_processes_do_parts_of_it(tmp_path: Path) -> None:
    _, stages = planned(settings(tmp_path))
    assert {name for name, cost in stages.items() if cost.shared} == {"encoder", "tokens", "head", "targets", "student"}


def test_the_memory_of_a_stage_is_the_most_that_was_seen_while_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen_at = [1], threading.Event()

    def memory() -> int:
        value = now[0]
        if value == 5:
            seen_at.set()
        return value

    monkeypatch.setattr(watching, "private_memory", memory)
    with watching.watched() as seen:
        now[0] = 5
        assert seen_at.wait(60)
        now[0] = 2
    assert seen.memory == 5


@pytest.mark.parametrize(("classes", "record"), [(3, 6), (256, 512), (1000, 522)])
def test_targets_take_what_their_store_says(tmp_path: Path, classes: int, record: int) -> None:
    plan, stages = planned(settings(tmp_path))
    assert stages["targets"].disk == plan.pictures * 200 * 3 * 2  # fp16 of 3 classes
    bigger = by_stage(plan.at(pictures=1000, classes=classes, processes=4))
    assert bigger["targets"].disk == 1000 * 200 * record


TOKENS = 16 * 32 * 2
"""Bytes of the toy encoder's tokens of one view."""


def test_tokens_are_planned_as_many_as_the_budget_holds(tmp_path: Path) -> None:
    budget = {"token_budget_gb": 100 * TOKENS / 1e9, "train": {"epochs": 2}}
    plan, stages = planned(settings(tmp_path, teacher=budget, train={"epochs": 5, "batch_size": 8}))
    assert plan.pictures == 33
    assert stages["tokens"].disk == 33 * 3 * TOKENS  # of 4 views that are asked for
    bigger = by_stage(plan.at(pictures=66, classes=3, processes=1))
    assert bigger["tokens"].disk == 66 * TOKENS
    assert bigger["tokens"].seconds == pytest.approx((stages["tokens"].seconds or 0.0) * 66 / (33 * 3))
    with pytest.raises(DataError, match="token_budget_gb"):
        plan.at(pictures=101, classes=3, processes=1)


def test_where_tokens_no_longer_hold_every_view_labelling_goes_through_the_encoder(tmp_path: Path) -> None:
    budget = {"token_budget_gb": 200 * TOKENS / 1e9, "train": {"epochs": 2}}
    plan, stages = planned(settings(tmp_path, teacher=budget, train={"epochs": 3, "batch_size": 8}))
    tokens, targets = (stages[name].seconds or 0.0 for name in ("tokens", "targets"))
    assert by_stage(plan.at(pictures=66, classes=3, processes=1))["targets"].seconds == pytest.approx(2 * targets)
    assert by_stage(plan.at(pictures=99, classes=3, processes=1))["targets"].seconds == pytest.approx(3 * (targets + tokens))


def test_held_out_tokens_are_planned_where_the_budget_has_room(tmp_path: Path, finished_run: Any) -> None:
    run = finished_run("supervised")
    teacher = {"image_encoder": str(run.path), "token_budget_gb": 100 * TOKENS / 1e9, "train": {"epochs": 2}}
    options = settings(tmp_path, teacher=teacher, train={"epochs": 1, "batch_size": 8}, student=VIT)
    plan, stages = planned(options)
    record = stages["tokens"].disk // plan.pictures
    assert stages[HELD_OUT].disk == 15 * record
    room = round(100 * TOKENS / record / 48 * 33)
    fits, past = (by_stage(plan.at(pictures=pictures, classes=3, processes=1)) for pictures in (room - 1, room + 1))
    assert fits[HELD_OUT].disk == pytest.approx(15 / 33 * (room - 1) * record, abs=1)
    assert past[HELD_OUT].disk == 0


def test_past_their_budget_canvases_are_thumbnails(tmp_path: Path) -> None:
    data = {"root": str(write_toy_data(tmp_path / "own")), "canvas_size": 32, "canvas_budget_gb": 1e-3}
    plan, stages = planned(settings(tmp_path, data=data))
    assert stages["decode"].disk == 48 * 3 * 32**2
    assert plan.at(pictures=plan.pictures, classes=3, processes=2).notes == ()
    bigger = plan.at(pictures=33_000, classes=3, processes=1)
    assert by_stage(bigger)["decode"].disk == 48_000 * 3 * 16**2
    assert "data.canvas_budget_gb" in bigger.notes[0]


@pytest.mark.parametrize(("case", "stage"), [("bank", "encode words"), ("own", "encode pictures' words")])
def test_words_grow_with_whose_they_are(tmp_path: Path, recipe_options: Any, case: str, stage: str) -> None:
    plan, stages = planned(recipe_options(case, tmp_path / "run", cache=str(tmp_path / "cache")))
    seconds, disk = stages[stage].seconds or 0.0, stages[stage].disk
    assert seconds > 0
    assert disk > 0
    more = by_stage(plan.at(pictures=10 * plan.pictures, classes=21, processes=16))[stage]
    times = 7 if case == "bank" else 10
    assert (more.seconds, more.disk) == (pytest.approx(times * seconds), pytest.approx(times * disk, abs=1))


def test_pretraining_on_pairs_is_planned_for_the_words_of_all_pictures(tmp_path: Path, recipe_options: Any) -> None:
    few = {"pretrain": {"epochs": 2, "batch_size": 8}, "train": {"epochs": 2, "batch_size": 4}, "probe": {"neighbours": 2}}
    plan, stages = planned(recipe_options("clip", tmp_path / "run", cache=str(tmp_path / "cache"), **few))
    assert {"encode words", "encode pictures' words", "probe", "pretrain"} <= set(stages)
    assert not stages["probe"].shared
    assert not (tmp_path / "cache" / "texts").exists()
    assert by_stage(plan.at(pictures=plan.pictures * 2, classes=3, processes=1))["encode pictures' words"].seconds


def test_a_text_that_is_read_twice_is_not_taken_for_one_that_the_cache_held(tmp_path: Path, recipe_options: Any) -> None:
    options = recipe_options("siglip", tmp_path / "run", cache=str(tmp_path / "cache"), probe={"neighbours": 5})
    plan, stages = planned(options)
    more = by_stage(plan.at(pictures=plan.pictures, classes=6, processes=1))
    assert more["encode words"].seconds == pytest.approx(2 * (stages["encode words"].seconds or 0.0))


def test_what_the_cache_held_is_not_known_of_a_bigger_setting(tmp_path: Path, recipe_options: Any) -> None:
    options = recipe_options("bank", tmp_path / "run", cache=str(tmp_path / "cache"))
    planned(options)
    plan, _ = planned(options)
    bigger = plan.at(pictures=2 * plan.pictures, classes=6, processes=1)
    assert {cost.stage for cost in bigger.stages if cost.seconds is None} == {"decode", "encode words"}
    assert "decode, encode words" in bigger.notes[0]
    assert bigger.to_dict()["stages"][0]["seconds"] is None
    assert [cost.seconds for cost in plan.at(pictures=plan.pictures, classes=3, processes=1).stages if cost.seconds is None] == []


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


def test_a_training_takes_its_steps_at_the_rate_of_those_that_were_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picturebook.plan.watching.perf_counter", partial(next, count()))  # a second passes between two looks
    for epochs in (10, 1000):
        train = {"epochs": epochs, "batch_size": 4, "validations": 3}
        plan, stages = planned(settings(tmp_path / str(epochs), train=train))
        assert stages["student"].seconds == pytest.approx(epochs * plan.pictures / 4)
        assert stages["validate student"].seconds == pytest.approx(3 * 1.0)


def test_a_bigger_setting_is_arithmetic_on_what_was_measured() -> None:
    costs = (
        StageCost("decode", 8.0, 80, 9000, size=lambda pictures, classes: 2 * pictures),
        StageCost("encode words", 5.0, 10, 8000, work=growing.by_classes, done=0.5),
        StageCost("targets", 10.0, 100, 7000, shared=True),
        StageCost("audit", 6.0, 0, 0, work=growing.up_to(30, 0.2)),
        StageCost("student", 20.0, 0, 9500, shared=True),
    )
    bigger = Plan(costs, pictures=100, classes=10, splits=1.5).at(pictures=1000, classes=30, processes=4)
    assert [cost.seconds for cost in bigger.stages] == [80.0, 30.0, 25.0, 9.0, 50.0]
    assert [cost.disk for cost in bigger.stages] == [2000, 60, 1000, 0, 0]
    assert bigger.memory_of_rows == round(1000 * (383 * 1.5 + 16))
    rows = round(900 * (383 * 1.5 + 16))
    assert [cost.memory for cost in bigger.stages] == [9000 + rows, 8000 + rows, 7000 + rows, 0, 9500 + rows]
    assert (bigger.seconds, bigger.disk, bigger.memory) == (194.0, 3060, 9500 + rows)
    told = bigger.to_dict()
    assert (told["processes"], told["stages"][2]) == (
        4,
        {"stage": "targets", "seconds": 25.0, "disk": 1000, "memory": 7000 + rows, "shared": True},
    )


def test_what_the_run_would_refuse_the_plan_refuses(tmp_path: Path) -> None:
    options = parse_options(settings(tmp_path, student={**VIT, "model": "vit_tinny_patch16_224"}), source="test")
    with pytest.raises(PicturebookError, match="vit_tinny"):
        plan_run(options, reporter=Silence())
