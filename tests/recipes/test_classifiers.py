"""Classifiers that teach as they answer: an ensemble of seeds, of runs, alive or stored, on mixed pictures too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from picturebook.config import run_recipe
from picturebook.errors import ModelError, OptionError, RunError
from picturebook.models.artefact import load_student
from picturebook.recipes.classifiers import targets_of, teaching_classifiers
from picturebook.runs import RunFolder
from picturebook.writing import read_json
from toy_runs import VIT, make_stages, merged, num_steps

Make = Callable[..., Any]

SGD = {"optimizer": "sgd", "learning_rate": 0.05, "epochs": 2}


def test_members_are_trained_with_seeds_of_their_own_and_answer_together(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    run = run_recipe(recipe_options("classifier", tmp_path / "run", teacher={"members": 2}, train={"epochs": 1}))
    assert list(num_steps(run)) == ["encoder", "encoder-2", "student"]
    assert {"teacher", "member 1", "member 2"} < read_json(run.results)["models"].keys()
    first, second = (load_file(run.teacher / name / "model.safetensors") for name in ("image_encoder", "image_encoder-2"))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_finished_runs_teach_with_the_mean_of_their_probabilities(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    runs = [finished_run("supervised"), finished_run("classifier")]
    settings = {"runs": [str(run.path) for run in runs]}
    stages = make_stages(recipe_options("classifier", tmp_path / "run", teacher=settings))
    classifiers = teaching_classifiers(stages, stages.options.teacher)
    stored = targets_of(stages, classifiers, live=False, representation_width=None)
    batch = stages.maker.batch(stages.train_rows[:8], stages.train_rows[:8] * 0)
    with torch.no_grad():
        probs = [load_student(run.student)[0].eval()(batch.images).softmax(dim=1) for run in runs]
    for teacher in (classifiers.teacher, stored):
        torch.testing.assert_close(teacher(batch).logits.softmax(dim=1), sum(probs) / 2, rtol=1e-3, atol=1e-3)
    run = run_recipe(recipe_options("classifier", tmp_path / "whole", teacher=settings, train={"epochs": 1}))
    assert list(num_steps(run)) == ["student"]
    models = read_json(run.results)["models"]
    for number, source in enumerate(runs, 1):
        theirs = read_json(source.results)["models"]["student"]["test"]["nll"]
        assert models[f"member {number}"]["test"]["nll"] == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.5, "cutmix": 0.3}], ids=["plain", "function matching"])
def test_a_live_teacher_teaches_what_its_stored_targets_do(
    recipe_options: Make, finished_run: Make, tmp_path: Path, mixing: dict[str, float]
) -> None:
    teacher = {"image_encoder": str(finished_run("supervised").path)}
    loss = {"label_weight": 0.0, "temperature": 2.0}
    weights = []
    for live in (True, False):
        changes = merged({"teacher": teacher}, {"teacher": {"live": live}})
        options = recipe_options(
            "classifier", tmp_path / f"live-{live}", student=VIT, train=SGD, loss=loss, views=mixing, **changes
        )
        run = run_recipe(options)
        assert "targets" not in read_json(run.results)["seconds"] or not live
        weights.append(load_file(run.student / "model.safetensors"))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"teacher": {"members": 2, "image_encoder": "resnet10t"}}, r"teacher\.members are trained here"),
        ({"teacher": {"members": 2, "runs": ["a"]}}, r"teacher\.members are trained here"),
        ({"teacher": {"runs": ["a"], "image_encoder": "resnet10t"}}, r"in place of teacher\.image_encoder"),
        ({"teacher": {"runs": ["a"], "supervised": {"label_smoothing": 0.1}}}, r"in place of teacher\.image_encoder"),
        ({"teacher": {"members": 2}, "loss": {"distilled": "both"}}, "representations with nothing in common"),
        ({"teacher": {"live": True}, "targets": {"control": "class_mean"}}, r"need teacher\.live = false"),
        ({"teacher": {"head": "linear", "members": 2}}, r"teacher\.members takes effect with teacher\.head = 'classifier' alone"),
        ({"teacher": {"head": "linear", "runs": ["a"]}}, r"teacher\.runs takes effect"),
        ({"teacher": {"head": "linear", "live": True}}, r"teacher\.live takes effect"),
        ({"views": {"mixup": 0.5}, "teacher": {"head": "linear"}, "loss": {"distilled": "both"}}, "which was seen whole"),
        ({"views": {"cutmix": 0.5}, "targets": {"control": "class_mean"}}, r"targets\.control goes by the class of one"),
        ({"views": {"mixup": 0.5}, "loss": {"divergence": "dkd"}}, "sets the true class of one apart"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        run_recipe(recipe_options("classifier", tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("case", "changes", "sentence"),
    [
        ("born_again", {"loss": {"divergence": "dkd"}}, "sets the true class of one apart from the others"),
        ("bank", {"loss": {"distilled": "both"}}, "loss.distilled needs the representation of one, which was seen whole"),
        ("own", {"loss": {"divergence": "cwtm"}}, "goes by how sure the teacher is of one"),
        ("own", {"loss": {"divergence": "dkd"}}, "sets the true class of one apart from the others"),
        (
            "supervised",
            {
                "alignment_text": {"source": "column", "text_encoder": "unread"},
                "loss": {"alignment": {"weight": 0.5}},
            },
            "alignment_text has words of one",
        ),
    ],
)
def test_mixed_pictures_are_refused_where_a_picture_has_to_be_one(
    recipe_options: Make, tmp_path: Path, case: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=f"views.mixup and views.cutmix mix two pictures, but .*{sentence}: set both to 0"):
        run_recipe(recipe_options(case, tmp_path / "run", views={"mixup": 0.5}, **changes))
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_teach_is_refused_before_anything_is_done(
    recipe_options: Make, run_with_other_classes: RunFolder, tmp_path: Path
) -> None:
    for runs, error in (([str(tmp_path / "none")], RunError), ([str(run_with_other_classes.path)], ModelError)):
        with pytest.raises(error):
            run_recipe(recipe_options("classifier", tmp_path / "run", teacher={"runs": runs}))
        assert not (tmp_path / "run").exists()
