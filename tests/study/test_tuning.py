from pathlib import Path
from typing import Any

import pytest
from toy_study import Pretending, plan, study

from picturebook.errors import OptionError
from picturebook.study.cells import Cell
from picturebook.study.ledger import Ledger
from picturebook.study.running import Cells
from picturebook.study.tuning import draw_points, plan_trials, tune
from picturebook.types import Silence

SPACE = {"train.learning_rate": [1e-3, 3e-3, 1e-2], "train.weight_decay": [0.0, 0.05]}
ARMS = {name: {"recipe": "supervised"} for name in ("rival", "winner", "heir", "other")}
TUNE = {"arms": ["rival", "winner"], "space": SPACE, "trials": 4, "inherit": {"heir": "winner"}}


def best_at(rates: dict[str, float]) -> Pretending:
    """Trials do best at the arm's learning rate; the test numbers, which nobody may look at, say the opposite."""

    def accuracy(cell: Cell) -> float:
        return 0.9 - 20 * abs(cell.options.train.learning_rate - rates[cell.arm]) - cell.options.train.weight_decay

    return Pretending(accuracy)


def run(settings: dict[str, Any], out: Path, runner: Pretending) -> Any:
    return tune(plan(settings), Cells(runner, 1, Silence(), Ledger(out)))


def test_points_are_different_few_and_the_same_for_a_seed() -> None:
    points = draw_points(SPACE, 4, seed=0)
    assert len({tuple(point.values()) for point in points}) == 4
    assert points == draw_points(SPACE, 4, seed=0)
    assert any(draw_points(SPACE, 4, seed=seed) != points for seed in range(1, 5))
    assert len(draw_points(SPACE, 8, seed=0)) == 6


def test_each_tuned_arm_has_its_own_winner_on_the_same_points_and_heirs_take_it(tmp_path: Path) -> None:
    runner = best_at({"rival": 1e-3, "winner": 1e-2})
    tuned, trials, lost = run(study(tmp_path, arms=ARMS, tune=TUNE), tmp_path, runner)
    points = draw_points(SPACE, 4, seed=0)
    assert [trial.values for trial in trials] == points * 2
    for arm, rate in (("rival", 1e-3), ("winner", 1e-2)):
        chosen = [trial for trial in trials if trial.arm == arm and trial.chosen]
        assert len(chosen) == 1
        assert chosen[0].values == min(
            points, key=lambda p, rate=rate: 20 * abs(p["train.learning_rate"] - rate) + p["train.weight_decay"]
        )
        assert tuned.tuned[arm] == chosen[0].values
    assert tuned.tuned["heir"] == tuned.tuned["winner"]
    assert "other" not in tuned.tuned
    assert tuned.cell("heir", 1).options.train.learning_rate == tuned.tuned["winner"]["train.learning_rate"]
    assert lost == {}
    assert len(runner.asked) == 8


def test_of_equal_accuracies_the_first_is_taken_and_nothing_is_tried_twice(tmp_path: Path) -> None:
    settings = study(tmp_path, arms=ARMS, tune=TUNE)
    runner = Pretending()
    _, trials, _ = run(settings, tmp_path, runner)
    assert [trial.number for trial in trials if trial.chosen] == [0, 0]
    again = Pretending()
    assert run(settings, tmp_path, again)[1] == trials
    assert again.asked == []


def test_a_failed_trial_is_kept_and_an_arm_without_a_good_one_is_lost_with_its_heirs(tmp_path: Path) -> None:
    broken = {"rival, trial 0": "the loss is nan", **{f"winner, trial {number}": "no memory" for number in range(4)}}
    _, trials, lost = run(study(tmp_path, arms=ARMS, tune=TUNE), tmp_path, Pretending(broken=broken))
    assert (trials[0].error, trials[0].accuracy, trials[1].chosen) == ("the loss is nan", None, True)
    assert lost == dict.fromkeys(["winner", "heir"], "no trial of winner ended well: no memory")


def test_an_arm_that_teaches_a_tuned_one_is_tuned_and_run_before_it(tmp_path: Path) -> None:
    arms = {"again": {"recipe": "born_again", "teacher.run": "{arm:first}"}, "first": {"recipe": "supervised"}}
    runner = Pretending()
    settings = study(tmp_path, arms=arms, tune={"arms": ["again", "first"], "space": {"train.epochs": [1, 2]}, "seed": 9})
    run(settings, tmp_path, runner)
    assert runner.asked == ["first, trial 0", "first, trial 1", "first, seed 9", "again, trial 0", "again, trial 1"]


def test_arms_that_wait_for_each_others_trials_are_refused_before_anything_runs() -> None:
    arms = {"again": {"recipe": "born_again", "teacher.run": "{arm:first}"}, "first": {"recipe": "supervised"}}
    settings = study(arms=arms, tune={"arms": ["again"], "inherit": {"first": "again"}, "space": {"train.epochs": [1, 2]}})
    with pytest.raises(OptionError, match="again cannot be tried, since what they learn from waits for these trials"):
        plan_trials(plan(settings))


def test_a_point_that_an_arm_or_its_heir_does_not_know_is_refused_before_anything_runs() -> None:
    arms = {"first": {"recipe": "supervised"}, "again": {"recipe": "born_again"}}
    space = {"loss.temperature": [1.0, 2.0]}
    with pytest.raises(OptionError, match=r"arm first: loss.temperature: There is no setting"):
        plan_trials(plan(study(arms=arms, tune={"arms": ["again"], "inherit": ["first"], "space": space})))


def test_data_without_validation_pictures_cannot_be_tuned_on(tmp_path: Path) -> None:
    class Blind(Pretending):
        def finish(self, cell: Cell) -> None:
            super().finish(cell)
            cell.run.results.write_text(cell.run.results.read_text().replace('"val"', '"valley"'))

    with pytest.raises(OptionError, match="no labelled validation pictures to choose on"):
        run(study(tmp_path, arms=ARMS, tune=TUNE), tmp_path, Blind())
