"""The audit of a run's teacher."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
from PIL import Image

from picturebook.config import audit_run, run_recipe
from picturebook.errors import DataError, OptionError, RunError, TextError
from picturebook.recipes.audit_run import control_interval
from picturebook.recipes.auditing import _held_out, most_audited
from picturebook.types import Silence
from picturebook.writing import read_json
from toy_runs import CLASSES, Listening

Make = Callable[..., Any]


@pytest.mark.parametrize("folds", [0, 3, 5])
@pytest.mark.parametrize("case", ["bank", "own"])
def test_an_image_text_teacher_is_audited_before_it_labels(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path, case: str, folds: int
) -> None:
    listening = Listening()
    teacher = {"folds": folds, "image_encoder": frozen_encoder}
    run = run_recipe(recipe_options(case, tmp_path / "run", teacher=teacher), reporter=listening)
    found = read_json(run.audit)
    assert found["kind"] == {"bank": "bank", "own": "label_blind"}[case]
    assert found["verdict"] == "WARN"  # toy pictures are too few for more
    assert {"R1a", "R4a", "R8", "R10", "R13a", *(["R2"] if case == "own" else [])} <= {probe["id"] for probe in found["probes"]}
    assert [sentence for sentence in listening.said if sentence.startswith("Audit of the teacher: WARN")]
    assert found["num"] == {0: 5, 3: 22, 5: 21}[folds]


@pytest.mark.parametrize(("needed", "num_folds"), [(30, 3), (31, 4), (40, 4), (41, 3)])
def test_more_folds_are_audited_where_that_reaches_what_a_pass_needs(needed: int, num_folds: int) -> None:
    rows, folds = np.arange(50) + 7, np.arange(50) % 5
    np.testing.assert_array_equal(_held_out(rows, folds, needed), rows[folds < num_folds])


@pytest.fixture(scope="module")
def noise_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with nothing to see, so that only the words can tell the class."""
    root, generator = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for index in range(24):
            Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def test_so_many_are_audited_that_a_pass_can_be_reached_whatever_the_number_of_classes() -> None:
    assert [most_audited(num) for num in (2, 35, 150, 200, 1000)] == [3000, 3000, 3000, 4000, 20_000]


def test_a_teacher_that_is_told_the_label_is_stopped(recipe_options: Make, noise_data: Path, tmp_path: Path) -> None:
    changes = {"data": {"root": str(noise_data), "split": {"val": 0.3}}, "text": {"source": "classes", "kind": "privileged"}}
    teacher = {"train": {"epochs": 100, "learning_rate": 0.01, "batch_size": 16}}
    with pytest.raises(OptionError, match=r"The audit FAILED: .*allow_label_privileged=true.* S1, S2, S3"):
        run_recipe(recipe_options("own", tmp_path / "stopped", teacher=teacher, **changes))
    listening = Listening()
    assert audit_run(tmp_path / "stopped", reporter=listening).verdict == "FAIL"
    assert "is not finished: this is what the audit of its teacher found on the way." in listening.said[0]
    allowed = {**teacher, "allow_label_privileged": True}
    with pytest.raises(RunError, match="was started with other settings: seed"):
        run_recipe(recipe_options("own", tmp_path / "stopped", teacher=allowed, seed=1, **changes), resume=True)
    run = run_recipe(recipe_options("own", tmp_path / "stopped", teacher=allowed, **changes), resume=True)
    assert "allow_label_privileged = true" in run.settings.read_text()
    found = read_json(run.audit)
    assert (found["verdict"], found["label"]) == ("FAIL", "label-privileged")


def test_words_that_are_said_to_hold_no_class_word_and_do_are_stopped(
    recipe_options: Make, frozen_encoder: str, toy_data: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    table = data / "metadata.csv"
    table.write_text(table.read_text().replace("a photo of one", f"a photo of {CLASSES[0]}s"))
    settings = {"data": {"root": str(data)}, "teacher": {"folds": 2, "image_encoder": frozen_encoder}}
    masked = {**settings, "text": {"masked": True}}
    with pytest.raises(OptionError, match=r"FAILED: .* although they are said to be masked.*text.mask_class_words=true"):
        run_recipe(recipe_options("own", tmp_path / "stopped", **masked))
    run = run_recipe(recipe_options("own", tmp_path / "run", **{**settings, "text": {"mask_class_words": True}}))
    assert read_json(run.audit)["verdict"] == "WARN"


@pytest.mark.parametrize("case", ["learned", "linear", "distil"])
def test_without_words_there_is_nothing_to_audit_before_labelling(finished_run: Make, case: str) -> None:
    assert not finished_run(case).audit.exists()


def test_words_that_say_nothing_are_found_to_say_nothing(
    recipe_options: Make, frozen_encoder: str, toy_data: Path, tmp_path: Path
) -> None:
    """R13 learns from other pictures' words than those it is asked about: random words have nothing to tell it."""
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    lines = (data / "metadata.csv").read_text().splitlines()
    words = np.random.default_rng(0).permutation(len(lines) - 1)
    spelt = [
        " ".join(("one", "two", "three", "apple", "leaf", "sky")[int(digit) % 6] for digit in np.base_repr(word + 7, 6))
        for word in words
    ]
    rows = [",".join([line.split(",")[0], text, *line.split(",")[2:]]) for line, text in zip(lines[1:], spelt, strict=True)]
    (data / "metadata.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    teacher = {"folds": 2, "image_encoder": frozen_encoder}
    run = run_recipe(recipe_options("own", tmp_path / "run", teacher=teacher, data={"root": str(data)}))
    told = {probe["id"]: probe["value"] for probe in read_json(run.audit)["probes"]}
    assert told["R13a"] < 0.75
    assert told["R7b"] is not None


def test_other_pictures_than_the_runs_are_no_ground_for_an_audit(
    recipe_options: Make, toy_data: Path, frozen_encoder: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    teacher = {"folds": 2, "image_encoder": frozen_encoder}
    run = run_recipe(recipe_options("own", tmp_path / "run", teacher=teacher, data={"root": str(data)}))
    audit_run(run.path, reporter=Silence())
    next(data.rglob("*.png")).unlink()
    with pytest.raises(DataError, match=r"are not those that .*run was trained on"):
        audit_run(run.path, reporter=Silence())


def test_other_words_than_the_runs_are_no_ground_for_an_audit(recipe_options: Make, frozen_encoder: str, tmp_path: Path) -> None:
    file = tmp_path / "descriptions.json"
    file.write_text(json.dumps({name: [f"like {name}"] for name in CLASSES}))
    text = {"source": "descriptions", "descriptions": str(file)}
    teacher = {"folds": 2, "image_encoder": frozen_encoder}
    run = run_recipe(recipe_options("bank", tmp_path / "run", teacher=teacher, text=text))
    file.write_text(json.dumps({name: [f"unlike {name}"] for name in CLASSES}))
    with pytest.raises(TextError, match=r"The words are not those that .*run was trained on"):
        audit_run(run.path, reporter=Silence())


@pytest.mark.parametrize("masked", [False, True])
def test_synonyms_are_looked_for_in_the_words_and_masked_with_the_names(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path, masked: bool
) -> None:
    synonyms = tmp_path / "synonyms.json"
    synonyms.write_text(json.dumps({CLASSES[0]: ["two"]}))
    text = {"mask_class_words": masked, "synonyms": str(synonyms)}
    teacher = {"folds": 2, "image_encoder": frozen_encoder}
    run = run_recipe(recipe_options("own", tmp_path / "run", teacher=teacher, text=text))
    told = {probe["id"]: probe["value"] for probe in read_json(run.audit)["probes"]}
    assert told["R14b"] == (0 if masked else pytest.approx(1 / 3, abs=0.1))
    assert (told["R14a"] > 0) != masked


def test_a_run_from_before_a_setting_came_has_its_controls_all_the_same(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path
) -> None:
    settings = {"teacher": {"folds": 2, "image_encoder": frozen_encoder}, "cache": str(tmp_path / "cache")}
    run = run_recipe(recipe_options("own", tmp_path / "run", **settings))
    control = run_recipe(recipe_options("own", tmp_path / "mean", targets={"control": "class_mean"}, **settings))
    before = tomlkit.parse(run.settings.read_text())
    del before["class_text"]
    run.forget_checksum(run.settings)
    run.settings.write_text(tomlkit.dumps(before))
    run.note_checksum(run.settings)
    listening = Listening()
    found = audit_run(run.path, class_mean=control.path, reporter=listening)
    assert not [sentence for sentence in listening.said if "Audit of the teacher" in sentence], "the table says it"
    assert set(found.evidence.controls) == {"S1"}
    (told,) = [probe for probe in found.to_dict()["probes"] if probe["id"] in ("S1", "S2")]
    measured = found.evidence.controls["S1"]
    assert (told["value"], told["low"], told["high"]) == (100 * measured.mean, 100 * measured.low, 100 * measured.high)
    assert told["unit"] == "points"


def test_a_control_of_another_run_is_refused(finished_run: Make) -> None:
    with pytest.raises(RunError, match=r"is not the control of .*targets.control = 'class_mean'"):
        control_interval(finished_run("own"), finished_run("learned"), kind="class_mean")
    with pytest.raises(RunError, match="is not the control of"):
        control_interval(finished_run("own"), finished_run("own"), kind="class_mean")
