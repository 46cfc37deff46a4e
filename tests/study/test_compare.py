import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
from rich.console import Console
from toy_study import InThisProcess, Pretending, strict_json, study

from picturebook.errors import DataError, OptionError, RunError
from picturebook.study.cells import Cell
from picturebook.study.command import Outcome, compare
from picturebook.types import Silence
from picturebook.writing import read_json

Write = Callable[..., Path]
CONTRAST = ("study", "data", "family", "setting", "contrast", "mean", "low", "high", "n", "p", "audit", "command", "commit")
ARM = ("study", "data", "family", "setting", "arm", "mean", "sd", "n", "seconds", "commit")
TEACHES_NEXT = {"recipe": "born_again", "teacher": {"run": "{arm:supervised@next}"}}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(**changes: Any) -> Path:
        path = tmp_path / "STUDY.toml"
        path.write_text(tomlkit.dumps(study(tmp_path / "out", **changes)))
        return path

    return write


def accuracy(cell: Cell) -> float:
    return float(np.random.default_rng((cell.seed, len(cell.arm))).uniform(0.4, 0.6))


def run(path: Path, runner: Any = None, **changes: Any) -> Outcome:
    return compare(path, reporter=Silence(), runner=runner or Pretending(accuracy), **changes)


def printed(outcome: Outcome) -> str:
    console = Console(width=240, file=io.StringIO())
    console.print(outcome.shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_study_leaves_table_results_report_and_settings(write: Write, tmp_path: Path) -> None:
    path = write(seeds=list(range(8)), labels={"family": "resnet", "setting": "paper"})
    outcome = run(path)
    assert outcome.failure is None
    assert "again - supervised" in printed(outcome)
    results = strict_json(tmp_path / "out" / "results.json")
    contrast, arms = results["contrasts"][0], results["arms"]
    assert {name: contrast[name] for name in ("study", "data", "family", "setting", "contrast", "n", "audit")} == {
        "study": "STUDY", "data": "birds", "family": "resnet", "setting": "paper", "contrast": "again - supervised", "n": 8,
        "audit": None,
    }  # fmt: skip
    assert all(name in contrast for name in CONTRAST)
    assert all(name in arm for arm in arms for name in ARM)
    assert contrast["command"] == f"picturebook compare {path}"
    assert contrast["mean"] == pytest.approx(arms[1]["mean"] - arms[0]["mean"])
    assert contrast["low"] <= contrast["mean"] <= contrast["high"]
    assert len(contrast["runs"]) == len(arms[0]["runs"]) == 8
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" in page
    assert "again - supervised" in page


def test_a_study_is_named_by_its_file_its_data_and_its_students_where_nobody_names_it(write: Write, tmp_path: Path) -> None:
    def family(path: Path) -> str | None:
        run(path)
        named: str | None = strict_json(tmp_path / "out" / "results.json")["contrasts"][0]["family"]
        return named

    vit = {"model": "vit_tiny_patch16_224", "image_size": 224}
    assert family(write(seeds=[0], seeds_by_arm={"again": [1]})) == "resnet"
    assert family(write(labels={"family": "small"})) == "small"
    shutil.rmtree(tmp_path / "out")
    assert family(write(arms={"supervised": {"recipe": "supervised"}, "other": {"recipe": "supervised", "student": vit}})) is None


def test_the_settings_that_are_written_back_are_the_same_study(write: Write, tmp_path: Path) -> None:
    run(write())
    runner = Pretending(accuracy)
    before = strict_json(tmp_path / "out" / "results.json")
    run(tmp_path / "out" / "study.toml", runner)
    assert runner.asked == []
    after = strict_json(tmp_path / "out" / "results.json")
    assert [row["runs"] for row in after["arms"]] == [row["runs"] for row in before["arms"]]


def test_nothing_is_done_twice_and_more_seeds_and_arms_are_added_to_what_is_there(write: Write) -> None:
    run(write())
    runner = Pretending(accuracy)
    more = {**study()["arms"], "third": {"recipe": "supervised", "train.learning_rate": 0.01}}
    run(write(seeds=[0, 1, 2], arms=more), runner)
    assert runner.asked == ["third, seed 0", "third, seed 1", "supervised, seed 2", "again, seed 2", "third, seed 2"]


def test_other_settings_for_what_is_there_are_refused_before_anything_runs(write: Write) -> None:
    run(write())
    runner = Pretending(accuracy)
    arms = {**study()["arms"], "again": {"recipe": "born_again", "train.epochs": 9}}
    with pytest.raises(RunError, match=r"seed-0.json was kept of a run with other settings: train.epochs is 2 there and 9 here"):
        run(write(arms=arms, seeds=[5, 0]), runner)
    assert runner.asked == []


def test_a_bad_arm_is_refused_before_anything_runs(write: Write, tmp_path: Path) -> None:
    runner = Pretending(accuracy)
    arms = {**study()["arms"], "last": {"recipe": "supervised", "train.epoch": 9}}
    with pytest.raises(OptionError, match=r"arm last: train.epoch: There is no setting 'epoch'. Did you mean 'epochs'"):
        run(write(arms=arms), runner)
    assert runner.asked == []
    assert not (tmp_path / "out").exists()


def test_failed_cells_are_listed_the_rest_goes_on_and_the_next_call_tries_them_again(write: Write, tmp_path: Path) -> None:
    arms = {"supervised": {"recipe": "supervised"}, "again": TEACHES_NEXT}
    broken = Pretending(accuracy, broken={"supervised, seed 1": "Stage student: the loss is nan."})
    outcome = run(write(arms=arms, seeds=[0, 1, 2]), broken)
    assert outcome.failure is not None
    assert outcome.failure.splitlines() == [
        "2 of 6 runs failed; the same command tries these again.",
        "  supervised, seed 1: Stage student: the loss is nan.",
        "  again, seed 0: it learns from supervised, seed 1, which failed",
    ]
    table = printed(outcome)
    assert "⚠ 1 of 3 runs failed" in table
    assert "supervised, seed 1 failed: Stage student: the loss is nan." in table
    assert strict_json(tmp_path / "out" / "results.json")["arms"][0]["failed"] == [[1, "Stage student: the loss is nan."]]
    mended = Pretending(accuracy)
    assert run(write(arms=arms, seeds=[0, 1, 2]), mended).failure is None
    assert mended.asked == ["supervised, seed 1", "again, seed 0"]


def test_a_study_of_which_every_run_failed_still_has_its_table(write: Write, tmp_path: Path) -> None:
    names = [f"{arm}, seed {seed}" for arm in ("supervised", "again") for seed in (0, 1)]
    outcome = run(write(), Pretending(broken=dict.fromkeys(names, "no memory")))
    assert outcome.failure is not None
    assert "not measured" in printed(outcome)
    assert strict_json(tmp_path / "out" / "results.json")["contrasts"][0]["mean"] is None
    assert "No run has finished." in (tmp_path / "out" / "report.html").read_text()


def test_one_seed_is_warned_about_and_has_no_interval_over_seeds(write: Write, tmp_path: Path) -> None:
    outcome = run(write(seeds=[3]))
    assert "⚠ One seed: there is no interval over seeds, only over test pictures" in printed(outcome)
    contrast = strict_json(tmp_path / "out" / "results.json")["contrasts"][0]
    assert (contrast["p"], contrast["seeds_interval"], contrast["interval"]) == (None, None, "groups")
    assert contrast["low"] == contrast["pictures_interval"][0]


def test_under_eight_seeds_the_table_says_that_nothing_is_claimed(write: Write) -> None:
    assert "no claim under 8 seeds" in printed(run(write(seeds=list(range(7)))))
    assert "no claim" not in printed(run(write(seeds=list(range(8)))))


def test_unequal_budgets_are_visible_in_table_page_and_results(write: Write, tmp_path: Path) -> None:
    arms = {**study()["arms"], "long": {"recipe": "supervised", "train.epochs": 9}}
    outcome = run(write(arms=arms))
    assert "⚠ unequal budget: steps 90, not 20, epochs 9, not 2" in printed(outcome)
    assert "unequal budget: steps 90, not 20" in (tmp_path / "out" / "report.html").read_text()
    arm = strict_json(tmp_path / "out" / "results.json")["arms"][2]
    assert arm["budget_differences"][0] == "steps 90, not 20"


def test_trials_come_first_and_their_values_are_told(write: Write, tmp_path: Path) -> None:
    tuned = {"arms": ["supervised"], "inherit": ["again"], "space": {"train.learning_rate": [0.1, 0.2]}, "seed": 7}
    runner = Pretending(lambda cell: 0.5 + cell.options.train.learning_rate)
    outcome = run(write(tune=tuned), runner)
    assert runner.asked[:2] == ["supervised, trial 0", "supervised, trial 1"]
    results = strict_json(tmp_path / "out" / "results.json")
    assert results["tuned"] == {arm: {"train.learning_rate": 0.2} for arm in ("supervised", "again")}
    assert [trial["chosen"] for trial in results["trials"]] == [False, True]
    assert [arm["budget"]["trials"] for arm in results["arms"]] == [2, 2]
    assert "train.learning_rate = 0.2" in (tmp_path / "out" / "report.html").read_text()
    assert outcome.failure is None
    again = Pretending()
    run(write(tune=tuned), again)
    assert again.asked == []


def test_arms_whose_trials_all_failed_are_not_run(write: Write) -> None:
    tuned = {"arms": ["supervised"], "space": {"train.learning_rate": [0.1]}}
    runner = Pretending(broken={"supervised, trial 0": "the loss is nan"})
    outcome = run(write(tune=tuned), runner)
    assert runner.asked == ["supervised, trial 0", "again, seed 0", "again, seed 1"]
    assert outcome.failure is not None
    assert "supervised, seed 0: no trial of supervised ended well: the loss is nan" in outcome.failure


def test_a_point_that_the_recipe_refuses_costs_its_trial_alone(write: Write, tmp_path: Path) -> None:
    smoothed = {"recipe": "supervised", "smoothing_text.source": "classes", "loss.label_smoothing": 0.1}
    tuned = {"arms": ["smoothed"], "space": {"loss.label_smoothing": [0.0, 0.1]}}
    runner = Pretending(broken={"smoothed, trial 0": "raise that above 0"})  # what `train` says of words that smooth nothing
    outcome = run(write(arms={"supervised": {"recipe": "supervised"}, "smoothed": smoothed}, tune=tuned), runner)
    assert outcome.failure is None
    assert [trial["error"] for trial in outcome.record["trials"]] == ["raise that above 0", None]
    assert outcome.record["tuned"]["smoothed"] == {"loss.label_smoothing": 0.1}
    assert [arm["n"] for arm in outcome.record["arms"]] == [2, 2]


def test_a_dry_run_lists_the_cells_in_their_order_and_makes_nothing(write: Write, tmp_path: Path) -> None:
    tuned = {"arms": ["supervised"], "space": {"train.learning_rate": [0.1, 0.2]}}
    arms = {"supervised": {"recipe": "supervised"}, "again": TEACHES_NEXT}
    runner = Pretending()
    table = printed(run(write(tune=tuned, arms=arms), runner, dry_run=True))
    rows = [line.split("│")[2:5] for line in table.splitlines() if "to do │" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["supervised, trial 0", "0", ""], ["supervised, trial 1", "0", ""], ["supervised, seed 0", "0", ""],
        ["supervised, seed 1", "1", ""], ["again, seed 0", "0", "supervised, seed 1"],
        ["again, seed 1", "1", "supervised, seed 0"],
    ]  # fmt: skip
    assert "6 runs, 6 of them to do." in table
    assert runner.asked == []
    assert not (tmp_path / "out").exists()


def test_a_finished_study_needs_neither_its_data_nor_its_runs(write: Write, tmp_path: Path) -> None:
    path = write(tune={"arms": ["supervised"], "space": {"train.learning_rate": [0.1, 0.2]}})
    first = run(path).record
    for folder in ("runs", "tune"):
        shutil.rmtree(tmp_path / "out" / folder)
    again = compare(path, reporter=Silence())  # the true runner: there are no pictures for it
    assert again.record == first
    assert "6 runs, 0 of them to do." in printed(compare(path, reporter=Silence(), dry_run=True))


@pytest.mark.parametrize("tuned", [False, True])
def test_pictures_that_are_not_there_are_told_of_before_anything_runs(write: Write, tmp_path: Path, tuned: bool) -> None:
    tune = {"arms": ["supervised"], "space": {"train.learning_rate": [0.1, 0.2]}} if tuned else {}
    with pytest.raises(DataError, match=r"arm supervised: data.root: there is no folder or file birds"):
        compare(write(tune=tune), reporter=Silence())
    assert not list((tmp_path / "out").rglob("*.log"))


def test_a_dry_run_tells_of_arms_that_have_no_runs(write: Write) -> None:
    table = printed(run(write(seeds_by_arm={"again": [7]}), dry_run=True))
    assert "again: seeds_by_arm has none of the study's seeds" in table
    assert "2 runs, 2 of them to do." in table


def test_a_commit_is_named_once_of_all_runs_that_are_compared(write: Write, tmp_path: Path) -> None:
    path = write(contrasts=["again - supervised"])
    run(path)
    for number, record in enumerate(sorted((tmp_path / "out" / "kept" / "runs").rglob("*.json"))):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"commit": ("a1", "b2", "b2", "a1")[number]}))
    results = run(path).record
    assert results["contrasts"][0]["commit"] == "a1, b2"
    assert [arm["commit"] for arm in results["arms"]] == ["b2, a1", "a1, b2"]


def test_a_folder_that_holds_other_things_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match=r"holds files but no study.toml"):
        run(write())


def toy(recipe_settings: Callable[..., Any], out: Path, arms: Any, seeds: list[int]) -> str:
    shared = {name: value for name, value in recipe_settings("supervised", out).items() if name not in ("out", "recipe")}
    return tomlkit.dumps({"out": str(out), "seeds": seeds, "run": shared, "arms": arms})


def test_two_arms_are_trained_on_two_seeds_and_compared(recipe_settings: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(
        toy(recipe_settings, tmp_path / "out", {"supervised": {"recipe": "supervised"}, "again": TEACHES_NEXT}, [0, 1])
    )
    runner = InThisProcess()
    assert run(path, runner).failure is None
    assert runner.asked == ["supervised, seed 0", "supervised, seed 1", "again, seed 0", "again, seed 1"]
    results = strict_json(tmp_path / "out" / "results.json")
    for arm in results["arms"]:
        for seed, accuracy in arm["runs"]:
            stored = read_json(tmp_path / "out" / "runs" / arm["arm"] / f"seed-{seed}" / "results.json")
            assert accuracy == pytest.approx(100 * stored["models"]["student"]["test"]["accuracy"])
        assert arm["budget"]["steps"] > 0
        assert arm["budget_differences"] == []
    contrast = results["contrasts"][0]
    assert contrast["pictures_interval"] is not None
    assert [mark.split(":")[0] for mark in contrast["marks"]] == ["9 groups of test pictures"]
    again = InThisProcess()
    run(path, again)
    assert again.asked == []


def test_a_cell_is_a_process_of_its_own(
    recipe_settings: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    path = tmp_path / "toy.toml"
    path.write_text(toy(recipe_settings, tmp_path / "out", {"only": {"recipe": "supervised"}}, [0]))
    commands = []
    start = subprocess.Popen

    def listening(command: list[str], **settings: Any) -> subprocess.Popen[bytes]:
        commands.append(command[1:])
        return start(command, **settings)

    monkeypatch.setattr("picturebook.study.running.subprocess.Popen", listening)
    assert compare(path, reporter=Silence()).failure is None
    folder = tmp_path / "out" / "runs" / "only"
    assert ["-m", "picturebook", "train", str(folder / "seed-0.toml"), "--resume"] in commands
    assert strict_json(tmp_path / "out" / "results.json")["arms"][0]["n"] == 1
    assert "training student: done" in (folder / "seed-0.log").read_text()
