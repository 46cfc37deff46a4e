"""A study outlives its run folders: what its records hold is enough, and what it lacks is run again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
from toy_study import Pretending, plan, strict_json, study

from picturebook.errors import RunError
from picturebook.study.answers import read_answers
from picturebook.study.cells import Cell
from picturebook.study.command import compare
from picturebook.study.records import keep_record, read_record
from picturebook.types import Silence
from picturebook.writing import write_atomically, write_json

TAUGHT = {
    "supervised": {"recipe": "supervised"},
    "again": {"recipe": "born_again", "teacher": {"run": "{arm:supervised@next}"}},
}


def accuracy(cell: Cell) -> float:
    return 0.4 + 0.1 * (cell.arm == "again") + 0.03 * cell.seed


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "STUDY.toml"
    changes = {"arms": TAUGHT, "seeds": [0, 1, 2]} | changes
    write_atomically(file, tomlkit.dumps(study(folder / "out", **changes)).encode())
    return file


def run(file: Path, runner: Pretending | None = None, **changes: Any) -> Pretending:
    runner = runner or Pretending(accuracy)
    compare(file, reporter=Silence(), runner=runner, **changes)
    return runner


def told(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = strict_json(folder / "out" / "results.json")
    return {name: results[name] for name in ("arms", "contrasts")}


def test_without_its_run_folders_a_study_tells_the_same_and_runs_nothing(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert len(run(file).asked) == 6
    before = told(tmp_path)
    shutil.rmtree(tmp_path / "out" / "runs")
    assert run(file).asked == []
    assert told(tmp_path) == before
    assert all(arm["n"] == 3 for arm in before["arms"])


def test_records_may_be_kept_elsewhere_and_taken_to_another_machine(tmp_path: Path) -> None:
    file = written(tmp_path, keep=str(tmp_path / "records"))
    run(file)
    before = told(tmp_path)
    shutil.rmtree(tmp_path / "out")
    assert run(file).asked == []
    assert told(tmp_path) == before


def test_a_run_from_which_a_new_one_learns_is_made_again_but_its_record_stays(tmp_path: Path) -> None:
    file = written(tmp_path, arms={"supervised": TAUGHT["supervised"]})
    run(file)
    shutil.rmtree(tmp_path / "out" / "runs")
    records = sorted((tmp_path / "out" / "kept" / "runs").rglob("*.json"))
    before = [path.read_bytes() for path in records]
    again = run(written(tmp_path), Pretending(lambda cell: 0.9))
    assert sorted(again.asked) == sorted([f"{arm}, seed {seed}" for arm in TAUGHT for seed in range(3)])
    assert [path.read_bytes() for path in records] == before
    (tmp_path / "out" / "kept" / "runs" / "again" / "seed-1.json").unlink()
    shutil.rmtree(tmp_path / "out" / "runs")
    assert run(file).asked == ["supervised, seed 2", "again, seed 1"]


def test_so_far_tells_of_what_is_finished_and_runs_nothing(tmp_path: Path) -> None:
    file = written(tmp_path)
    broken = {"again, seed 1": "no memory"}
    run(file, Pretending(accuracy, broken=broken))
    shutil.rmtree(tmp_path / "out" / "runs" / "again")
    runner = run(file, so_far=True)
    assert runner.asked == []
    arms = {arm["arm"]: arm["n"] for arm in told(tmp_path)["arms"]}
    assert arms == {"supervised": 3, "again": 2}
    assert told(tmp_path)["contrasts"][0]["n"] == 2


def test_so_far_of_a_study_that_never_ran_is_empty(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert run(file, so_far=True).asked == []
    assert [arm["n"] for arm in told(tmp_path)["arms"]] == [0, 0]


def test_trials_are_remembered_too(tmp_path: Path) -> None:
    tune = {"arms": ["supervised"], "trials": 2, "space": {"train.learning_rate": [1e-3, 2e-3]}}
    file = written(tmp_path, tune=tune)
    assert len(run(file).asked) == 8
    shutil.rmtree(tmp_path / "out" / "tune")
    shutil.rmtree(tmp_path / "out" / "runs")
    assert run(file).asked == []


def test_a_record_says_what_the_run_folder_says(tmp_path: Path) -> None:
    arms = {"coca": {"recipe": "coca", "text": {"source": "column", "column": "text"}, "pretrain.epochs": 3}}
    cell = plan(study(tmp_path, arms=arms)).cell("coca", 1)
    Pretending(accuracy).finish(cell)
    write_json(cell.run.audit, {"verdict": "WARN", "reasons": ["why"], "evidence": {"kind": "label_blind"}, "probes": [1]})
    live, answers = read_record(cell), read_answers(cell)
    keep_record(cell, "abc")
    shutil.rmtree(cell.folder)
    kept = read_record(cell)
    assert (kept.commit, live.commit) == ("abc", "unknown")
    assert kept.audit == {"verdict": "WARN", "reasons": ["why"], "evidence": {"kind": "label_blind"}}
    assert (kept.steps, kept.pretraining_steps) == (20, 21)
    for name in ("steps", "pretraining_steps", "parameters", "seconds", "models", "validations"):
        assert getattr(kept, name) == getattr(live, name)
    again = read_answers(cell)
    assert again.same_pictures(answers)
    assert again.asked.classes == answers.asked.classes
    for name in ("predictions", "certainty", "calibrated"):
        assert np.array_equal(getattr(again.answered, name), getattr(answers.answered, name))
    assert np.array_equal(again.right, answers.right)
    assert again.answered.temperature == answers.answered.temperature
    assert answers.asked.groups is not None
    assert again.asked.groups is not None
    assert again.asked.groups.tolist() == answers.asked.groups.tolist()


def test_test_pictures_are_kept_once_and_long_numbers_not_at_all(tmp_path: Path) -> None:
    ours = plan(study(tmp_path, arms=TAUGHT, seeds=[0, 1, 2]))
    for cell in ours.cells():
        Pretending(accuracy).finish(cell)
        results = json.loads(cell.run.results.read_text())
        results["models"]["student"]["test"] |= {"confusion": [[1, 0], [0, 1], [0, 0]], "interval": [0.1, 0.2]}
        write_json(cell.run.results, results)
        keep_record(cell, "abc")
    assert len(list((tmp_path / "kept" / "pictures").iterdir())) == 1
    assert set(read_record(ours.cells()[0]).models["student"]["test"]) == {"accuracy", "low", "high", "nll", "ece", "interval"}


def test_a_record_of_other_settings_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    run(file)
    shutil.rmtree(tmp_path / "out" / "runs")
    other = written(tmp_path, seeds=[0, 1, 2], run=study()["run"] | {"train": {"epochs": 3, "batch_size": 16}})
    with pytest.raises(RunError, match=r"kept of a run with other settings: train.epochs is 2 there and 3 here"):
        run(other)


@pytest.mark.parametrize("lost", ["record", "pictures"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"settings": {"recipe"', b'{"settings": 1}'])
def test_a_record_that_was_cut_off_is_as_good_as_none(tmp_path: Path, lost: str, content: bytes) -> None:
    file = written(tmp_path)
    run(file)
    before = told(tmp_path)
    kept = tmp_path / "out" / "kept"
    broken = kept / "runs" / "again" / "seed-1.json" if lost == "record" else next((kept / "pictures").iterdir())
    whole = broken.read_bytes()
    broken.write_bytes(content)
    assert run(file).asked == []  # the run folders are there
    assert broken.read_bytes() == whole
    assert told(tmp_path) == before
    shutil.rmtree(tmp_path / "out" / "runs")
    broken.write_bytes(content)
    assert len(run(file).asked) == (2 if lost == "record" else 6)
    assert told(tmp_path) == before
