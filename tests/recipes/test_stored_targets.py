"""Stored targets = live teacher."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from picturebook.caching import list_cache
from picturebook.config import run_recipe
from picturebook.data.loaders import TrainingBatches
from picturebook.data.multi_crop import MultiCropMaker, MultiCropOptions
from picturebook.data.text_table import TextTable
from picturebook.errors import OptionError, StoreError
from picturebook.models.head_ensembles import Experts, FoldedHead
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.objective import Loss, Objective
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets
from picturebook.recipes.distil import check
from picturebook.recipes.head_teacher import HeadParts, TrainedHead, label_with_heads, live_teacher
from picturebook.recipes.tokens import encode_pictures
from picturebook.teachers import ClassifierTeacher, FoldTable
from picturebook.types import Batch, Queries
from toy_runs import VIT, make_stages, merged

Make = Callable[..., Any]

# Plain SGD, since Adam blows rounding up where a gradient is 0, as at the bias of keys.
SGD = {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 15, "epochs": 2}


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


MIXED = {"mixup": 0.4, "cutmix": 0.4, "randaugment": 2}


@pytest.mark.parametrize("views", [{}, MIXED], ids=["plain", "mixed"])
def test_what_was_stored_is_what_the_teacher_says_of_every_training_view(
    recipe_options: Make, tmp_path: Path, views: dict[str, float]
) -> None:
    stages = make_stages(recipe_options("supervised", tmp_path / "run", views=views))
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
        stages.train("student", SoftTargets(student, teacher, SoftTargetOptions(), projector=None), rows=stages.train_rows)
        students.append(student)
    for (key, live_value), stored_value in zip(students[0].state_dict().items(), students[1].state_dict().values(), strict=True):
        torch.testing.assert_close(stored_value, live_value, rtol=1e-2, atol=1e-3, msg=lambda text, key=key: f"{key}: {text}")


def test_labelling_on_tokens_equals_labelling_through_the_encoder(recipe_options: Make, tmp_path: Path) -> None:
    stages = make_stages(recipe_options("learned", tmp_path / "run"))
    encoder, tokens = encode_pictures(stages, stages.options.teacher)
    ids = stages.pictures.ids
    vectors = torch.randn(len(ids), 1, 6, generator=torch.Generator().manual_seed(0))
    texts = TextTable(ids, Queries(vectors, torch.ones(len(ids), 1, dtype=torch.bool)))
    options = HeadOptions(mode="own", width=16, num_heads=2)
    heads = [build_head(options, token_width=32, num_tokens=16, text_width=6, num_classes=3, seed=seed) for seed in range(2)]
    numbers = np.arange(len(ids)) % 3 - 1  # two folds, and pictures of neither
    trained = TrainedHead(FoldedHead([Experts([head]) for head in heads]).eval(), FoldTable(ids, numbers))
    parts = HeadParts(encoder, tokens, texts, {"encoder": weights_fingerprint(encoder)})
    on_tokens = label_with_heads(stages, trained, parts, representation_width=16)
    through = stages.label("through", live_teacher(trained, parts), fingerprint={"teacher": "t"}, representation_width=16)
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
        "precision": {"precision": "bf16"},
    }
    options = recipe_options("supervised", tmp_path / "run", student=VIT)
    stages = make_stages(options)
    teacher = ClassifierTeacher(stages.new_student("encoder"))
    stages.label("targets", teacher, fingerprint={"teacher": "first"})
    for field, changes in settings.items():
        other = make_stages(recipe_options("supervised", tmp_path / "run", student=VIT, **changes))
        name = "second" if field == "teacher" else "first"
        with pytest.raises(StoreError, match=f"its {field} is "):
            other.label("targets", teacher, fingerprint={"teacher": name})
    other = make_stages(options)
    other.pictures = replace(other.pictures, classes=other.pictures.classes[::-1])
    with pytest.raises(StoreError, match="its classes is "):
        other.label("targets", teacher, fingerprint={"teacher": "first"})
    stages = make_stages(options)
    again = stages.label("targets", teacher, fingerprint={"teacher": "first"})
    assert again(training_batches(stages).at(0)).logits.shape == (16, 3)


def test_targets_of_views_mixed_with_other_pictures_are_refused(recipe_options: Make, tmp_path: Path) -> None:
    stages = make_stages(recipe_options("supervised", tmp_path / "run", student=VIT, views=MIXED))
    plain = make_stages(recipe_options("supervised", tmp_path / "run", student=VIT))
    assert "partners" not in plain.view_fingerprint()
    teacher = ClassifierTeacher(stages.new_student("encoder"))
    stages.label("targets", teacher, fingerprint={"teacher": "t"})
    fewer = copy(stages)
    fewer.maker = stages.maker.among(stages.train_rows[1:])
    with pytest.raises(StoreError, match="its partners is "):
        fewer.label("targets", teacher, fingerprint={"teacher": "t"})


def test_shared_targets_are_labelled_once_for_many_students(
    recipe_options: Make, finished_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    forward = ClassifierTeacher.forward

    def counting(teacher: ClassifierTeacher, batch: Batch) -> Any:
        asked.append(len(batch))
        return forward(teacher, batch)

    monkeypatch.setattr(ClassifierTeacher, "forward", counting)
    cache = str(tmp_path / "cache")
    shared = {"cache": cache, "teacher": {"image_encoder": str(finished_run("supervised").path)}, "targets": {"shared": True}}
    calls = []
    for name, loss in (("kl", {}), ("dist", {"divergence": "dist"}), ("other views", {})):
        views = {"views": {"flip": 0.0}} if name == "other views" else {}
        asked.clear()
        run_recipe(recipe_options("classifier", tmp_path / name, loss=loss, **shared, **views))
        calls.append(sum(asked))
    assert calls[1] < calls[0] == calls[2]  # the second student's teacher answers for the results alone
    assert [entry.kind for entry in list_cache(Path(cache))].count("targets") == 2
    with pytest.raises(OptionError, match=r"targets\.shared keeps stored targets for other runs: need teacher\.live = false"):
        check(recipe_options("classifier", tmp_path / "live", **merged(shared, {"teacher": {"live": True}})))


class Seen(Objective):
    """Keeps the batches that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches: list[Batch] = []

    def forward(self, batch: Batch) -> Loss:
        self.batches.append(batch)
        return Loss(self.weight * batch.images.mean())


def test_a_training_mixes_its_own_rows_or_takes_the_maker_that_it_is_given(recipe_options: Make, tmp_path: Path) -> None:
    mixing = make_stages(recipe_options("supervised", tmp_path / "mixing", views={"cutmix": 1.0}))
    labels = mixing.pictures.labels
    rows = mixing.train_rows[labels[mixing.train_rows] != 0]
    objective = Seen()
    mixing.train("student", objective, rows=rows)
    assert set(torch.cat([batch.mixed.labels for batch in objective.batches]).tolist()) == {1, 2}
    plain, crops = make_stages(recipe_options("supervised", tmp_path / "crops")), Seen()
    plain.train("student", crops, rows=rows, maker=MultiCropMaker(plain.maker, MultiCropOptions(local_crops=3, local_size=8)))
    assert {len(batch.crops) for batch in crops.batches} == {4}
    assert {batch.mixed for batch in crops.batches} == {None}
