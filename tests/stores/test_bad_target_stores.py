"""Target stores that are another's, broken, or on a disk that refuses: a sentence that names what is wrong, and nothing lost."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

from picturebook.errors import RunError, StoreError
from picturebook.stores import packed
from picturebook.stores.targets import TargetStore, TargetWriter
from picturebook.teachers import ClassifierTeacher
from picturebook.types import Batch, Targets
from picturebook.writing import disk_errors_told
from toy_runs import VIT, Listening, make_stages

Make = Callable[..., Any]

IDS = np.arange(6)
OURS = {"teacher": "t1", "classes": "cat, dog", "views": "1 crop", "view seed": "0", "data": "d1"}


def start(folder: Path) -> TargetWriter:
    return TargetWriter(folder, OURS, ids=IDS, num_views=2, num_classes=3, representation_width=None)


def write(writer: TargetWriter, part: slice = slice(None)) -> None:
    ids, views = writer.missing()
    writer.write(ids[part], views[part], Targets(torch.ones(len(ids[part]), 3)))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    writer = start(tmp_path / "targets")
    write(writer)
    writer.finish()
    return tmp_path / "targets"


def opened(folder: Path, **changes: str) -> TargetStore:
    return TargetStore(folder, OURS | changes, num_classes=3, with_representation=False)


@pytest.mark.parametrize(
    ("field", "other"),
    [("teacher", "t2"), ("classes", "dog, cat"), ("views", "1 crop and flip"), ("view seed", "7"), ("data", "d2")],
)
def test_what_belongs_to_something_else_is_refused_by_the_field_that_differs(stored: Path, field: str, other: str) -> None:
    with pytest.raises(StoreError, match=f"its {field} is {OURS[field]}, this run's is {other}"):
        opened(stored, **{field: other})
    assert opened(stored).rows(slice(None)).shape == (6, 2, 3)


@pytest.mark.parametrize("name", ["values.npy", "ids.npy", "header.json"])
def test_a_truncated_file_is_named_and_what_it_was_is_made_again(stored: Path, name: str) -> None:
    file = stored / "logits" / name
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(StoreError, match="is not whole"):
        opened(stored)
    writer = start(stored)
    write(writer)
    writer.finish()
    assert opened(stored).rows(slice(None)).shape == (6, 2, 3)


def test_a_full_disk_is_a_sentence_and_keeps_what_was_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "targets"
    with monkeypatch.context() as broken:
        broken.setattr(os, "posix_fallocate", full)
        with pytest.raises(RunError, match="No space left on device"), disk_errors_told(folder):
            start(folder)
    writer = start(folder)
    write(writer, slice(0, 5))
    assert len(start(folder).missing()[0]) == 7
    write(writer)
    with monkeypatch.context() as broken:
        broken.setattr(np.memmap, "flush", full)
        with pytest.raises(RunError, match="No space left on device"), disk_errors_told(folder):
            writer.finish()
    writer = start(folder)
    assert len(writer.missing()[0]) == 0
    writer.finish()


def test_of_two_that_need_the_same_targets_one_writes_them(recipe_options: Make, tmp_path: Path) -> None:
    asked: list[int] = []

    class Counting(ClassifierTeacher):
        def forward(self, batch: Batch) -> Targets:
            asked.append(len(batch))
            return super().forward(batch)

    many = [make_stages(recipe_options("supervised", tmp_path / name, student=VIT)) for name in ("one", "other")]
    answers: list[Any] = []

    def label(stages: Any) -> None:
        stages.cache = tmp_path / "cache"
        teacher = Counting(stages.new_student("encoder"))
        answers.append(stages.label("targets", teacher, fingerprint={"teacher": "t"}, shared=True))

    threads = [Thread(target=label, args=(stages,)) for stages in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows, views = len(many[0].train_rows), many[0].options.train.distinct_views
    assert sum(asked) == rows * views
    np.testing.assert_array_equal(answers[0].store.rows(slice(None)), answers[1].store.rows(slice(None)))


def test_a_whole_store_is_read_from_a_disk_that_cannot_be_written(
    recipe_options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = make_stages(recipe_options("supervised", tmp_path / "run", student=VIT))
    stages.cache = tmp_path / "cache"
    teacher = ClassifierTeacher(stages.new_student("encoder"))
    first = stages.label("targets", teacher, fingerprint={"teacher": "t"}, shared=True)

    def read_only(folder: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))

    monkeypatch.setattr("picturebook.recipes.shared_stores.locked", read_only)
    again = stages.label("targets", teacher, fingerprint={"teacher": "t"}, shared=True)
    np.testing.assert_array_equal(again.store.rows(slice(None)), first.store.rows(slice(None)))
    with pytest.raises(RunError, match="Read-only file system"), disk_errors_told(tmp_path):
        stages.label("targets", teacher, fingerprint={"teacher": "another"}, shared=True)
    assert packed.is_stored(next((tmp_path / "cache" / "targets").glob("*/logits")))


def test_a_run_says_that_targets_were_cut_off_and_labels_again(recipe_options: Make, tmp_path: Path) -> None:
    stages = make_stages(recipe_options("supervised", tmp_path / "run", student=VIT))
    stages.cache, stages.reporter = tmp_path / "cache", Listening()
    teacher = ClassifierTeacher(stages.new_student("encoder"))
    first = stages.label("targets", teacher, fingerprint={"teacher": "t"}, shared=True).store.rows(slice(None))
    assert stages.reporter.said == []
    (values,) = (tmp_path / "cache" / "targets").glob("*/logits/values.npy")
    os.truncate(values, values.stat().st_size - 1)
    again = stages.label("targets", teacher, fingerprint={"teacher": "t"}, shared=True).store.rows(slice(None))
    np.testing.assert_array_equal(again, first)
    (sentence,) = stages.reporter.said
    assert sentence.startswith(f"{values.parent} was not whole")
