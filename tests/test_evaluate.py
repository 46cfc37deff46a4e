import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from picturebook.config import run_recipe
from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures
from picturebook.errors import DataError, ModelError, OptionError, RunError
from picturebook.evaluate import (
    collect_logits,
    evaluate_folder,
    evaluate_rows,
    evaluate_with_timm,
    open_classifier,
    student_logits,
)
from picturebook.models.artefact import load_student
from picturebook.runs import RunFolder
from picturebook.types import UNLABELLED, Batch, Silence
from picturebook.writing import read_json
from toy_runs import CLASSES, toy_picture

Make = Callable[..., Any]
CPU = torch.device("cpu")


def all_rows(pictures: Pictures) -> np.ndarray:
    return np.arange(len(pictures.ids))


def knows_labels(batch: Batch) -> torch.Tensor:
    """Right about the first two classes, and says "leaf" for the third."""
    return torch.nn.functional.one_hot(batch.labels.clamp(0, 1), 3).float() * 5


def test_logits_are_collected_in_order_across_batches(toy_pictures: Pictures) -> None:
    rows = all_rows(toy_pictures)[::-1].copy()
    batches = evaluation_batches(toy_pictures, rows, image_size=16, device=CPU, batch_size=7)
    logits = collect_logits(lambda batch: batch.labels[:, None].to(torch.bfloat16) + torch.arange(3), batches)
    assert logits.dtype == torch.float32
    assert logits[:, 0].tolist() == toy_pictures.labels[rows].tolist()


def test_numbers_are_those_of_the_labelled_rows(unlabelled_pictures: Pictures) -> None:
    rows = all_rows(unlabelled_pictures)
    labels = unlabelled_pictures.labels[unlabelled_pictures.labels != UNLABELLED]
    told: list[tuple[int, int]] = []
    evaluation = evaluate_rows(
        knows_labels,
        unlabelled_pictures,
        rows,
        image_size=16,
        device=CPU,
        progress=lambda done, total: told.append((done, total)),
    )
    assert evaluation.num == len(labels) == 30
    assert evaluation.accuracy == pytest.approx(float((labels < 2).mean()))
    assert evaluation.worst_class == 2
    assert evaluation.worst_class_accuracy == 0
    assert told[-1] == (30, 30)


def test_the_interval_draws_groups_where_there_are_some(toy_pictures: Pictures) -> None:
    rows = all_rows(toy_pictures)
    assert toy_pictures.groups is not None
    assert evaluate_rows(knows_labels, toy_pictures, rows, image_size=16, device=CPU).interval == "bootstrap over groups"
    without = replace(toy_pictures, groups=None)
    assert evaluate_rows(knows_labels, without, rows, image_size=16, device=CPU).interval == "bootstrap over images"


@pytest.mark.parametrize("case", ["supervised", "linear"])
def test_timm_alone_gives_the_same_numbers(finished_run: Make, toy_pictures: Pictures, case: str) -> None:
    student = finished_run(case).student
    rows = all_rows(toy_pictures)
    ours = evaluate_rows(student_logits(load_student(student)[0]), toy_pictures, rows, image_size=16, device=CPU)
    theirs = evaluate_with_timm(student, toy_pictures, rows, batch_size=20)
    assert theirs.accuracy == ours.accuracy
    assert theirs.nll == pytest.approx(ours.nll, rel=1e-4)


def test_a_classifier_opens_from_its_run_and_from_its_student_folder(finished_run: Make) -> None:
    run = finished_run("supervised")
    for path in (run.path, run.student):
        classifier = open_classifier(path)
        assert classifier.classes == CLASSES
        assert classifier.canvas_size == 16
        assert not classifier.encoder.training


def test_what_is_no_classifier_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no run or student folder"):
        open_classifier(tmp_path / "none")
    with pytest.raises(ModelError, match="is no finished model"):
        open_classifier(tmp_path)
    RunFolder(tmp_path / "half").start(resume=False, resolved="seed = 0\n")
    with pytest.raises(RunError, match="is half written"):
        open_classifier(tmp_path / "half")


@pytest.mark.parametrize("split", ["val", "test", None])
def test_a_folder_gives_the_numbers_of_the_run(finished_run: Make, toy_data: Path, toy_cache: Path, split: str | None) -> None:
    run = finished_run("supervised")
    evaluation = evaluate_folder(run.path, str(toy_data), split=split, cache=toy_cache, reporter=Silence())
    assert evaluation.to_dict() == read_json(run.results)["models"]["student"][split or "test"]


def test_a_student_folder_does_not_know_which_pictures_it_saw(finished_run: Make, toy_data: Path, toy_cache: Path) -> None:
    student = finished_run("supervised").student
    assert evaluate_folder(student, str(toy_data), split=None, cache=toy_cache, reporter=Silence()).num == 48
    with pytest.raises(OptionError, match=r"These data name no test pictures: say --split all"):
        evaluate_folder(student, str(toy_data), split="test", cache=toy_cache, reporter=Silence())


def test_pictures_of_one_class_can_be_evaluated(finished_run: Make, toy_data: Path, toy_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_data / "apple", tmp_path / "data" / "apple")
    evaluation = evaluate_folder(
        finished_run("supervised").path, str(tmp_path / "data"), split=None, cache=toy_cache, reporter=Silence()
    )
    assert (evaluation.num, evaluation.majority) == (16, 1.0)


def test_all_rows_may_be_asked_for(finished_run: Make, toy_data: Path, toy_cache: Path) -> None:
    path = finished_run("supervised").path
    assert evaluate_folder(path, str(toy_data), split="all", cache=toy_cache, reporter=Silence()).num == 48


def test_a_split_that_is_not_there_is_a_sentence(finished_run: Make, toy_data: Path, toy_cache: Path) -> None:
    path = finished_run("supervised").path
    with pytest.raises(OptionError, match=r"There is no split 'tests'\. Did you mean 'test'\?"):
        evaluate_folder(path, str(toy_data), split="tests", cache=toy_cache, reporter=Silence())


def test_classes_are_matched_by_name_and_not_by_place(
    finished_run: Make, toy_data: Path, toy_pictures: Pictures, toy_cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(toy_data, tmp_path / "data", ignore=shutil.ignore_patterns("metadata.csv"))
    shutil.rmtree(tmp_path / "data" / "apple")
    path = finished_run("supervised").path
    some = evaluate_folder(path, str(tmp_path / "data"), split="all", cache=toy_cache, reporter=Silence())
    rows = np.flatnonzero(toy_pictures.labels > 0)
    encoder = load_student(path / "student")[0]
    expected = evaluate_rows(student_logits(encoder), toy_pictures, rows, image_size=16, device=CPU)
    assert (some.num, some.accuracy, some.nll) == (32, expected.accuracy, pytest.approx(expected.nll, rel=1e-5))


def test_a_class_that_was_not_taught_is_a_sentence(finished_run: Make, toy_data: Path, toy_cache: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_data, tmp_path / "data", ignore=shutil.ignore_patterns("metadata.csv"))
    (tmp_path / "data" / "zebra").mkdir()
    for index in range(3):
        toy_picture(1, 100 + index).save(tmp_path / "data" / "zebra" / f"{index}.png")
    with pytest.raises(ModelError, match=r"has classes that .* was not taught: zebra\. It knows 3"):
        evaluate_folder(finished_run("supervised").path, str(tmp_path / "data"), split="all", cache=toy_cache, reporter=Silence())


def test_data_that_are_not_there_are_a_sentence(finished_run: Make, toy_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        evaluate_folder(
            finished_run("supervised").path, str(tmp_path / "none"), split="test", cache=toy_cache, reporter=Silence()
        )


def test_a_split_of_the_runs_own_data_is_the_runs_split(
    recipe_options: Make, toy_data: Path, toy_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_recipe(recipe_options("supervised", tmp_path / "run", data={"split": {"seed": 1, "test": 0.3}}))
    monkeypatch.chdir(toy_data.parent)
    for data in (str(toy_data), toy_data.name):  # the same folder, said in another way
        evaluation = evaluate_folder(run.path, data, split=None, cache=toy_cache, reporter=Silence())
        assert evaluation.to_dict() == read_json(run.results)["models"]["student"]["test"]


def test_pictures_that_were_trained_on_are_said(finished_run: Make, toy_data: Path, toy_cache: Path, tmp_path: Path) -> None:
    class Listener(Silence):
        def __init__(self) -> None:
            self.said: list[str] = []

        def say(self, sentence: str) -> None:
            self.said.append(sentence)

    shutil.copytree(toy_data, tmp_path / "data")
    run, listener = finished_run("supervised"), Listener()
    evaluate_folder(run.path, str(tmp_path / "data"), split=None, cache=toy_cache, reporter=listener)
    seen = len(np.load(run.train_ids))
    assert any(f"{seen} pictures of these have the names of pictures that it was trained on" in line for line in listener.said)
    listener.said.clear()
    evaluate_folder(run.path, str(toy_data), split=None, cache=toy_cache, reporter=listener)
    assert not any("was trained on" in line for line in listener.said)
    assert listener.said[-1].startswith("The class that is named rightly least often: ")
