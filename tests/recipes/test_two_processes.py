"""Two processes = one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from interrupting import Interrupting, PowerCutError
from picturebook.config import RECIPES, dump_options, load_options, run_recipe
from picturebook.errors import PicturebookError
from picturebook.objectives.soft_targets import Supervised, SupervisedOptions
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import VIT, frozen, make_stages, merged
from two_processes import join_two, run_in_two

Make = Callable[..., Any]

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
    # Classes are correlated over the pictures of both processes.
    "correlations": ("born_again", {"student": VIT, "train": UNEVEN, "loss": {"divergence": "dist"}}),
    "class texts": (
        "own",
        {
            "train": SGD,
            "teacher": {"train": UNEVEN, "head": {"dropout": 0.0, "residual": True}},
            "class_text": {"source": "classes"},
        },
    ),
    "noisy student": (
        "noisy_student",
        {"student": merged(VIT, {"dropout": 0.0, "stochastic_depth": 0.0}), "train": UNEVEN, "iterations": 2},
    ),
    # Its first teacher is trained as a supervised student is; some pictures have no label, and these are not shared out evenly.
    "soft targets": (
        "born_again",
        {
            "student": VIT,
            "train": UNEVEN | {"accumulate": 2, "average": 0.7},
            "loss": {"distilled": "both", "label_weight": 0.4, "temperature": 2.0},
        },
    ),
    "classifier": ("classifier", {"student": VIT, "train": UNEVEN, "loss": {"divergence": "dkd"}}),
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

IN_PARTS = ("siglip", "dino", "chosen", "head")
"""Cases that are trained in parts too: with a text encoder, an averaged network, the best weights kept, stored tokens."""


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
        if name in IN_PARTS:
            parts = two.model_copy(update={"out": f"{two.out}-parts", "strategy": "fsdp"})
            runs[f"{name}, in parts"] = (runs[name][0], RunFolder(Path(parts.out)))
            files.append(written(f"{name}-parts", parts))
    # Shares of 9 and 8 in 4 parts: a process with fewer parts than the other would wait for it for ever.
    parts = {**SGD, "batch_size": 17, "accumulate": 4, "epochs": 1}
    gathering = recipe_options("born_again", root / "gathering", student=VIT, train=parts, loss={"divergence": "dist"})
    files.append(written("gathering", gathering))
    resumed = recipe_options("supervised", root / "begun", train=SGD)
    with pytest.raises(PowerCutError):
        run_recipe(resumed, reporter=Interrupting("training student", 4))
    small = recipe_options("supervised", root / "small", train={"batch_size": 7})
    taken = recipe_options("supervised", runs["head"][0].path)
    refused = [written("resumed", resumed), written("small", small), written("taken", taken)]
    run_in_two(work, root, files, refused, written("buffers", recipe_options("supervised", root / "buffers", train=SGD)))
    return Parallel(root, runs)


def test_every_recipe_is_among_them(recipe_settings: Make, tmp_path: Path) -> None:
    assert {recipe_settings(case, tmp_path)["recipe"] for case, _ in PARALLEL.values()} == RECIPES.keys()


@pytest.mark.parametrize("name", [*PARALLEL, *(f"{name}, in parts" for name in IN_PARTS)])
def test_two_processes_equal_one(parallel: Parallel, name: str) -> None:
    one, two = parallel.runs[name]
    assert two.finished
    machine = read_json(two.provenance)["machine"]
    assert (machine["processes"], machine["in_parts"]) == (2, name.endswith("in parts"))
    expected, found = (load_file(run.student / "model.safetensors") for run in (one, two))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
    for ours, theirs in zip(two.read_metrics(), one.read_metrics(), strict=True):
        assert ours.keys() == theirs.keys()
        assert (ours["stage"], ours["step"]) == (theirs["stage"], theirs["step"])
        for term in ours.keys() - {"stage", "images_per_second", "val_accuracy"}:
            assert ours[term] == pytest.approx(theirs[term], rel=1e-4, abs=1e-6), term


def test_uneven_shares_go_in_as_many_parts(parallel: Parallel) -> None:
    assert RunFolder(parallel.root / "gathering").finished


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
