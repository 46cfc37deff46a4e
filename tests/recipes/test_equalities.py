"""Three equalities: resumed = straight, two processes = one, stored targets = live teacher."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing

from conftest import RESNET, VIT, make_stages, merged
from picturebook.config import dump_options, load_options, run_recipe
from picturebook.data.loaders import TrainingBatches
from picturebook.errors import StoreError
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets
from picturebook.recipes.head_teacher import HeadParts, encode_pictures, label_with_head
from picturebook.runs import RunFolder, read_json
from picturebook.teachers import ClassifierTeacher, HeadTeacher, TextTable
from picturebook.types import Progress, Silence

Make = Callable[..., Any]

# ---- resumed = straight -------------------------------------------------------------------------------------------------

DROPPING_VIT = merged(VIT, {"model_args": {**VIT["model_args"], "drop_path_rate": 0.2, "proj_drop_rate": 0.1}})
DROPPING_RESNET = merged(RESNET, {"model_args": {**RESNET["model_args"], "drop_path_rate": 0.2, "drop_rate": 0.2}})

RESUMED: dict[str, dict[str, Any]] = {
    "supervised": {"student": DROPPING_RESNET, "train": {"epochs": 4}},
    "born_again": {"student": DROPPING_RESNET, "train": {"epochs": 4}, "loss": {"distilled": "both", "label_weight": 0.3}},
    # More views than stored tokens, so that labelling goes through the encoder.
    "own": {"student": DROPPING_VIT, "train": {"epochs": 5}, "teacher": {"train": {"epochs": 4}}},
    # Every view's tokens are stored, so that labelling needs no encoder.
    "learned": {"student": DROPPING_VIT, "train": {"epochs": 4}, "teacher": {"train": {"epochs": 4}}},
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


@pytest.fixture(scope="module")
def straight(recipe_options: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    root = tmp_path_factory.mktemp("straight")
    runs: dict[str, RunFolder] = {}

    def run(case: str) -> RunFolder:
        if case not in runs:
            runs[case] = run_recipe(recipe_options(case, root / case, cache=str(root / f"{case} cache"), **RESUMED[case]))
        return runs[case]

    return run


def without_clocks(run: RunFolder) -> tuple[Any, Any]:
    lines = [{name: value for name, value in line.items() if name != "images_per_second"} for line in run.read_metrics()]
    return lines, {name: value for name, value in read_json(run.results).items() if name != "seconds"}


@pytest.mark.parametrize(
    ("case", "stage", "calls"),
    [
        ("supervised", "training student", 1),
        ("supervised", "training student", 6),
        ("supervised", "evaluating student on test", 1),
        ("born_again", "training encoder", 5),
        ("born_again", "labelling targets-1", 1),
        ("born_again", "training student", 4),
        ("own", "decoding pictures", 1),
        ("own", "training encoder", 5),
        ("own", "encoding pictures", 1),
        ("own", "training head", 4),
        ("own", "labelling targets", 1),
        ("own", "training student", 7),
        ("learned", "labelling targets", 1),
        ("learned", "training student", 8),
    ],
)
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(
    recipe_options: Make, straight: Make, tmp_path: Path, case: str, stage: str, calls: int
) -> None:
    options = recipe_options(case, tmp_path / "run", cache=str(tmp_path / "cache"), **RESUMED[case])
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting(stage, calls))
    torch.manual_seed(99)  # a new process has another generator
    resumed = run_recipe(options, resume=True)
    expected = straight(case)
    assert (resumed.student / "model.safetensors").read_bytes() == (expected.student / "model.safetensors").read_bytes()
    assert without_clocks(resumed) == without_clocks(expected)
    assert not (resumed.path / "stages").exists()


def test_an_interruption_at_every_stage_in_turn_changes_nothing(recipe_options: Make, straight: Make, tmp_path: Path) -> None:
    options = recipe_options("own", tmp_path / "run", cache=str(tmp_path / "cache"), **RESUMED["own"])
    stages = ("training encoder", "encoding pictures", "training head", "labelling targets", "training student")
    for number, stage in enumerate(stages):
        with pytest.raises(PowerCutError):
            run_recipe(options, resume=number > 0, reporter=Interrupting(stage, 1))
    resumed = run_recipe(options, resume=True)
    assert (resumed.student / "model.safetensors").read_bytes() == (straight("own").student / "model.safetensors").read_bytes()
    assert without_clocks(resumed) == without_clocks(straight("own"))


# ---- two processes = one ------------------------------------------------------------------------------------------------

# 33 samples 3 times in batches of 15: 6 full ones (8 + 7), and 9 at the end (5 + 4). Plain SGD, since Adam blows rounding
# up where a gradient is 0, as at the bias of keys; no dropout, since each process drops by itself.
SGD = {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 15, "epochs": 3}
PARALLEL: dict[str, tuple[str, dict[str, Any]]] = {
    "supervised": ("supervised", {"student": VIT, "train": SGD}),
    "soft targets": (
        "born_again",
        {"student": VIT, "train": SGD, "loss": {"distilled": "both", "label_weight": 0.4, "temperature": 2.0}},
    ),
    "head": ("learned", {"train": SGD, "teacher": {"train": SGD, "head": {"dropout": 0.0}}}),
    "unlabelled": ("born_again", {"student": VIT, "train": SGD, "loss": {"label_weight": 0.5}}),
    # With batch statistics the weights may differ, but it has to run.
    "batch statistics": ("born_again", {"train": SGD}),
    "batch statistics under a head": ("learned", {"student": RESNET, "train": SGD, "teacher": {"train": SGD}}),
}


def work(rank: int, port: int, files: list[str]) -> None:
    """One of two processes: the runs, one after another."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    for file in files:
        run_recipe(load_options(Path(file)))
    torch.distributed.destroy_process_group()


def run_in_two(files: list[Path]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    multiprocessing.spawn(work, (port, [str(file) for file in files]), nprocs=2)


@pytest.fixture(scope="module")
def parallel(
    recipe_options: Make, unlabelled_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[RunFolder, RunFolder]]:
    """Case → the runs of one process and of two; starting processes is slow, so all cases share them."""
    root = tmp_path_factory.mktemp("parallel")
    pairs, files = {}, []
    for number, (name, (case, changes)) in enumerate(PARALLEL.items()):
        data = {"data": {"root": str(unlabelled_data)}} if name == "unlabelled" else {}
        one, two = (
            recipe_options(case, root / f"{number}-{count}", cache=str(root / f"cache-{count}"), **changes, **data)
            for count in (1, 2)
        )
        files.append(root / f"{number}.toml")
        files[-1].write_text(dump_options(two))
        pairs[name] = (run_recipe(one), RunFolder(Path(two.out)))
    left = files
    while left:  # a run that fails takes both processes down: the others still get their turn
        try:
            run_in_two(left)
        except multiprocessing.ProcessRaisedException as error:
            failed = next(number for number, file in enumerate(left) if not (root / f"{file.stem}-2" / "results.json").is_file())
            (root / f"{left[failed].stem}.txt").write_text(str(error))
            left = left[failed + 1 :]
        else:
            left = []
    return pairs


@pytest.mark.parametrize("name", [name for name in PARALLEL if not name.startswith("batch statistics")])
def test_two_processes_equal_one(parallel: dict[str, tuple[RunFolder, RunFolder]], name: str) -> None:
    one, two = parallel[name]
    assert two.finished
    assert read_json(two.provenance)["machine"]["processes"] == 2
    expected, found = (load_file(run.student / "model.safetensors") for run in (one, two))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
    for ours, theirs in zip(two.read_metrics(), one.read_metrics(), strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


@pytest.mark.parametrize("name", [name for name in PARALLEL if name.startswith("batch statistics")])
def test_two_processes_train_models_with_batch_statistics_to_the_end(
    parallel: dict[str, tuple[RunFolder, RunFolder]], name: str
) -> None:
    _, two = parallel[name]
    report = two.path.with_name(two.path.name.removesuffix("-2") + ".txt")
    assert not report.is_file(), report.read_text()[-800:]
    assert two.finished


# ---- stored targets = live teacher --------------------------------------------------------------------------------------


def training_batches(stages: Any) -> TrainingBatches:
    options = stages.options.train
    return TrainingBatches(
        stages.maker,
        stages.train_rows,
        batch_size=options.batch_size,
        epochs=options.epochs,
        num_views=options.distinct_views,
        seed=stages.options.seed,
    )


def test_what_was_stored_is_what_the_teacher_says_of_every_training_view(recipe_options: Make, tmp_path: Path) -> None:
    stages = make_stages(recipe_options("supervised", tmp_path / "run"))
    teacher = ClassifierTeacher(stages.new_student("encoder"))
    stored = stages.label("targets", teacher, fingerprint={"teacher": "t"}, representation_width=8)
    batches = training_batches(stages)
    for step in range(batches.num_steps):
        live, kept = teacher(batches.at(step)), stored(batches.at(step))
        torch.testing.assert_close(kept.logits, live.logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(kept.representation, live.representation, rtol=1e-3, atol=1e-3)


def test_a_student_of_stored_targets_is_a_student_of_the_live_teacher(recipe_options: Make, tmp_path: Path) -> None:
    students = []
    for name in ("live", "stored"):
        stages = make_stages(recipe_options("supervised", tmp_path / name, student=VIT, train=SGD))
        live = ClassifierTeacher(stages.new_student("encoder"))
        teacher = live if name == "live" else stages.label("targets", live, fingerprint={"teacher": "t"})
        student = stages.new_student()
        stages.train(
            "student", SoftTargets(student, teacher, SoftTargetOptions(), representation_width=None), rows=stages.train_rows
        )
        students.append(student)
    for (key, live_value), stored_value in zip(students[0].state_dict().items(), students[1].state_dict().values(), strict=True):
        torch.testing.assert_close(stored_value, live_value, rtol=1e-2, atol=1e-3, msg=lambda text, key=key: f"{key}: {text}")


def test_labelling_on_tokens_equals_labelling_through_the_encoder(recipe_options: Make, tmp_path: Path) -> None:
    stages = make_stages(recipe_options("learned", tmp_path / "run"))
    encoder, tokens = encode_pictures(stages, stages.options.teacher)  # type: ignore[attr-defined]
    ids = stages.pictures.ids
    texts = TextTable(ids, torch.randn(len(ids), 6, generator=torch.Generator().manual_seed(0)))
    options = HeadOptions(mode="own", width=16, num_heads=2)
    head = build_head(options, token_width=32, num_tokens=16, text_width=6, num_classes=3, seed=0)
    parts = HeadParts(encoder, tokens, texts, {"encoder": weights_fingerprint(encoder)})
    on_tokens = label_with_head(stages, head, parts, representation_width=16)
    teacher = HeadTeacher(encoder, head, texts=texts)
    through = stages.label("through", teacher, fingerprint={"teacher": "t"}, representation_width=16)
    batches = training_batches(stages)
    for step in range(batches.num_steps):
        batch = batches.at(step)
        torch.testing.assert_close(on_tokens(batch).logits, through(batch).logits, rtol=1e-2, atol=5e-3)
        torch.testing.assert_close(on_tokens(batch).representation, through(batch).representation, rtol=1e-2, atol=5e-3)


def test_stored_targets_of_something_else_are_refused_by_name(recipe_options: Make, tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "teacher": {},
        "views": {"views": {"flip": 0.0}},
        "view seed": {"seed": 1},
        "data": {"data": {"split": {"seed": 3}}},
    }
    options = recipe_options("supervised", tmp_path / "run")
    stages = make_stages(options)
    teacher = ClassifierTeacher(stages.new_student("encoder"))
    stages.label("targets", teacher, fingerprint={"teacher": "first"})
    for field, changes in settings.items():
        other = make_stages(recipe_options("supervised", tmp_path / "run", **changes))
        name = "second" if field == "teacher" else "first"
        with pytest.raises(StoreError, match=f"its {field} is "):
            other.label("targets", teacher, fingerprint={"teacher": name})
    again = stages.label("targets", teacher, fingerprint={"teacher": "first"})
    assert again(training_batches(stages).at(0)).logits.shape == (16, 3)
