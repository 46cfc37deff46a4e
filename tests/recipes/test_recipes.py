import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

from picturebook.config import RECIPES, parse_options, run_recipe
from picturebook.data.pictures import Pictures
from picturebook.errors import ModelError, RunError
from picturebook.inspection import inspect_run
from picturebook.models.artefact import load_student
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.saved_teacher import load_teacher
from picturebook.runs import RunFolder
from picturebook.types import Queries
from picturebook.writing import read_json
from toy_runs import CLASSES, RESNET, VIT, num_steps

Make = Callable[..., Any]

STUDENT = ["student", "student through timm's transform"]
TEACHERS = {
    "supervised": [],
    "distil": ["teacher"],
    "classifier": ["teacher"],
    "be_your_own_teacher": [*(f"exit {number} of 4" for number in (1, 2, 3)), "ensemble of the exits"],
    "born_again": ["generation 0", "ensemble of the generations with the first teacher"],
    "noisy_student": ["iteration 0"],
    "bank": ["teacher"],
    "own": ["teacher with the pictures' own words (label_blind), reads captions"],
    "learned": ["teacher"],
    "linear": ["teacher"],
}
STAGES = {
    "supervised": ["student"],
    "distil": ["encoder", "head", "student"],
    "classifier": ["encoder", "student"],
    "be_your_own_teacher": ["student"],
    "born_again": ["encoder", "student"],
    "noisy_student": ["encoder", "student"],
    **{mode: ["encoder", "head", "student"] for mode in ("bank", "own", "learned", "linear")},
}


def weights(run: RunFolder) -> bytes:
    return (run.student / "model.safetensors").read_bytes()


# ---- every recipe -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TEACHERS)
def test_a_run_ends_in_a_student_and_its_papers(finished_run: Make, toy_pictures: Pictures, case: str) -> None:
    run = RunFolder.open(finished_run(case).path)
    assert read_json(run.classes) == list(CLASSES)
    assert sorted(path.name for path in run.student.iterdir()) == ["config.json", "model.safetensors"]
    assert not (run.path / "stages").exists()
    results = read_json(run.results)
    assert results["recipe"] == {"classifier": "distil"}.get(case, case if case in RECIPES else "image_text")
    assert list(dict.fromkeys(line["stage"] for line in run.read_metrics())) == STAGES[case]
    assert sorted(results["models"]) == sorted(STUDENT + TEACHERS[case])
    for numbers in results["models"].values():
        assert {split: numbers[split]["num"] for split in numbers} == {
            split: len(toy_pictures.rows[split]) for split in ("val", "test")
        }
    provenance = read_json(run.provenance)
    assert provenance["seed"] == 0
    assert provenance["student"]["weights"] == weights_fingerprint(load_student(run.student)[0])
    assert provenance["machine"]["threads"] == torch.get_num_threads()
    if case != "noisy_student":  # which withholds labels
        assert provenance["fingerprints"]["data"] == toy_pictures.fingerprint
    assert provenance["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_a_student_that_was_exchanged_is_found(finished_run: Make, tmp_path: Path) -> None:
    source = finished_run("supervised")
    assert inspect_run(source)["student weights"] == read_json(source.provenance)["student"]["weights"]
    other = RunFolder(shutil.copytree(source.path, tmp_path / "run"))
    shutil.copytree(finished_run("distil").student, other.student, dirs_exist_ok=True)
    with pytest.raises(RunError, match=r"model\.safetensors does not hold what was written"):
        inspect_run(other)


@pytest.mark.parametrize("case", TEACHERS)
def test_the_student_reloads_with_its_classes_here_and_in_timm(finished_run: Make, case: str) -> None:
    run = finished_run(case)
    encoder, names = load_student(run.student)
    assert names == CLASSES
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = timm.create_model(f"local-dir:{run.student}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model((images - encoder.mean) / encoder.std), encoder(images))
    saved = load_file(run.student / "model.safetensors")
    assert not [name for name in saved if "head." in name and "weight" not in name and "bias" not in name]
    assert not [name for name in saved if name.startswith(("projector", "teacher", "_"))]


@pytest.mark.parametrize("case", ["distil", "bank", "own", "learned", "linear"])
def test_a_teacher_with_a_head_is_kept_beside_the_student(finished_run: Make, case: str) -> None:
    encoder, head, saved = load_teacher(finished_run(case).teacher)
    assert saved.heads[0].mode == {"distil": "linear"}.get(case, case)
    assert saved.num_classes == 3
    assert (saved.text_encoder is not None) == (case in {"bank", "own"})
    vectors = torch.randn(2, 1, saved.text_width)
    texts = Queries(vectors, torch.ones(2, 1, dtype=torch.bool)) if case == "own" else None
    with torch.no_grad():
        assert head(encoder.tokens(torch.rand(2, 3, 16, 16)), texts).logits.shape == (2, 3)


def test_enough_training_teaches_the_student(recipe_options: Make, tmp_path: Path) -> None:
    longer = {"epochs": 25, "learning_rate": 5e-3}
    changes = {"student": VIT, "train": longer, "teacher": {"train": longer}, "data": {"split": {"test": 0.3}}}
    run = run_recipe(recipe_options("bank", tmp_path / "run", **changes))
    models = read_json(run.results)["models"]
    for name in ("teacher", "student", "student through timm's transform"):
        assert models[name]["test"]["accuracy"] >= 0.8, name
        assert models[name]["test"]["accuracy"] > models[name]["test"]["majority"]


def test_distil_with_a_linear_head_is_image_text_with_one(recipe_options: Make, finished_run: Make, tmp_path: Path) -> None:
    distil = run_recipe(recipe_options("distil", tmp_path / "run", student=VIT))
    assert weights(distil) == weights(finished_run("linear"))
    assert (
        load_file(distil.teacher / "head.safetensors").keys()
        == load_file(finished_run("linear").teacher / "head.safetensors").keys()
    )
    ours, theirs = (read_json(run.results)["models"] for run in (distil, finished_run("linear")))
    assert ours == theirs


# ---- teachers -----------------------------------------------------------------------------------------------------------


def test_a_teacher_of_own_words_is_named_with_what_they_may_know(recipe_settings: Make, tmp_path: Path) -> None:
    settings = recipe_settings("own", tmp_path / "run", text={"kind": "privileged", "source": "classes", "column": None})
    run = run_recipe(parse_options(settings, source="the test"))
    names = [name for name in read_json(run.results)["models"] if "teacher" in name]
    assert names == ["teacher with the pictures' own words (privileged)"]


def test_a_label_blind_text_may_answer_by_itself(recipe_options: Make, tmp_path: Path) -> None:
    changes = {"teacher": {"head": {"residual": True}}, "loss": {"distilled": "representation"}}
    run = run_recipe(recipe_options("own", tmp_path / "run", **changes))
    assert 0 < run.read_metrics()[-1]["feature_regression"] < 2
    assert any(name.endswith("residual.weight") for name in load_file(run.teacher / "head.safetensors"))


@pytest.mark.parametrize("case", ["classifier", "born_again"])
def test_a_finished_run_may_teach(recipe_options: Make, finished_run: Make, tmp_path: Path, case: str) -> None:
    source = finished_run("supervised")
    teacher = {"run": str(source.path)} if case == "born_again" else {"image_encoder": str(source.path)}
    run = run_recipe(recipe_options(case, tmp_path / "run", student=RESNET, teacher=teacher))
    assert "encoder" not in num_steps(run)
    name = "teacher" if case == "classifier" else "generation 0"
    ours, theirs = read_json(run.results)["models"][name], read_json(source.results)["models"]["student"]
    assert ours["test"]["nll"] == pytest.approx(theirs["test"]["nll"], rel=1e-5)


@pytest.mark.parametrize(("case", "setting"), [("classifier", "image_encoder"), ("born_again", "run")])
def test_a_classifier_of_other_classes_cannot_teach(
    recipe_options: Make, run_with_other_classes: RunFolder, tmp_path: Path, case: str, setting: str
) -> None:
    options = recipe_options(case, tmp_path / "run", teacher={setting: str(run_with_other_classes.path)})
    with pytest.raises(ModelError, match=r"knows other classes than these data \(apple, pear\)"):
        run_recipe(options)
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_other_classes_may_teach_under_a_head(
    recipe_options: Make, run_with_other_classes: RunFolder, tmp_path: Path
) -> None:
    changes = {"teacher": {"image_encoder": str(run_with_other_classes.path)}, "loss": {"distilled": "representation"}}
    run = run_recipe(recipe_options("distil", tmp_path / "run", **changes))
    assert list(num_steps(run)) == ["head", "student"]
    assert 0 < run.read_metrics()[-1]["feature_regression"] < 2
    encoder, _, _ = load_teacher(run.teacher)
    assert weights_fingerprint(encoder) == weights_fingerprint(load_student(run_with_other_classes.student)[0])


@pytest.mark.parametrize(("case", "setting"), [("classifier", "image_encoder"), ("born_again", "run")])
def test_a_half_written_run_cannot_teach(recipe_options: Make, tmp_path: Path, case: str, setting: str) -> None:
    RunFolder(tmp_path / "half").start(resume=False, resolved="seed = 0\n")
    with pytest.raises(RunError, match="is half written"):
        run_recipe(recipe_options(case, tmp_path / "run", teacher={setting: str(tmp_path / "half")}))
    assert not (tmp_path / "run").exists()


def test_two_generations_have_ensembles_with_and_without_the_first_teacher(recipe_options: Make, tmp_path: Path) -> None:
    run = run_recipe(recipe_options("born_again", tmp_path / "run", generations=2, train={"epochs": 1}))
    assert list(num_steps(run)) == ["encoder", "generation-1", "student"]
    assert sorted(read_json(run.results)["models"]) == sorted(
        [
            *STUDENT,
            "generation 0",
            "generation 1",
            "ensemble of the generations with the first teacher",
            "ensemble of the generations without the first teacher",
        ]
    )


# ---- what is distilled --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "distilled"),
    [("born_again", "representation"), ("bank", "both")],
)
def test_the_representation_is_distilled(recipe_options: Make, tmp_path: Path, case: str, distilled: str) -> None:
    loss = {"distilled": distilled, "label_weight": 0.5}
    run = run_recipe(recipe_options(case, tmp_path / "run", loss=loss, train={"epochs": 1}))
    line = run.read_metrics()[-1]
    assert 0 < line["feature_regression"] < 2
    assert ("distillation_kl" in line) == (distilled == "both")
    assert not [name for name in load_file(run.student / "model.safetensors") if "projector" in name]
