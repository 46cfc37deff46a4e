"""From data to a classifier in one call: `distil`, and `train` with an objective of one's own."""

import shutil
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tomlkit
import torch

import picturebook
from command_line import CommandLine
from picturebook import Batch, Classifier, ImageEncoder, Loss, Objective
from picturebook.api.settings import settings_for
from picturebook.data.loaders import TrainingBatches
from picturebook.errors import OptionError, PicturebookError, RunError
from picturebook.losses import cross_entropy
from picturebook.types import Silence
from picturebook.writing import read_json
from toys import CLASSES, toy_picture


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, toy_cache: Path) -> None:
    monkeypatch.setenv("PICTUREBOOK_CACHE", str(toy_cache))


def toy_settings(**changes: Any) -> dict[str, Any]:
    settings = {
        "precision": "fp32",
        "device": "cpu",
        "student.model_args": {"channels": [8, 8, 8, 8]},
        "student.init": "scratch",
        "student.image_size": 16,
        "data.canvas_size": 16,
        "train.batch_size": 16,
        "train.epochs": 2,
    }
    return settings | changes


class PlainLoss(Objective):
    """Cross-entropy."""

    def __init__(self, student: ImageEncoder) -> None:
        super().__init__()
        self.student = student

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        return Loss(cross_entropy(self.student(batch.images), batch.labels))


class ElsewhereLoss(Objective):
    """Trains a layer of its own and leaves the student alone."""

    def __init__(self, student: ImageEncoder) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, batch: Batch) -> Loss:
        return Loss(self.layer(torch.ones(1, 1)).sum())


def test_distil_gives_the_student_of_an_image_only_teacher_and_keeps_its_run(toy_data: Path, tmp_path: Path) -> None:
    settings = toy_settings(**{"teacher.train.epochs": 1})
    model = picturebook.distil(str(toy_data), "resnet10t", out=tmp_path / "run", settings=settings)
    assert model.classes_.tolist() == list(CLASSES)
    assert model.run_ == tmp_path / "run"
    assert read_json(tmp_path / "run" / "results.json")["recipe"] == "distil"
    again = picturebook.distil(str(toy_data), "resnet10t", out=tmp_path / "run", settings=settings, resume=True)
    image = [toy_picture(0, 0)]
    np.testing.assert_array_equal(again.predict_proba(image), model.predict_proba(image))
    with pytest.raises(RunError, match=r"exists already"):
        picturebook.distil(str(toy_data), "resnet10t", out=tmp_path / "run", settings=settings)


def test_distil_with_a_column_of_words_takes_a_teacher_that_reads_them(toy_data: Path) -> None:
    chosen = settings_for(str(toy_data), recipe="image_text", text="text", said={"train.epochs": 3}, reporter=Silence())
    assert chosen["text"] == {"source": "column", "column": "text", "kind": "unknown"}
    assert chosen["teacher"]["head"] == {"mode": "own"}
    assert chosen["train"]["epochs"] == 3
    with pytest.raises(PicturebookError, match=r"There is no column 'caption'"):
        picturebook.distil(toy_data, text="caption", settings=toy_settings(**{"teacher.text_encoder": "x"}))


def test_distil_without_a_model_takes_the_student_that_init_would(
    toy_data: Path, tmp_path: Path, picturebook: CommandLine
) -> None:
    assert picturebook("init", toy_data, "--out", tmp_path / "RUN.toml").code == 0
    written = tomllib.loads((tmp_path / "RUN.toml").read_text(encoding="utf-8"))
    chosen = settings_for(str(toy_data), recipe="image_text", text="text", said={}, reporter=Silence())
    assert (chosen["student"], chosen["train"]) == (written["student"], written["train"])


def test_verbose_ends_with_the_table_of_results(toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picturebook.distil(toy_data, "resnet10t", recipe="supervised", out=tmp_path / "run", settings=toy_settings(), verbose=True)
    shown = capsys.readouterr().out
    assert "test pictures rightly (95 % interval" in shown
    assert f"Next: picturebook report {tmp_path / 'run'}" in shown


def test_distil_masks_class_words_as_init_does(toy_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(toy_data, tmp_path / "data")
    table = (data / "metadata.csv").read_text()
    (data / "metadata.csv").write_text(table.replace("a photo of one", f"a photo of {CLASSES[0]}"))
    chosen = settings_for(str(data), recipe="image_text", text="text", said={}, reporter=Silence())
    assert chosen["text"]["mask_class_words"]


def test_without_out_nothing_is_left_on_disk(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = picturebook.distil(toy_data, "resnet10t", recipe="supervised", settings=toy_settings())
    assert model.run_ is None
    assert not list(tmp_path.iterdir())
    model.save(tmp_path / "kept")
    assert Classifier.load(tmp_path / "kept").predict([toy_picture(0, 0)]).shape == (1,)


def test_an_own_objective_that_was_interrupted_ends_where_a_straight_one_ends(toy_data: Path, tmp_path: Path) -> None:
    def run(out: str, *, resume: bool = False) -> Classifier:
        settings = toy_settings(**{"train.epochs": 3})
        return picturebook.train(PlainLoss, toy_data, "resnet10t", out=tmp_path / out, settings=settings, resume=resume)

    straight, real = run("straight"), TrainingBatches.at

    def interrupted(batches: TrainingBatches, step: int) -> Batch:
        if step == batches.num_steps - 1:
            raise KeyboardInterrupt
        return real(batches, step)

    with mock.patch.object(TrainingBatches, "at", interrupted), pytest.raises(KeyboardInterrupt):
        run("resumed")
    file = tmp_path / "resumed" / "run.toml"
    begun = tomlkit.parse(file.read_text())
    del begun["data"]["columns"]["kind"]  # as a version wrote it that did not have this setting
    file.write_text(tomlkit.dumps(begun))
    resumed = run("resumed", resume=True)
    images = [toy_picture(label, 3) for label in range(3)]
    np.testing.assert_array_equal(resumed.predict_proba(images), straight.predict_proba(images))


def test_an_objective_that_would_not_train_the_student_is_refused(toy_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(OptionError, match=r"ElsewhereLoss does not hold the student that it was given"):
        picturebook.train(ElsewhereLoss, toy_data, "resnet10t", out=out, settings=toy_settings())
    with pytest.raises(OptionError, match=r"gave ImageEncoder, expected a picturebook.Objective"):
        picturebook.train(lambda student: student, toy_data, "resnet10t", out=out, settings=toy_settings())
    assert not out.exists()
    with pytest.raises(OptionError, match=r"resume needs out"):
        picturebook.train(PlainLoss, toy_data, resume=True)


def test_a_run_of_an_own_objective_says_how_it_is_trained_again(toy_data: Path, tmp_path: Path, picturebook: CommandLine) -> None:
    import picturebook as package

    run = package.train(PlainLoss, toy_data, "resnet10t", out=tmp_path / "run", settings=toy_settings()).run_
    assert run is not None
    assert "picturebook.train(…)" in picturebook.refusal("train", run / "run.toml")
    for command in (("inspect", run), ("evaluate", run, toy_data), ("predict", run, toy_data), ("export", run, "--to", "timm")):
        assert picturebook(*command).code == 0, command
