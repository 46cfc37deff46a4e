"""Runs on shards, and stores that two processes fill: both equal what one process makes, the stores bit for bit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from interrupting import PowerCutError
from picturebook.config import dump_options, load_options, run_recipe
from picturebook.recipes.tokens import encode_pictures
from picturebook.runs import RunFolder
from picturebook.stores.sharing import CHUNK
from picturebook.stores.targets import TargetWriter
from picturebook.teachers import ClassifierTeacher
from picturebook.types import Batch, Targets
from picturebook.writing import read_json
from toy_runs import VIT, make_stages, merged
from toy_shards import shard_toy_data
from two_processes import join_two, run_in_two

Make = Callable[..., Any]

# Plain SGD, as in test_two_processes.py. Targets of 33 pictures in 9 views are 297 records: 3 chunks, shared out as 2 + 1.
TRAIN = {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 15, "epochs": 9}
HEAD = {"teacher": {"train": {**TRAIN, "epochs": 2}, "head": {"dropout": 0.0}, "image_encoder": "FROZEN"}}


def label(options: Any, *, batches: int | None = None) -> Path:
    """Store targets by a fixed teacher, or leave after some batches of this process; gives the folder of the stores."""
    stages = make_stages(options)
    student = stages.new_student("encoder").eval()
    answered = 0

    def teacher(batch: Batch) -> Targets:
        nonlocal answered
        answered += 1
        if batches is not None and answered > batches:
            raise PowerCutError
        return ClassifierTeacher(student)(batch)

    stages.label("targets", teacher, fingerprint={"teacher": "t"}, representation_width=32)
    return stages.folder.stage("targets")


def encode(options: Any) -> None:
    encode_pictures(make_stages(options), options.teacher)


def label_in_two(rank: int, port: int, run: Path, labels: Path, tokens: Path) -> None:
    join_two(rank, port)
    run_recipe(load_options(run))
    label(load_options(labels))
    encode(load_options(tokens))
    torch.distributed.destroy_process_group()


def stored(folder: Path) -> dict[str, bytes]:
    """A store's files by name, but for the seconds that it took."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "cost.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Made:
    """What one process and two made of the same settings and shards."""

    runs: tuple[RunFolder, RunFolder]
    targets: tuple[dict[str, bytes], dict[str, bytes]]
    tokens: tuple[dict[str, bytes], dict[str, bytes]]


@pytest.fixture(scope="module")
def shards(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shard_toy_data(toy_data, tmp_path_factory.mktemp("shards") / "data", kind="tar")


@pytest.fixture(scope="module")
def options(recipe_options: Make, frozen_encoder: str, shards: Path) -> Make:
    def make(case: str, root: Path, count: int, **changes: Any) -> Any:
        data = {"root": f"{shards}/*.tar", "split": {"by": "group"}}
        settings = merged({"student": VIT, "train": TRAIN, "data": data}, changes)
        if case == "learned":
            settings = merged(settings, merged(HEAD, {"teacher": {"image_encoder": frozen_encoder}}))
        return recipe_options(case, root / f"run-{count}", cache=str(root / f"cache-{count}"), **settings)

    return make


@pytest.fixture(scope="module")
def made(options: Make, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("two")
    files: dict[str, list[Any]] = {}
    for name, case in (("run", "learned"), ("labels", "supervised"), ("tokens", "learned")):
        files[name] = [options(case, root / name, count) for count in (1, 2)]
        (root / f"{name}.toml").write_text(dump_options(files[name][1]))
    one = run_recipe(files["run"][0])
    label(files["labels"][0])
    encode(files["tokens"][0])
    run_in_two(label_in_two, *(root / f"{name}.toml" for name in files))
    targets = tuple(stored(RunFolder(root / "labels" / f"run-{count}").stage("targets")) for count in (1, 2))
    tokens = tuple(stored(root / "tokens" / f"cache-{count}" / "tokens") for count in (1, 2))
    return Made((one, RunFolder(root / "run" / "run-2")), targets, tokens)


def test_two_processes_equal_one_on_shards(made: Made) -> None:
    one, two = made.runs
    assert read_json(two.provenance)["machine"]["processes"] == 2
    expected, found = (load_file(run.student / "model.safetensors") for run in (one, two))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
    for ours, theirs in zip(two.read_metrics(), one.read_metrics(), strict=True):
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4, abs=1e-6)


def test_targets_of_two_processes_are_those_of_one_bit_for_bit(made: Made) -> None:
    one, two = made.targets
    assert sorted(one) == [
        f"{part}/{name}" for part in ("logits", "representation") for name in ("header.json", "ids.npy", "values.npy")
    ]
    assert two == one


def test_tokens_of_two_processes_are_those_of_one_bit_for_bit(made: Made) -> None:
    one, two = made.tokens
    assert sum(name.endswith("values.npy") for name in one) == 1
    assert two == one


def test_a_labelling_that_is_cut_off_and_goes_on_is_that_of_one_try_bit_for_bit(
    options: Make, made: Made, tmp_path: Path
) -> None:
    run = options("supervised", tmp_path, 1)
    with pytest.raises(PowerCutError):
        label(run, batches=1)
    assert stored(label(run)) == made.targets[0]


def test_the_work_of_two_processes_is_shared_out(
    options: Make, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []
    real = TargetWriter.missing

    def missing(self: TargetWriter) -> Any:
        found = real(self)
        numbers.append(len(found[0]))
        return found

    monkeypatch.setattr(TargetWriter, "missing", missing)
    monkeypatch.setattr(TargetWriter, "take", lambda self, share, real=TargetWriter.take: real(self, (1, 2)))
    with pytest.raises(Exception, match="is incomplete"):  # since the other process's part is not there
        label(options("supervised", tmp_path, 1))
    assert len(numbers) == 1
    assert 0 < numbers[0] <= CHUNK  # of three chunks this process has the last
