from pathlib import Path
from typing import Any

import pytest
from toy_study import Pretending, plan, study

from picturebook.errors import OptionError, RunError
from picturebook.study.cells import check_arms

TAUGHT = {
    "supervised": {"recipe": "supervised"},
    "again": {"recipe": "born_again", "teacher": {"run": "{arm:supervised@next}"}},
}


def test_a_cell_has_its_seed_its_folder_and_its_arms_settings() -> None:
    cell = plan(study(arms={"a": {"recipe": "supervised", "train.epochs": 5}})).cell("a", 1)
    assert (cell.options.seed, cell.options.out) == (1, "study/runs/a/seed-1")
    assert (cell.options.train.epochs, cell.options.train.batch_size) == (5, 16)


def test_arms_of_one_seed_differ_in_what_they_say_and_in_their_folder_alone() -> None:
    ours = plan(study(arms={"a": {"recipe": "supervised"}, "b": {"recipe": "supervised", "train.epochs": 3}}))
    first, second = (ours.cell(arm, 1).options.model_dump() for arm in ("a", "b"))
    assert {name for name in first if first[name] != second[name]} == {"out", "train"}


def test_the_next_seed_is_the_following_one_and_the_first_after_the_last() -> None:
    options = plan(study(seeds=[3, 7, 5])).options
    assert [options.next_seed(seed) for seed in (3, 7, 5)] == [7, 5, 3]
    assert plan(study(seeds=[4])).options.next_seed(4) == 5


def test_places_are_filled_with_seeds_and_run_folders() -> None:
    arms = {**TAUGHT, "same": {"recipe": "born_again", "teacher.run": "{arm:supervised}", "student.model_args": {"x": "{seed}"}}}
    ours = plan(study(arms=arms, seeds=[0, 1, 2]))
    assert ours.cell("again", 2).options.model_dump()["teacher"]["run"] == "study/runs/supervised/seed-0"
    same = ours.cell("same", 2)
    assert same.options.model_dump()["teacher"]["run"] == "study/runs/supervised/seed-2"
    assert (same.options.student.model_args, same.needs) == ({"x": 2}, (("supervised", 2),))


def test_teachers_come_before_their_students_and_every_cell_once() -> None:
    cells = plan(study(arms=dict(reversed(TAUGHT.items())), seeds=[0, 1, 2])).cells()
    names = [cell.name for cell in cells]
    assert sorted(names) == sorted({f"{arm}, seed {seed}" for arm in TAUGHT for seed in range(3)})
    for cell in cells:
        assert all(names.index(f"{arm}, seed {seed}") < names.index(cell.name) for arm, seed in cell.needs)


def test_a_teacher_outside_the_study_is_run_too_when_there_is_one_seed() -> None:
    assert [cell.name for cell in plan(study(arms=TAUGHT, seeds=[0])).cells()] == [
        "supervised, seed 0", "supervised, seed 1", "again, seed 0",
    ]  # fmt: skip


def test_an_arm_may_have_fewer_seeds_and_runs_of_others_where_they_teach() -> None:
    settings = study(arms=TAUGHT, seeds=[0, 1, 2, 3], seeds_by_arm={"supervised": [2, 1]})
    runs = {(cell.arm, cell.seed) for cell in plan(settings).cells()}
    assert {seed for arm, seed in runs if arm == "again"} == {0, 1, 2, 3}
    settings["arms"] = {"supervised": TAUGHT["supervised"]}
    assert [cell.seed for cell in plan(settings).cells()] == [1, 2]
    settings["seeds"] = [0, 1]  # as --set seeds=[0,1] does for a first look
    assert [cell.seed for cell in plan(settings).cells()] == [1]


def test_an_arm_without_seeds_is_read_all_the_same() -> None:
    arms = {"a": {"recipe": "supervised"}, "b": {"recipe": "supervised", "trian.epochs": 3}}
    with pytest.raises(OptionError, match="arm b: trian: There is no setting 'trian'"):
        plan(study(arms=arms, seeds=[0], seeds_by_arm={"b": [1]})).cells()


def test_seeds_go_round_the_folds_and_a_teacher_has_its_students_fold() -> None:
    settings = study(arms=TAUGHT, seeds=[0, 1, 2, 3, 4])
    settings["run"]["data"]["split"] = {"folds": 3}
    cells = plan(settings).cells()
    assert {cell.seed: cell.options.data.split.fold for cell in cells} == {0: 0, 1: 1, 2: 2, 3: 0, 4: 1, 5: 2}
    assert {cell.seed: cell.needs[0][1] for cell in cells if cell.needs} == {0: 3, 3: 0, 1: 4, 4: 1, 2: 5}
    settings["run"]["data"]["supervision"] = {"labelled_share": 0.5, "seed": "{fold}"}
    cells = plan(settings).cells()
    assert {cell.seed: cell.options.data.supervision.seed for cell in cells} == {0: 0, 1: 1, 2: 2, 3: 0, 4: 1, 5: 2}
    settings["run"]["data"]["split"]["fold"] = 1
    with pytest.raises(OptionError, match=r"arm supervised: \{fold\} needs data.split.folds, and no fold beside it"):
        plan(settings).cells()
    settings["run"]["data"]["supervision"]["seed"] = 0
    assert {cell.options.data.split.fold for cell in plan(settings).cells()} == {1}


def test_a_teacher_that_may_have_seen_the_test_pictures_is_refused() -> None:
    arms = {**TAUGHT, "supervised": {"recipe": "supervised", "data.split.seed": "{seed}"}}
    with pytest.raises(
        OptionError, match=r"again, seed 0 learns from supervised, seed 1, whose data.root or data.split is another"
    ):
        plan(study(arms=arms)).cells()


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"recipe": "supervized"}, "arm b: There is no recipe 'supervized'. Did you mean 'supervised'?"),
        ({"recipe": "supervised", "train.epoch": 1}, "arm b: train.epoch: There is no setting 'epoch'. Did you mean 'epochs'?"),
        ({"recipe": "born_again", "teacher.run": "{arm:c}"}, "arm b, {arm:c}: There is no arm 'c'"),
        ({"recipe": "born_again", "teacher.run": "{arm:a@nxt}"}, "arm b: {arm:a@nxt} means nothing"),
        ({"recipe": "born_again", "teacher.run": "{arm:b}"}, "these runs wait for each other: b, seed 0 → b, seed 0"),
        ({"recipe": "born_again", "teacher.run": "{arm:b@next}"}, "wait for each other: b, seed 0 → b, seed 1 → b, seed 0"),
    ],
)
def test_a_bad_arm_is_refused_with_its_name(arm: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        plan(study(arms={"a": {"recipe": "supervised"}, "b": arm})).cells()
    assert message in str(caught.value)


def test_braces_that_are_no_places_stay() -> None:
    cell = plan(study(arms={"a": {"recipe": "supervised", "data.root": "birds/{class}"}})).cell("a", 0)
    assert cell.options.data.root == "birds/{class}"


def test_settings_that_do_not_go_together_are_refused_with_the_arms_name() -> None:
    teacher = {"image_encoder": "train", "head": {"mode": "linear"}}
    arm = {"recipe": "image_text", "text": {"source": "classes"}, "teacher": teacher}
    cells = plan(study(arms={"words": arm})).cells()
    with pytest.raises(OptionError, match=r"STUDY.toml, arm words: teacher.head.mode = 'linear'"):
        check_arms(cells, "STUDY.toml")


def test_a_finished_cell_is_known_again_and_one_with_other_settings_is_refused(tmp_path: Path) -> None:
    settings = study(tmp_path)
    cell = plan(settings).cell("supervised", 0)
    cell.refuse_other_settings()
    Pretending().finish(cell)
    cell.refuse_other_settings()
    # A setting that came later, at its default, is no other setting.
    lines = [line for line in cell.run.settings.read_text().splitlines() if not line.startswith("warmup")]
    cell.run.settings.write_text("\n".join(lines))
    cell.refuse_other_settings()
    settings["run"]["train"]["epochs"] = 3
    with pytest.raises(RunError, match=r"was started with other settings: train.epochs is 2 there and 3 here"):
        plan(settings).cell("supervised", 0).refuse_other_settings()
