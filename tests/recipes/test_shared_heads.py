"""Heads that one run taught and another takes from the cache."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interrupting import Interrupting, PowerCutError
from picturebook.config import run_recipe
from picturebook.errors import RunError
from picturebook.recipes.image_text import make_teacher
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import Listening, make_stages

Make = Callable[..., Any]
TAKEN = "another run has taught it"


@pytest.fixture
def run(recipe_options: Make, frozen_encoder: str, tmp_path: Path) -> Callable[..., tuple[RunFolder, list[str]]]:
    """Runs a recipe in a cache of its own, with a frozen encoder and two folds; gives what was said of heads, too."""

    def named(name: str, case: str = "own", **changes: Any) -> tuple[RunFolder, list[str]]:
        teacher = {"folds": 2, "calibrate": True, "image_encoder": frozen_encoder, **changes.pop("teacher", {})}
        settings = {"cache": str(tmp_path / "cache"), "teacher": teacher, **changes}
        listening = Listening()
        done = run_recipe(recipe_options(case, tmp_path / name, **settings), reporter=listening)
        return done, [sentence.split(":")[0] for sentence in listening.said if TAKEN in sentence]

    return named


@pytest.fixture
def taken(recipe_options: Make, frozen_encoder: str, tmp_path: Path) -> Callable[..., int]:
    """How many heads a run takes from the cache, of which no more is done than its teacher."""
    count = itertools.count()

    def of(**changes: Any) -> int:
        teacher = {"folds": 2, "image_encoder": frozen_encoder, **changes.pop("teacher", {})}
        out, settings = tmp_path / f"run-{next(count)}", {"cache": str(tmp_path / "cache"), "teacher": teacher, **changes}
        options = recipe_options("own", out, **settings)
        RunFolder(out).start(resume=False, resolved="")
        stages = make_stages(options)
        stages.reporter = listening = Listening()
        make_teacher(stages, options)
        return sum(TAKEN in sentence for sentence in listening.said)

    return of


def same_weights(first: RunFolder, second: RunFolder) -> bool:
    names = ("student/model.safetensors", "predictions.npz", "train_ids.npy", "audit.json")
    return all((first.path / name).read_bytes() == (second.path / name).read_bytes() for name in names)


def test_a_run_with_taught_heads_is_that_which_taught_them(run: Any) -> None:
    first, said = run("first")
    assert said == []
    again, said = run("again")
    assert said == ["head-fold-1", "head-fold-2"]
    assert same_weights(first, again)
    teachers = [(one.teacher / "head.safetensors").read_bytes() for one in (first, again)]
    assert teachers[0] == teachers[1]
    lines = [[{**line, "seconds": 0} for line in one.read_metrics()] for one in (first, again)]
    assert [line["stage"] for line in lines[0]] == [line["stage"] for line in lines[1]]
    provenance = [read_json(one.provenance) for one in (first, again)]
    assert provenance[1]["cached_seconds"]["head-fold-2"] == pytest.approx(provenance[0]["seconds"]["head-fold-2"])
    assert "head-fold-2" not in provenance[1]["seconds"]


def test_what_is_the_students_alone_needs_no_other_heads(taken: Any) -> None:
    assert taken() == 0
    for changes in (
        {"loss": {"temperature": 4.0}},
        {"targets": {"control": "class_mean"}},
        {"train": {"learning_rate": 1e-3}},
        {"teacher": {"calibrate": True}},
        {"views": {"cutmix": 0.5}},
    ):
        assert taken(**changes) == 2, changes


def test_other_heads_are_taught_anew(taken: Any) -> None:
    told = {"source": "classes", "template": "{}"}
    residual = {"teacher": {"head": {"residual": True}}}
    for changes in (
        {},
        {"seed": 1},
        {"teacher": {"head": {"dropout": 0.3}}},
        {"teacher": {"head": {"num_heads": 4}}},
        residual,
        {"teacher": {"loss": {"label_smoothing": 0.1}}},
        {"teacher": {"train": {"learning_rate": 2e-3}}},
        {"teacher": {"image_size": 32}},
        {"teacher": {"folds": 3}},
        {"text": {"control": "other_row"}},
        {"data": {"supervision": {"label_noise": 0.3}}},
        {"views": {"flip": 0.0}},
        {"class_text": told, **residual},
        {"class_text": told | {"weight": 0.1}, **residual},
    ):
        assert taken(**changes) == 0, changes
    assert taken(class_text=told, **residual) == 2


def test_an_image_only_head_is_shared_and_an_encoder_that_the_run_trains_has_heads_of_its_own(run: Any, tmp_path: Path) -> None:
    run("first", case="linear", text={"source": "none"})
    assert len(run("again", case="linear", text={"source": "none"}, loss={"temperature": 3.0})[1]) == 2
    before = sorted((tmp_path / "cache" / "heads").iterdir())
    run("trained", teacher={"image_encoder": "train", "folds": 0, "calibrate": False})
    assert sorted((tmp_path / "cache" / "heads").iterdir()) == before


def test_a_damaged_head_is_taught_again(run: Any, tmp_path: Path) -> None:
    first, _ = run("first")
    for file in (tmp_path / "cache" / "heads").glob("*/head.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
    again, said = run("again")
    assert said == []
    assert same_weights(first, again)
    assert len(run("third")[1]) == 2


def test_a_cache_that_cannot_be_written_is_read_and_stops_no_run(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("first")
    heads = sorted((tmp_path / "cache" / "heads").iterdir())
    monkeypatch.setattr("picturebook.recipes.shared_heads.os.access", lambda path, mode: False)
    assert len(run("again")[1]) == 2
    assert run("other", teacher={"train": {"learning_rate": 2e-3}})[1] == []
    assert sorted((tmp_path / "cache" / "heads").iterdir()) == heads


def test_a_full_disk_keeps_no_heads_and_stops_no_run(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise RunError("no space left")

    monkeypatch.setattr("picturebook.recipes.shared_heads.write_tensors", full)
    assert run("first")[0].finished
    assert not list((tmp_path / "cache" / "heads").glob("*/head.safetensors"))


@pytest.mark.parametrize(("key", "kept"), [(None, 1), ("of another version", 0)], ids=["the same", "another"])
def test_an_interrupted_head_is_kept_if_it_was_begun_under_its_key(
    recipe_options: Make, frozen_encoder: str, tmp_path: Path, key: str | None, kept: int
) -> None:
    teacher = {"image_encoder": frozen_encoder, "train": {"epochs": 4, "batch_size": 8}}
    options = recipe_options("own", tmp_path / "run", teacher=teacher, cache=str(tmp_path / "cache"))
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting("training head", 10))
    if key is not None:
        (RunFolder(tmp_path / "run").stages / "head" / "cache_key").write_text(key)
    assert run_recipe(options, resume=True).finished
    assert len(list((tmp_path / "cache" / "heads").glob("*/head.safetensors"))) == kept
