"""Two of the three equalities: resumed = straight, two processes = one. The third is in test_stored_targets.py."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from picturebook.config import dump_options, load_options, run_recipe
from picturebook.errors import PicturebookError
from picturebook.objectives.soft_targets import Supervised, SupervisedOptions
from picturebook.runs import RunFolder, read_json, write_json
from picturebook.types import Progress, Silence
from toy_runs import RESNET, VIT, make_stages, merged
from two_processes import join_two, run_in_two

Make = Callable[..., Any]

# ---- resumed = straight -------------------------------------------------------------------------------------------------

DROPPING_VIT = merged(VIT, {"model_args": {**VIT["model_args"], "drop_path_rate": 0.2, "proj_drop_rate": 0.1}})
DROPPING_RESNET = merged(RESNET, {"model_args": {**RESNET["model_args"], "drop_path_rate": 0.2, "drop_rate": 0.2}})

DROPPED_VIT = merged(VIT, {"dropout": 0.1, "stochastic_depth": 0.2})

RESUMED: dict[str, dict[str, Any]] = {
    "align": {"student": DROPPING_VIT, "pretrain": {"epochs": 3}},
    "coca": {"student": DROPPING_VIT, "pretrain": {"epochs": 3}},
    "dino": {"student": DROPPING_RESNET, "pretrain": {"epochs": 3}},
    "supervised": {"student": DROPPING_RESNET, "train": {"epochs": 4}},
    "chosen": {
        "student": DROPPING_RESNET,
        "train": {"epochs": 5, "keep": "best", "validations": 5, "sampling": "balanced"},
        "loss": {"class_weights": "balanced"},
    },
    "be_your_own_teacher": {"student": DROPPING_RESNET, "train": {"epochs": 3}, "early_exit": 2},
    "born_again": {"student": DROPPING_RESNET, "train": {"epochs": 3}, "loss": {"distilled": "both", "label_weight": 0.3}},
    "noisy_student": {"student": DROPPED_VIT, "train": {"epochs": 3}, "iterations": 2},
    # More views than stored tokens, so that labelling goes through the encoder.
    "own": {"student": DROPPING_VIT, "train": {"epochs": 3}, "teacher": {"token_views": 1, "train": {"epochs": 3}}},
    "folded": {
        "teacher": {"image_encoder": "FROZEN", "folds": 2, "calibrate": True, "partner": "linear", "train": {"epochs": 3}},
        "loss": {"divergence": "dkd", "permute_non_targets": True},
    },
    # Every view's tokens are stored, so that labelling needs no encoder; it is the run that other tests look at.
    "learned": {},
}


class PowerCutError(Exception):
    """Not one of ours."""


class Interrupting(Silence):
    """Raises at the n-th call of one stage's progress."""

    def __init__(self, stage: str, calls: int) -> None:
        self._stage, self._calls = stage, calls

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        return self._watched() if name == self._stage else super().stage(name)

    @contextmanager
    def _watched(self) -> Iterator[Progress]:
        def progress(done: int, total: int) -> None:
            self._calls -= 1
            if self._calls == 0:
                raise PowerCutError

        yield progress


def frozen(changes: dict[str, Any], encoder: str) -> dict[str, Any]:
    """The changes with the encoder that no toy picture has taught in its place."""
    teacher = changes.get("teacher", {})
    return {**changes, "teacher": {**teacher, "image_encoder": encoder}} if "image_encoder" in teacher else changes


def resumable(recipe_options: Make, encoder: str, case: str, out: Path, cache: Path) -> Any:
    name = {"folded": "own", "chosen": "supervised"}.get(case, case)
    return recipe_options(name, out, cache=str(cache), **frozen(RESUMED[case], encoder))


@pytest.fixture(scope="module")
def straight(recipe_options: Make, frozen_encoder: str, finished_run: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    root = tmp_path_factory.mktemp("straight")
    runs: dict[str, RunFolder] = {}

    def run(case: str) -> RunFolder:
        if case not in runs and not RESUMED[case]:
            runs[case] = finished_run(case)
        elif case not in runs:
            runs[case] = run_recipe(resumable(recipe_options, frozen_encoder, case, root / case, root / f"{case} cache"))
        return runs[case]

    return run


def without_clocks(run: RunFolder) -> tuple[Any, Any]:
    lines = [{name: value for name, value in line.items() if name != "images_per_second"} for line in run.read_metrics()]
    return lines, {name: value for name, value in read_json(run.results).items() if name != "seconds"}


@pytest.mark.parametrize(
    ("case", "stage", "calls"),
    [
        ("supervised", "training student", 6),
        ("chosen", "training student", 9),
        ("be_your_own_teacher", "training student", 5),
        ("born_again", "training student", 5),
        ("align", "training pretrain", 5),
        ("coca", "training pretrain", 5),
        ("dino", "training pretrain", 5),
        ("noisy_student", "training student", 5),
        ("learned", "labelling targets", 1),
        ("folded", "training partner-fold-1", 3),
        ("folded", "auditing the teacher", 2),
    ],
)
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(
    recipe_options: Make, frozen_encoder: str, straight: Make, tmp_path: Path, case: str, stage: str, calls: int
) -> None:
    options = resumable(recipe_options, frozen_encoder, case, tmp_path / "run", tmp_path / "cache")
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting(stage, calls))
    torch.manual_seed(99)  # a new process has another generator
    resumed = run_recipe(options, resume=True)
    expected = straight(case)
    assert (resumed.student / "model.safetensors").read_bytes() == (expected.student / "model.safetensors").read_bytes()
    assert without_clocks(resumed) == without_clocks(expected)
    assert not (resumed.path / "stages").exists()


@pytest.mark.parametrize("case", ["bank", "classifier", "clip", "linear", "siglip"])  # the other recipes are those above
def test_two_runs_of_one_toml_are_the_same_bit_for_bit(finished_run: Make, tmp_path: Path, case: str) -> None:
    first = finished_run(case)
    torch.manual_seed(99)
    again = run_recipe(load_options(first.settings, [f"out={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}"]))
    for name in ("student/model.safetensors", "predictions.npz", "train_ids.npy"):
        assert (again.path / name).read_bytes() == (first.path / name).read_bytes(), name
    assert without_clocks(again) == without_clocks(first)


def test_an_interruption_at_every_stage_in_turn_changes_nothing(recipe_options: Make, straight: Make, tmp_path: Path) -> None:
    options = recipe_options("own", tmp_path / "run", cache=str(tmp_path / "cache"), **RESUMED["own"])
    stages = (
        "decoding pictures",
        "training encoder",
        "encoding pictures",
        "training head",
        "labelling targets",
        "training student",
    )
    for number, stage in enumerate(stages):
        with pytest.raises(PowerCutError):
            run_recipe(options, resume=number > 0, reporter=Interrupting(stage, 4 if "training" in stage else 1))
    resumed = run_recipe(options, resume=True)
    assert (resumed.student / "model.safetensors").read_bytes() == (straight("own").student / "model.safetensors").read_bytes()
    assert without_clocks(resumed) == without_clocks(straight("own"))


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_tries(recipe_options: Make, straight: Make, tmp_path: Path) -> None:
    options = recipe_options("supervised", tmp_path / "run", cache=str(tmp_path / "cache"), **RESUMED["supervised"])
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting("evaluating student on test", 1))
    file = RunFolder(tmp_path / "run").stages / "seconds.json"
    first = read_json(file)
    assert first["decode"] > 0
    assert first["student"] > 0
    write_json(file, {**first, "student": 1000.0, "decode": 500.0})
    run = run_recipe(options, resume=True)
    for seconds in (read_json(run.results)["seconds"], read_json(run.provenance)["seconds"]):
        assert 1000 <= seconds["student"] < 1000 + first["student"]  # its state was loaded, not trained again
        assert seconds["decode"] >= 500
    assert without_clocks(run) == without_clocks(straight("supervised"))


def test_the_seconds_of_the_stage_that_was_cut_off_count_too(recipe_options: Make, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        run_recipe(recipe_options("supervised", tmp_path / "run"), reporter=Interrupting("training student", 4))
    assert read_json(RunFolder(tmp_path / "run").stages / "seconds.json")["student"] > 0


# ---- two processes = one ------------------------------------------------------------------------------------------------

# Batches of 15 are shared out as 8 + 7. With 3 epochs of 21, 33 or 39 samples in batches of 18, 9 are left at the end: 5 + 4.
# Plain SGD, since Adam blows rounding up where a gradient is 0, as at the bias of keys; no dropout, since each process drops
# by itself.
SGD = {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 15, "epochs": 2}
UNEVEN = {**SGD, "batch_size": 18, "epochs": 3}
PARALLEL: dict[str, tuple[str, dict[str, Any]]] = {
    "siglip": ("siglip", {"train": SGD, "pretrain": UNEVEN}),
    "align": ("align", {"train": SGD, "pretrain": UNEVEN}),
    "clip": ("clip", {"train": SGD, "pretrain": UNEVEN}),
    "coca": ("coca", {"train": SGD, "pretrain": UNEVEN}),
    "chosen": (
        "supervised",
        {
            "student": VIT,
            "train": UNEVEN | {"keep": "best", "validations": 3, "sampling": "balanced"},
            "loss": {"class_weights": "balanced"},
            "track": ["tensorboard"],
        },
    ),
    # Its centre and its signs of collapse are means over both processes.
    "dino": ("dino", {"student": VIT, "train": SGD, "pretrain": UNEVEN, "loss": {"frozen_prototypes": 0.3, "momentum": 0.9}}),
    "exits": ("be_your_own_teacher", {"student": VIT, "train": UNEVEN, "loss": {"distillation_weight": 0.4}, "early_exit": 1}),
    # The weights of confidences are normalised over both processes.
    "confidence-weighted": ("born_again", {"student": VIT, "train": UNEVEN, "loss": {"divergence": "cwtm"}}),
    "noisy student": (
        "noisy_student",
        {"student": merged(VIT, {"dropout": 0.0, "stochastic_depth": 0.0}), "train": UNEVEN, "iterations": 2},
    ),
    # Its first teacher is trained as a supervised student is; some pictures have no label, and these are not shared out evenly.
    "soft targets": (
        "born_again",
        {"student": VIT, "train": UNEVEN, "loss": {"distilled": "both", "label_weight": 0.4, "temperature": 2.0}},
    ),
    "folded": (
        "own",
        {
            "train": SGD,
            "teacher": {
                "image_encoder": "FROZEN",
                "folds": 2,
                "calibrate": True,
                "train": UNEVEN,
                "head": {"dropout": 0.0},
            },
        },
    ),
    "head": ("learned", {"train": SGD, "teacher": {"train": UNEVEN, "head": {"dropout": 0.0}}}),
}


def work(rank: int, port: int, root: Path, runs: list[Path], refused: list[Path], buffers: Path) -> None:
    """One of two processes: runs, one after another, then runs that are refused, then a student with batch statistics."""
    join_two(rank, port)
    for file in runs:
        run_recipe(load_options(file))
    for file in refused:
        with pytest.raises(PicturebookError) as refusal:
            run_recipe(load_options(file), resume=file.stem == "resumed")
        file.with_suffix(f".{rank}").write_text(f"{type(refusal.value).__name__}: {refusal.value}")
    stages = make_stages(load_options(buffers))
    student = stages.new_student()
    stages.train("student", Supervised(student, SupervisedOptions()), rows=stages.labelled_rows)
    torch.save(student.state_dict(), root / f"student-{rank}.pt")
    torch.distributed.destroy_process_group()


@dataclass(frozen=True)
class Parallel:
    """What one process and two made of the same settings."""

    root: Path
    runs: dict[str, tuple[RunFolder, RunFolder]]

    def refusals(self, name: str) -> set[str]:
        return {(self.root / f"{name}.{rank}").read_text() for rank in (0, 1)}


@pytest.fixture(scope="module")
def parallel(
    recipe_options: Make, frozen_encoder: str, unlabelled_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Parallel:
    """Starting processes is slow, so all cases share two."""
    root = tmp_path_factory.mktemp("parallel")

    def written(name: str, options: Any) -> Path:
        (root / f"{name}.toml").write_text(dump_options(options))
        return root / f"{name}.toml"

    runs, files = {}, []
    for name, (case, changes) in PARALLEL.items():
        data = {"data": {"root": str(unlabelled_data)}} if name in ("soft targets", "confidence-weighted", "chosen") else {}
        one, two = (
            recipe_options(
                case, root / f"{name}-{count}", cache=str(root / f"cache-{count}"), **frozen(changes, frozen_encoder), **data
            )
            for count in (1, 2)
        )
        runs[name] = (run_recipe(one), RunFolder(Path(two.out)))
        files.append(written(name, two))
    resumed = recipe_options("supervised", root / "begun", train=SGD)
    with pytest.raises(PowerCutError):
        run_recipe(resumed, reporter=Interrupting("training student", 4))
    small = recipe_options("supervised", root / "small", train={"batch_size": 7})
    taken = recipe_options("supervised", runs["head"][0].path)
    refused = [written("resumed", resumed), written("small", small), written("taken", taken)]
    run_in_two(work, root, files, refused, written("buffers", recipe_options("supervised", root / "buffers", train=SGD)))
    return Parallel(root, runs)


@pytest.mark.parametrize("name", PARALLEL)
def test_two_processes_equal_one(parallel: Parallel, name: str) -> None:
    one, two = parallel.runs[name]
    assert two.finished
    assert read_json(two.provenance)["machine"]["processes"] == 2
    expected, found = (load_file(run.student / "model.safetensors") for run in (one, two))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
    for ours, theirs in zip(two.read_metrics(), one.read_metrics(), strict=True):
        assert ours.keys() == theirs.keys()
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        for term in ours.keys() - {"stage", "images_per_second", "val_accuracy"}:
            assert ours[term] == pytest.approx(theirs[term], rel=1e-4, abs=1e-6), term


def test_after_a_training_both_processes_hold_the_same_batch_statistics(parallel: Parallel) -> None:
    first, second = (torch.load(parallel.root / f"student-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert [name for name in first if "running_mean" in name]
    for name, value in first.items():
        assert torch.equal(second[name], value), name


def test_of_two_processes_the_first_one_speaks_to_trackers(parallel: Parallel) -> None:
    counts = [len(list(run.tracking.rglob("events.out.*"))) for run in parallel.runs["chosen"]]
    assert counts[0] == counts[1] > 0


def test_a_run_of_one_process_does_not_go_on_in_two(parallel: Parallel) -> None:
    (sentence,) = parallel.refusals("resumed")
    assert sentence.startswith("TrainingError: Stage student was started with 1 processes, now there are 2")
    folder = RunFolder(parallel.root / "begun")
    assert [path.name for path in folder.stage("student").glob("state-*")] == ["state-000000003"]


def test_what_is_refused_is_refused_in_both_processes(parallel: Parallel) -> None:
    (sentence,) = parallel.refusals("small")
    assert sentence.startswith("OptionError: train.batch_size: need at least 8 for 2 processes")
    assert not (parallel.root / "small").exists()
    (sentence,) = parallel.refusals("taken")
    assert sentence.startswith("RunError: ")
    assert "exists already" in sentence
