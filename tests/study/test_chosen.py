"""Some arms of a study now, the others later."""

from pathlib import Path
from typing import Any

import pytest
import tomlkit
from toy_study import Pretending, study

from picturebook.errors import OptionError
from picturebook.study.command import Outcome, compare
from picturebook.types import Silence


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "STUDY.toml"
    path.write_text(tomlkit.dumps(study(folder / "out", **changes)))
    return path


def run(path: Path, runner: Pretending | None = None, **changes: Any) -> Outcome:
    return compare(path, reporter=Silence(), runner=runner or Pretending(), **changes)


def test_some_arms_are_run_first_with_their_trials_and_teachers(tmp_path: Path) -> None:
    arms = {name: {"recipe": "supervised"} for name in ("first", "second", "third")} | {
        "taught": {"recipe": "born_again", "teacher": {"run": "{arm:third}"}}
    }
    tuned = {"arms": ["first", "second"], "space": {"train.learning_rate": [0.1]}, "inherit": {"third": "first"}}
    path = written(tmp_path, arms=arms, tune=tuned)
    runner = Pretending(broken={"first, trial 0": "the loss is nan"})
    outcome = run(path, runner, arms=["second"])
    assert runner.asked == ["second, trial 0", "second, seed 0", "second, seed 1"]
    assert outcome.failure is None
    assert {arm["arm"]: arm["n"] for arm in outcome.record["arms"]} == {"first": 0, "second": 2, "third": 0, "taught": 0}
    assert "Runs still to come: 6" in (tmp_path / "out" / "report.html").read_text()
    listed = run(path, arms=["taught"], dry_run=True).record["runs"]
    names = ["first, trial 0", "third, seed 0", "taught, seed 0", "third, seed 1", "taught, seed 1"]
    assert [one["run"] for one in listed] == names
    runner = Pretending()
    assert run(path, runner, arms=["taught"]).failure is None
    assert runner.asked == names
    runner = Pretending()
    run(path, runner)
    assert runner.asked == ["first, seed 0", "first, seed 1"]


def test_an_arm_that_is_not_there_and_one_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--arm: There is no arm 'agian'. Did you mean 'again'\?"):
        run(written(tmp_path), arms=["agian"])
    with pytest.raises(OptionError, match="--arm says what is to run, and --so-far runs nothing"):
        run(written(tmp_path), arms=["again"], so_far=True)
