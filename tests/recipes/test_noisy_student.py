from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from picturebook.config import dump_options, load_options, run_recipe
from picturebook.data.pictures import Pictures
from picturebook.data.pseudo_labels import PseudoLabelOptions
from picturebook.errors import DataError, ModelError, OptionError
from picturebook.models.artefact import load_student
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.recipes.noisy_student import NoisyStudentOptions
from picturebook.recipes.pseudo_labelling import divided_rows, pseudo_label
from picturebook.runs import RunFolder
from picturebook.types import UNLABELLED, Batch
from picturebook.writing import read_json
from toy_runs import RESNET, VIT, Listening, make_stages, num_steps

Make = Callable[..., Any]

SMALLER = {"model": "resnet10t", "model_args": {"channels": [4, 4, 4, 4]}}


def test_every_iteration_is_reported_and_what_was_kept(recipe_options: Make, unlabelled_data: Path, tmp_path: Path) -> None:
    listener = Listening()
    data = {"root": str(unlabelled_data), "supervision": {"labelled_share": 1.0}}
    options = recipe_options("noisy_student", tmp_path / "run", iterations=2, teacher=SMALLER, data=data)
    run = run_recipe(options, reporter=listener)
    assert list(num_steps(run)) == ["encoder", "iteration-1", "student"]
    models = read_json(run.results)["models"]
    assert sorted(models) == ["iteration 0", "iteration 1", "student", "student through timm's transform"]
    counts = read_json(run.teacher / "pseudo_labels.json")
    assert [line["name"] for line in counts] == ["pseudo-labels-1", "pseudo-labels-2"]
    for line in counts:
        assert line["asked"] == 18
        assert line["sure"] == sum(line["sure of each class"].values()) >= line["different"]
        assert any(said.startswith(f"{line['name']}: of 18 pictures without a label") for said in listener.said)
    student, _ = load_student(run.student)
    assert student.model_args == {"channels": [8, 8, 8, 8], "drop_rate": 0.5, "drop_path_rate": 0.2}
    first, _ = load_student(RunFolder(run.teacher).path / "image_encoder")
    assert first.model_args == {"drop_rate": 0.5, "drop_path_rate": 0.2, **SMALLER["model_args"]}
    assert not [said for said in listener.said if "as large as their teachers" in said]


def test_a_student_that_is_smaller_than_its_teacher_is_said_to_be(recipe_options: Make, tmp_path: Path) -> None:
    listener = Listening()
    larger = {"model": "resnet10t", "model_args": {"channels": [8, 8, 16, 16]}}
    run_recipe(recipe_options("noisy_student", tmp_path / "run", teacher=larger, train={"epochs": 1}), reporter=listener)
    (said,) = (said for said in listener.said if "as large as their teachers" in said)
    assert said.startswith("The first teacher has ")


def test_withheld_labels_are_labelled_by_the_teacher_and_a_finished_run_may_be_it(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    teacher = finished_run("supervised")
    run = run_recipe(recipe_options("noisy_student", tmp_path / "run", teacher={"run": str(teacher.path)}))
    assert list(num_steps(run)) == ["student"]
    ours, theirs = read_json(run.results)["models"]["iteration 0"], read_json(teacher.results)["models"]["student"]
    assert ours["test"]["nll"] == pytest.approx(theirs["test"]["nll"], rel=1e-5)


def test_pseudo_labels_are_the_teachers_answers_to_centre_views_without_noise(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    stages = make_stages(recipe_options("noisy_student", tmp_path / "run"))
    network, _ = load_student(finished_run("supervised").student)
    labelled, unlabelled = divided_rows(stages)
    assert set(labelled) | set(unlabelled) == set(stages.train_rows)
    pictures = stages.pictures
    images = torch.from_numpy(pictures.canvases[unlabelled]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        answers = network.eval()(images).softmax(dim=1)
    for kind in ("soft", "hard"):
        options = PseudoLabelOptions(kind=kind, confidence=0.0, per_class="all")
        found = pseudo_label(stages, network.train(), options, name="first", ratio=1.0)
        said = found.teacher(batch_of(pictures, unlabelled)).logits.softmax(dim=1)
        expected = answers if kind == "soft" else torch.nn.functional.one_hot(answers.argmax(dim=1), 3).float()
        torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-5)
        true = found.teacher(batch_of(pictures, labelled)).logits.softmax(dim=1)
        assert torch.equal(true.argmax(dim=1), torch.from_numpy(pictures.labels[labelled]))
        assert true.max(dim=1).values.tolist() == [1.0] * len(labelled)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0, 40.0])
def test_an_epoch_holds_the_ratio_and_every_picture(recipe_options: Make, tmp_path: Path, ratio: float) -> None:
    stages = make_stages(recipe_options("noisy_student", tmp_path / "run"))
    labelled, unlabelled = divided_rows(stages)
    options = PseudoLabelOptions(confidence=0.0, per_class="all")
    rows = pseudo_label(stages, stages.new_student(), options, name="first", ratio=ratio).rows
    is_labelled = stages.pictures.labels[rows] != UNLABELLED
    assert set(rows[is_labelled]) == set(labelled)
    assert set(rows[~is_labelled]) == set(unlabelled)
    assert (~is_labelled).sum() / is_labelled.sum() == pytest.approx(ratio, rel=0.05)


def batch_of(pictures: Pictures, rows: np.ndarray) -> Batch:
    ids = torch.from_numpy(pictures.ids[rows])
    return Batch(ids, torch.zeros_like(ids), torch.full_like(ids, UNLABELLED))


# ---- noise --------------------------------------------------------------------------------------------------------------


def test_noise_is_on_unless_it_is_said_off_and_is_written_as_it_was(recipe_options: Make, tmp_path: Path) -> None:
    options = recipe_options("noisy_student", tmp_path / "run")
    assert options.views.randaugment == 2
    assert options.student.model_args == {**RESNET["model_args"], "drop_rate": 0.5, "drop_path_rate": 0.2}
    (tmp_path / "run.toml").write_text(dump_options(options))
    assert load_options(tmp_path / "run.toml") == options
    off = NoisyStudentOptions(dropout=0.0, stochastic_depth=0.0, model_args={"channels": [8]})
    assert off.model_args == {"channels": [8]}
    assert NoisyStudentOptions.model_validate(off.model_dump()) == off
    with pytest.raises(ValueError, match=r"dropout = 0.5 and model_args.drop_rate = 0.1 differ: leave the latter out"):
        NoisyStudentOptions(model_args={"drop_rate": 0.1})


def test_a_teacher_that_takes_no_depth_is_told_so(recipe_options: Make, tmp_path: Path) -> None:
    teacher = {"model": "vgg11", "model_args": {"drop_path_rate": 0}}
    with pytest.raises(ModelError, match="'drop_path_rate'"):
        run_recipe(recipe_options("noisy_student", tmp_path / "with", teacher={"model": "vgg11"}))
    with pytest.raises(ModelError, match="image_size") as refused:  # 16 pixels are too few for it
        run_recipe(recipe_options("noisy_student", tmp_path / "without", teacher=teacher))
    assert "drop_path_rate" not in str(refused.value)


# ---- what is refused ----------------------------------------------------------------------------------------------------


def test_without_a_picture_to_label_nothing_is_trained(recipe_options: Make, tmp_path: Path) -> None:
    options = recipe_options("noisy_student", tmp_path / "run", data={"supervision": {"labelled_share": 1.0}})
    with pytest.raises(
        DataError, match=r"others without: got \d+ and 0\. Leave labels empty .* data\.supervision\.labelled_share"
    ):
        run_recipe(options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"data": {"supervision": {"unlabelled": "drop", "labelled_share": 0.5}}},
            r"need data\.supervision\.unlabelled = 'keep'",
        ),
        ({"views": {"mixup": 0.5}}, "a pseudo-label is of one"),
        ({"teacher": {"model_args": {"channels": [4]}}}, r"teacher\.model_args are of teacher\.model"),
        ({"teacher": {"run": "somewhere", "model": "resnet10t"}}, "is trained already"),
        ({"teacher": {"run": "somewhere", "label_smoothing": 0.1}}, "is trained already"),
        ({"teacher": {"alignment": {"weight": 0.5}}}, "reads no words"),
    ],
)
def test_settings_that_cannot_take_effect_are_refused(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        run_recipe(recipe_options("noisy_student", tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "teacher", [{"run": "nowhere"}, {"model": "resnet10tt"}, {"model": "resnet10t", "model_args": {"colour": 1}}]
)
def test_a_teacher_that_cannot_be_had_is_refused_before_training(
    recipe_options: Make, tmp_path: Path, teacher: dict[str, Any]
) -> None:
    with pytest.raises(ModelError):
        run_recipe(recipe_options("noisy_student", tmp_path / "run", teacher=teacher))
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_is_sure_of_nothing_says_so(recipe_options: Make, tmp_path: Path) -> None:
    stages = make_stages(recipe_options("noisy_student", tmp_path / "run"))
    with pytest.raises(DataError, match=r"first: for none of the \d+ .* 0\.99 or more\. Lower pseudo_labels\.confidence"):
        pseudo_label(stages, stages.new_student(), PseudoLabelOptions(confidence=0.99), name="first", ratio=1.0)


def test_students_of_one_seed_are_the_same_student(recipe_options: Make, finished_run: Make, tmp_path: Path) -> None:
    teacher = {"run": str(finished_run("supervised").path)}
    found = set()
    for number in range(2):
        torch.manual_seed(number)
        run = run_recipe(
            recipe_options("noisy_student", tmp_path / str(number), teacher=teacher, student=VIT, train={"epochs": 1})
        )
        found.add(weights_fingerprint(load_student(run.student)[0]))
    assert len(found) == 1
