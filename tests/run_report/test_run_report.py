import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from picturebook.config import run_recipe
from picturebook.errors import RunError
from picturebook.recipes.options import RecipeOptions
from picturebook.run_report import write_run_report
from picturebook.run_report.collecting import collect
from picturebook.run_report.run_files import RunFiles
from picturebook.runs import RunFolder
from picturebook.types import Silence
from served import copy_to_change
from toys import CLASSES

Runs = Callable[[str], RunFolder]


def test_a_run_with_words_has_every_part(finished_run: Runs, toy_cache: Path) -> None:
    run, baseline = RunFiles.open(finished_run("own").path), RunFiles.open(finished_run("supervised").path)
    report = collect(run, baseline, cache=toy_cache, reporter=Silence())
    stored = json.loads(finished_run("own").results.read_text())["models"]
    assert {arm.name: arm.accuracy for arm in report.arms} == {
        name: numbers["test"]["accuracy"] for name, numbers in stored.items()
    }
    assert report.arms[0].name == "student"
    assert "reads captions" in report.arms[1].label
    assert report.classes == CLASSES
    assert report.gain.gain == pytest.approx(report.arms[0].accuracy - baseline.student["accuracy"])
    assert len(report.words) > 0
    assert "reads a token of its own" in report.activation_note  # this student is a ViT with a class token
    assert report.audit.headline.startswith(("PASS", "WARN", "FAIL"))
    (teacher,) = (name for name in stored if "agreement" in stored[name]["test"])
    stated = stored[teacher]["test"]
    assert report.agreement.startswith(f"Agreement of the student with the {teacher}: ")
    assert f"of the {stated['num']} test pictures." in report.agreement
    assert 0 <= stated["agreement"] <= 1
    assert sum(pair.count for pair in report.pairs) == round((1 - report.arms[0].accuracy) * report.arms[0].num_test)
    assert all(len(pair.pictures) == min(pair.count, 3) for pair in report.pairs)
    assert {curve.name for curve in report.curves_loss} >= {"student", "teacher's head"}


def test_the_students_maps_are_of_its_answers(
    recipe_options: Callable[..., RecipeOptions], toy_cache: Path, tmp_path: Path
) -> None:
    with_a_map = {"model_args": {"channels": [8, 8, 8, 8], "output_stride": 8}}
    run = RunFiles.open(run_recipe(recipe_options("supervised", tmp_path / "run", student=with_a_map)).path)
    report = collect(run, None, cache=toy_cache, reporter=Silence())
    answers = run.answers["test"]
    labels, said = ([CLASSES[number] for number in part] for part in (answers.labels, answers.logits.argmax(axis=1)))
    assert "2 × 2 places" in report.activation_note
    assert report.activation
    for shown in report.activation:
        assert shown.weights.shape == (2, 2)
        assert (shown.label, shown.prediction) in set(zip(labels, said, strict=True))
    assert report.words == ()
    assert report.agreement == ""


def test_a_map_of_one_place_is_not_shown(finished_run: Runs, toy_cache: Path) -> None:
    report = collect(RunFiles.open(finished_run("supervised").path), None, cache=toy_cache, reporter=Silence())
    assert "one place alone" in report.activation_note
    assert report.activation == ()


def test_without_the_pictures_the_page_says_why(finished_run: Runs, tmp_path: Path) -> None:
    run = copy_to_change(finished_run("supervised").path, tmp_path / "run")
    settings = (run / "run.toml").read_text(encoding="utf-8")
    lines = [f'root = "{tmp_path}/gone"' if line.startswith("root = ") else line for line in settings.splitlines()]
    (run / "run.toml").write_text("\n".join(lines), encoding="utf-8")
    report = collect(RunFiles.open(run), None, cache=tmp_path / "cache", reporter=Silence())
    assert any(warning.startswith("No pictures are shown: ") for warning in report.warnings)
    assert report.activation == ()
    assert len(report.class_rows) == len(CLASSES)


def test_a_run_without_stored_answers_shows_its_counts(finished_run: Runs, toy_cache: Path, tmp_path: Path) -> None:
    run = copy_to_change(finished_run("supervised").path, tmp_path / "run")
    (run / "predictions.npz").unlink()
    report = collect(RunFiles.open(run), None, cache=toy_cache, reporter=Silence())
    assert report.calibration is None
    assert any("keeps no answers" in warning for warning in report.warnings)
    assert [row.num for row in report.class_rows] == report.confusion.sum(axis=1).tolist()
    assert all(np.isnan(row.low) for row in report.class_rows)


def test_a_teacher_whose_audit_failed_stands_beside_nobody(finished_run: Runs, toy_cache: Path, tmp_path: Path) -> None:
    run = copy_to_change(finished_run("own").path, tmp_path / "run")
    audit = json.loads((run / "audit.json").read_text(encoding="utf-8")) | {"verdict": "FAIL"}
    (run / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    report = collect(RunFiles.open(run), None, cache=toy_cache, reporter=Silence())
    assert [arm.name for arm in report.arms if arm.name.startswith("teacher")] == []
    assert any(warning.startswith("The leak audit fails") for warning in report.warnings)


def test_a_privileged_teacher_is_called_so(finished_run: Runs, toy_cache: Path, tmp_path: Path) -> None:
    run = copy_to_change(finished_run("own").path, tmp_path / "run")
    settings = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(settings.replace('kind = "label_blind"', 'kind = "privileged"'), encoding="utf-8")
    report = collect(RunFiles.open(run), None, cache=toy_cache, reporter=Silence())
    told = [arm for arm in report.arms if arm.name.startswith("teacher")]
    assert told
    assert all("privileged" in arm.label for arm in told)


def test_a_baseline_of_another_seed_or_that_saw_the_test_is_marked(finished_run: Runs, toy_cache: Path, tmp_path: Path) -> None:
    run = RunFiles.open(finished_run("supervised").path)
    other = copy_to_change(run.folder.path, tmp_path / "other")
    settings = (other / "run.toml").read_text(encoding="utf-8")
    (other / "run.toml").write_text(settings.replace("seed = 0", "seed = 7", 1), encoding="utf-8")
    np.save(other / "train_ids.npy", run.answers["test"].ids[:2])
    warnings = collect(run, RunFiles.open(other), cache=toy_cache, reporter=Silence()).warnings
    assert "The seeds differ (0 here, 7 there): part of the gain may be the seed." in warnings
    assert "other was trained on 2 pictures of these: the gains mean nothing." in warnings


def test_the_file_stands_in_the_run_and_the_run_stays_whole(finished_run: Runs, toy_cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "my run 🐦"
    shutil.copytree(finished_run("supervised").path, run)
    written = write_run_report(run, baseline=None, out=None, cache=toy_cache, reporter=Silence())
    assert written == run / "report.html"
    assert written.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert RunFolder(run).damage() is None
    first = written.read_bytes()
    write_run_report(run, baseline=None, out=None, cache=toy_cache, reporter=Silence())
    assert written.read_bytes() == first


@pytest.mark.parametrize("name", ["results.json", "student/config.json", "teacher/report.html", "report.txt"])
def test_none_of_the_runs_own_files_is_overwritten(finished_run: Runs, toy_cache: Path, name: str, tmp_path: Path) -> None:
    run = finished_run("supervised").path
    with pytest.raises(RunError, match=r"one of the run's own files"):
        write_run_report(run, baseline=None, out=run / name, cache=toy_cache, reporter=Silence())
    with pytest.raises(RunError, match=r"name a file in it"):
        write_run_report(run, baseline=None, out=tmp_path, cache=toy_cache, reporter=Silence())


@pytest.mark.parametrize("file", ["audit.json", "provenance.json", "run.toml", "predictions.npz"])
def test_a_broken_file_is_a_sentence(finished_run: Runs, toy_cache: Path, tmp_path: Path, file: str) -> None:
    run = copy_to_change(finished_run("own").path, tmp_path / "run")
    (run / file).write_text("{", encoding="utf-8")
    with pytest.raises(RunError):
        write_run_report(run, baseline=None, out=tmp_path / "r.html", cache=toy_cache, reporter=Silence())


def test_an_audit_of_another_version_is_a_sentence(finished_run: Runs, toy_cache: Path, tmp_path: Path) -> None:
    run = copy_to_change(finished_run("own").path, tmp_path / "run")
    (run / "audit.json").write_text('{"verdict": "PASS"}', encoding="utf-8")
    with pytest.raises(RunError, match="of another version"):
        write_run_report(run, baseline=None, out=tmp_path / "r.html", cache=toy_cache, reporter=Silence())
