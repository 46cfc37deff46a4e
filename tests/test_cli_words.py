"""audit, compare and describe as a person calls them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import CommandLine
from picturebook.config import run_recipe
from picturebook.runs import RunFolder

Make = Callable[..., Any]

STUDY = """\
out = "{out}"
seeds = [0]
[run]
device = "cpu"
precision = "fp32"
data = {{ root = "{data}", canvas_size = 32 }}
student = {{ model = "resnet10t", model_args = {{ channels = [8, 8, 8, 8] }}, image_size = 16 }}
train = {{ epochs = 1, batch_size = 16 }}
[arms.supervised]
recipe = "supervised"
[arms.smoothed]
recipe = "supervised"
loss.label_smoothing = 0.1
"""


@pytest.mark.parametrize(("case", "changes"), [("bank", {}), ("own", {"folds": 2}), ("distil", {}), ("learned", {})])
def test_a_teacher_with_a_head_can_be_audited_later(
    picturebook: CommandLine, recipe_options: Make, frozen_encoder: str, tmp_path: Path, case: str, changes: dict[str, Any]
) -> None:
    run = run_recipe(recipe_options(case, tmp_path / "run", teacher={"image_encoder": frozen_encoder, **changes}))
    before = json.loads(run.audit.read_text()) if run.audit.is_file() else None
    answer = picturebook("audit", run.path, "--json")
    assert answer.code == 0, answer
    found = json.loads(answer.out)
    assert found == json.loads(run.audit.read_text())
    references = [probe["id"] for probe in found["probes"] if probe["id"].startswith("R1a") or probe["id"] == "R1b"]
    assert references == (["R1a"] if case in ("distil", "learned") else ["R1a", "R1b"])
    if before is not None:
        values = (
            {
                probe["id"]: probe["value"]
                for probe in one["probes"]
                if probe["id"] not in ("R1", "R1a", "R1b") and probe["value"] is not None
            }
            for one in (before, found)
        )
        earlier, later = values
        assert earlier == pytest.approx(later, rel=0.02, abs=0.02, nan_ok=True)
    assert not run.stages.exists()


def test_the_table_says_the_verdict_and_every_probe(picturebook: CommandLine, finished_run: Make) -> None:
    answer = picturebook("audit", finished_run("bank").path)
    assert answer.out.startswith("WARN: words bank")
    assert "R10" in answer.out
    assert "a PASS needs 1000" in answer.out


def test_students_of_controls_are_compared(
    picturebook: CommandLine, recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    control = run_recipe(recipe_options("own", tmp_path / "control", targets={"control": "class_mean"}))
    answer = picturebook("audit", finished_run("own").path, "--class-mean", control.path)
    assert answer.code == 0, answer
    assert "S1 was not run" not in answer.out
    assert "S2 was not run" in answer.out
    assert "is not the control of" in picturebook.refusal("audit", finished_run("own").path, "--shuffled", control.path)


def test_a_run_without_a_head_is_refused(picturebook: CommandLine, tmp_path: Path) -> None:
    assert "an audit needs a teacher with a head" in picturebook.refusal("audit", picturebook.run)
    assert "There is no run folder" in picturebook.refusal("audit", tmp_path / "none")


def test_a_run_whose_pictures_are_gone_is_refused(picturebook: CommandLine, finished_run: Make, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    for file in finished_run("bank").path.rglob("*"):
        if file.is_file():
            target = run.path / file.relative_to(finished_run("bank").path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    text = run.settings.read_text()
    root = next(line for line in text.splitlines() if line.startswith("root"))
    run.settings.write_text(text.replace(root, 'root = "nowhere"'))
    (run.path / "checksums.json").unlink()  # as in runs of older versions; else the changed settings are what is found
    assert "nowhere" in picturebook.refusal("audit", run.path)


def test_a_study_is_listed_run_and_gone_on_with(picturebook: CommandLine, tmp_path: Path) -> None:
    study = tmp_path / "STUDY.toml"
    study.write_text(STUDY.format(out=(tmp_path / "study").as_posix(), data=picturebook.data.as_posix()))
    listed = picturebook("compare", study, "--dry-run")
    assert "2 runs, 2 of them to do" in listed.out
    assert not (tmp_path / "study").exists()
    study.write_text(study.read_text().replace("smoothed", "smoothd").replace("label_smoothing", "label_smothing"))
    assert "label_smoothing" in picturebook.refusal("compare", study)


def test_describing_can_be_priced_before_it_is_done(picturebook: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "descriptions.jsonl"
    prices = ("--price-in", "1", "--price-out", "2")
    answer = picturebook(
        "describe", picturebook.data, "--classes", "--model", "m", *prices, "--dry-run",
        "--endpoint", "http://127.0.0.1:9/v1", "--out", out,
    )  # fmt: skip
    assert answer.code == 0, answer
    assert "cost" in answer.out
    assert not out.exists()
    assert "captions" in picturebook.refusal("describe", picturebook.data, "--model", "m")
