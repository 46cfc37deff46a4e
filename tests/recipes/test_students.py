"""What the student starts from, and what it learns from."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from picturebook.config import run_recipe
from picturebook.data.pictures import Pictures
from picturebook.errors import ModelError, TextError
from picturebook.models.artefact import load_student
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.runs import RunFolder
from toy_runs import RECIPE_CASES, RESNET, VIT, Listening, make_stages, num_steps

Make = Callable[..., Any]


def weights(run: RunFolder) -> bytes:
    return (run.student / "model.safetensors").read_bytes()


# ---- what a seed fixes --------------------------------------------------------------------------------------------------


def first_student(options: Any, part: str = "student") -> str:
    return weights_fingerprint(make_stages(options).new_student(part))


def test_the_students_first_weights_depend_on_the_seed_alone(recipe_options: Make, tmp_path: Path) -> None:
    common = {"student": VIT}
    first = {}
    for case in RECIPE_CASES:
        torch.manual_seed(len(case))
        first[case] = first_student(recipe_options(case, tmp_path / case, **common))
    assert len(set(first.values())) == 1
    assert first_student(recipe_options("bank", tmp_path / "seed", seed=1, **common)) not in first.values()
    assert first_student(recipe_options("bank", tmp_path / "part", **common), "encoder") not in first.values()


def test_the_teachers_encoder_is_the_same_in_every_recipe(finished_run: Make) -> None:
    def encoder(case: str) -> bytes:
        return (finished_run(case).teacher / "image_encoder" / "model.safetensors").read_bytes()

    assert encoder("distil") == encoder("classifier") == encoder("born_again")
    assert encoder("bank") == encoder("own") == encoder("learned") == encoder("linear")


def test_another_seed_is_another_student(recipe_options: Make, finished_run: Make, tmp_path: Path) -> None:
    run = run_recipe(recipe_options("supervised", tmp_path / "run", seed=1))
    assert weights(run) != weights(finished_run("supervised"))


def test_a_run_is_a_function_of_its_settings_and_not_of_the_global_generator(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    teacher = {"image_encoder": str(finished_run("supervised").path)}
    runs = []
    for number in range(2):
        torch.manual_seed(number)
        changes = {"teacher": teacher, "loss": {"distilled": "both"}}
        runs.append(run_recipe(recipe_options("classifier", tmp_path / f"run{number}", **changes)))
    assert weights(runs[0]) == weights(runs[1])


def test_a_projector_is_a_function_of_the_seed(recipe_options: Make, tmp_path: Path) -> None:
    stages = [make_stages(recipe_options("supervised", tmp_path / "run", seed=seed)) for seed in (0, 0, 1)]
    student = stages[0].new_student()
    assert stages[0].new_projector(student, None) is None
    state = torch.get_rng_state()
    layers = []
    for number, part in enumerate(stages):
        torch.manual_seed(number)
        layers.append(part.new_projector(student, 5))
        torch.set_rng_state(state)
    assert [layer.weight.shape for layer in layers] == [(5, student.feature_width)] * 3
    first, second, other = (weights_fingerprint(layer) for layer in layers)
    assert first == second != other
    stages[0].new_projector(student, 5)
    assert torch.equal(torch.get_rng_state(), state)


# ---- unlabelled rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["supervised", "bank"])
def test_pictures_without_a_label_teach_where_a_teacher_speaks_and_nowhere_else(
    recipe_options: Make, unlabelled_data: Path, unlabelled_pictures: Pictures, tmp_path: Path, case: str
) -> None:
    listener = Listening()
    train = {"batch_size": 5}
    changes = {"train": train, "data": {"root": str(unlabelled_data)}}
    if case == "bank":
        changes["teacher"] = {"train": train}
    run = run_recipe(recipe_options(case, tmp_path / "run", **changes), reporter=listener)
    rows = unlabelled_pictures.rows["train"]
    labelled = int((unlabelled_pictures.labels[rows] >= 0).sum())
    assert len(rows) - labelled == 18

    def expected(num: int) -> int:
        full, rest = divmod(2 * num, 5)
        return full + (2 * rest >= 5)

    for stage, count in num_steps(run).items():
        teaches_with_targets = stage == "student" and case != "supervised"
        assert count == expected(len(rows) if teaches_with_targets else labelled), stage
    told = [sentence for sentence in listener.said if "18 pictures without a label are left out where labels teach" in sentence]
    assert len(told) == 1


def test_class_words_as_own_text_need_a_label_for_every_picture(
    recipe_options: Make, unlabelled_data: Path, tmp_path: Path
) -> None:
    changes = {"data": {"root": str(unlabelled_data)}, "text": {"source": "classes", "kind": "privileged"}}
    with pytest.raises(TextError, match="18 pictures have no label"):
        run_recipe(recipe_options("own", tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


# ---- where the student starts -------------------------------------------------------------------------------------------


def test_pretrained_weights_that_are_not_here_are_a_sentence(
    recipe_options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    options = recipe_options(
        "supervised", tmp_path / "run", student={"model": "resnet10t", "model_args": {}, "init": "pretrained"}
    )
    with pytest.raises(ModelError, match="are not on this machine and could not be fetched"):
        run_recipe(options)
    assert not (tmp_path / "run").exists()


def test_a_model_without_pretrained_weights_is_a_sentence(recipe_options: Make, tmp_path: Path) -> None:
    options = recipe_options("supervised", tmp_path / "run", student={"model": "resnet10t", "init": "pretrainde"})
    with pytest.raises(ModelError, match="pretrainde"):
        run_recipe(options)


def test_a_student_may_start_from_a_run(recipe_options: Make, finished_run: Make, tmp_path: Path) -> None:
    source = finished_run("supervised")
    options = recipe_options("supervised", tmp_path / "run", student={"init": str(source.path)}, train={"learning_rate": 1e-9})
    assert weights_fingerprint(make_stages(options).new_student()) == weights_fingerprint(load_student(source.student)[0])
    run = run_recipe(options)
    for name, value in load_file(run.student / "model.safetensors").items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(value, load_file(source.student / "model.safetensors")[name], rtol=0, atol=1e-6)


def test_a_run_of_another_architecture_is_not_taken_in_silence(recipe_options: Make, finished_run: Make, tmp_path: Path) -> None:
    options = recipe_options("supervised", tmp_path / "run", student={**VIT, "init": str(finished_run("supervised").path)})
    with pytest.raises(ModelError, match=re.escape("student.model")):
        run_recipe(options)
    other_width = {**RESNET, "model_args": {"channels": [8, 8, 8, 16]}, "init": str(finished_run("supervised").path)}
    with pytest.raises(ModelError, match=r"holds resnet10t .*\[8, 8, 8, 8\].* asks for resnet10t .*\[8, 8, 8, 16\]"):
        run_recipe(recipe_options("supervised", tmp_path / "run", student=other_width))
    assert not (tmp_path / "run").exists()


def test_a_run_of_other_classes_is_no_start(recipe_options: Make, run_with_other_classes: RunFolder, tmp_path: Path) -> None:
    options = recipe_options("supervised", tmp_path / "run", student={"init": str(run_with_other_classes.path)})
    with pytest.raises(ModelError, match=r"knows other classes than these data \(apple, pear\)"):
        run_recipe(options)
    assert not (tmp_path / "run").exists()


# ---- bf16 on processors -------------------------------------------------------------------------------------------------


def test_a_strided_convolution_on_one_pixel_is_refused_in_bf16(recipe_options: Make, tmp_path: Path) -> None:
    options = recipe_options("supervised", tmp_path / "run", precision="bf16")
    sentence = r"In resnet10t at student\.image_size = 16, layer layer4\.\S+ steps .* raise image_size, or say precision = 'fp32'"
    with pytest.raises(ModelError, match=sentence):
        run_recipe(options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("student", [VIT, {"image_size": 64}], ids=["patches", "larger"])
def test_models_without_one_train_in_bf16(recipe_options: Make, tmp_path: Path, student: dict[str, Any]) -> None:
    options = recipe_options("supervised", tmp_path / "run", precision="bf16", student=student, data={"canvas_size": 64})
    assert make_stages(options).accelerator.mixed_precision == "bf16"
