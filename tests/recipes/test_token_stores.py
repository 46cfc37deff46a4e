"""Where a teacher's image tokens are kept, and that two runs that need the same ones make them once."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import rmtree
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch

from picturebook.config import run_recipe
from picturebook.data.loaders import evaluation_batches
from picturebook.errors import DataError
from picturebook.recipes.tokens import HELD_OUT, encode_pictures, held_out_tokens
from picturebook.runs import RunFolder
from picturebook.stores.packed import PackedArray
from picturebook.types import Progress, Silence
from picturebook.writing import read_json
from toy_runs import Listening, make_stages

Make = Callable[..., Any]


class Held(Silence):
    """Counts the batches that are encoded; the first encoding waits until it is let go."""

    def __init__(self) -> None:
        self.encoded = 0
        self.began, self.go = Event(), Event()

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        return self._encoding() if name == "encoding pictures" else super().stage(name)

    @contextmanager
    def _encoding(self) -> Any:
        self.began.set()
        assert self.go.wait(60)

        def progress(done: int, total: int) -> None:
            self.encoded += 1

        yield progress


@pytest.fixture
def encode(recipe_options: Make, finished_run: Make, tmp_path: Path) -> Make:
    """Encode the training pictures for a run called `name`, through a finished run's student unless told otherwise."""

    def prepare(name: str, *, reporter: Silence | None = None, **changes: Any) -> Callable[[], PackedArray]:
        teacher = {"image_encoder": str(finished_run("supervised").path), **changes.pop("teacher", {})}
        options = recipe_options("distil", tmp_path / name, teacher=teacher, cache=str(tmp_path / "cache"), **changes)
        RunFolder(tmp_path / name).start(resume=False, resolved="")
        stages = make_stages(options)
        stages.reporter = reporter or Silence()
        return lambda: encode_pictures(stages, options.teacher)[1]

    return prepare


def test_of_two_runs_at_once_one_encodes_and_the_other_finds_it_done(encode: Make) -> None:
    reporters = Held(), Held()
    reporters[1].go.set()
    jobs = [encode(f"run{number}", reporter=reporter) for number, reporter in enumerate(reporters)]
    found: dict[int, PackedArray] = {}
    threads = [Thread(target=lambda number=number: found.update({number: jobs[number]()}), daemon=True) for number in (0, 1)]
    threads[0].start()
    assert reporters[0].began.wait(60)
    threads[1].start()
    threads[1].join(0.5)
    assert threads[1].is_alive()
    assert not reporters[1].began.is_set()
    reporters[0].go.set()
    for thread in threads:
        thread.join(60)
    assert (reporters[0].encoded, reporters[1].encoded) == (1, 0)
    assert found[0].folder == found[1].folder
    np.testing.assert_array_equal(found[0].values, found[1].values)


def test_tokens_of_another_precision_or_other_views_are_kept_apart(encode: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    larger = {"student": {"image_size": 64}, "data": {"canvas_size": 64}}
    folders = [encode("a", **larger)().folder, encode("b", **larger, precision="bf16")().folder]
    monkeypatch.setattr("picturebook.recipes.stages.VIEWS_VERSION", "another")
    folders.append(encode("c", **larger)().folder)
    assert len(set(folders)) == 3


def test_tokens_of_an_encoder_that_the_run_trains_go_with_its_stages(encode: Make, tmp_path: Path) -> None:
    assert encode("run")().folder.parent == tmp_path / "cache" / "tokens"
    trained = encode("trained", teacher={"image_encoder": "train"}, train={"epochs": 1})
    assert trained().folder.parent == tmp_path / "trained" / "stages" / "tokens"


def test_a_budget_too_small_for_one_view_is_refused_and_a_small_one_said(encode: Make) -> None:
    # A view takes 33 pictures of one token of 8 numbers of 2 bytes: 528 bytes.
    with pytest.raises(DataError, match=r"raise teacher\.token_budget_gb"):
        encode("a", teacher={"token_budget_gb": 527e-9})()
    listener = Listening()
    assert encode("b", teacher={"token_budget_gb": 1055e-9}, reporter=listener)().num_views == 1
    assert [sentence for sentence in listener.said if sentence.startswith("1 instead of 2 views of image tokens")]
    assert encode("c", teacher={"token_budget_gb": 1057e-9})().num_views == 2


def test_tokens_that_were_cut_off_are_said_and_encoded_again(encode: Make) -> None:
    first = encode("a")()
    expected, values = np.array(first.values), first.folder / "values.npy"
    os.truncate(values, values.stat().st_size - 1)
    listener = Listening()
    np.testing.assert_array_equal(encode("b", reporter=listener)().values, expected)
    assert [sentence for sentence in listener.said if sentence.startswith(f"{first.folder} was not whole")]


def test_tokens_are_made_once_whatever_is_known_of_the_labels(encode: Make) -> None:
    first = encode("all")()
    again = Held()
    again.go.set()
    fewer = encode("few", reporter=again, data={"supervision": {"labelled_share": 0.5}})()
    assert again.encoded == 0
    assert fewer.folder == first.folder


def test_teachers_are_evaluated_on_tokens_that_are_stored_once(
    recipe_options: Make, finished_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"teacher": {"image_encoder": str(finished_run("supervised").path)}, "cache": str(tmp_path / "cache")}
    first, second = (run_recipe(recipe_options("distil", tmp_path / name, **changes)) for name in ("first", "second"))
    assert [HELD_OUT in read_json(run.provenance)["seconds"] for run in (first, second)] == [True, False]
    assert read_json(first.results)["models"]["teacher"] == read_json(second.results)["models"]["teacher"]
    options = recipe_options("distil", tmp_path / "third", **changes)
    RunFolder(tmp_path / "third").start(resume=False, resolved="")
    stages = make_stages(options)
    encoder = encode_pictures(stages, options.teacher)[0]
    held = held_out_tokens(stages, encoder, options.teacher, spent=0)
    assert held is not None
    rows = np.concatenate([stages.pictures.rows[split] for split in ("test", "val")])
    (batch,) = evaluation_batches(stages.pictures, rows, image_size=options.student.image_size, device=stages.device)
    assert batch.images is not None
    with torch.no_grad():
        live = encoder.tokens(batch.images).numpy()
    np.testing.assert_allclose(held.read(batch.ids.numpy(), batch.views.numpy()), live, rtol=1e-3, atol=1e-6)
    rest = round(options.teacher.token_budget_gb * 1e9) - held.values.nbytes
    assert held_out_tokens(stages, encoder, options.teacher, spent=rest) is not None
    assert held_out_tokens(stages, encoder, options.teacher, spent=rest + 1) is None
    trained = options.teacher.model_copy(update={"image_encoder": "train"})
    assert held_out_tokens(stages, encoder, trained, spent=0) is None
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert held_out_tokens(stages, encoder, options.teacher, spent=0) is not None, "it is there, and need not be written"
    rmtree(held.folder)
    assert held_out_tokens(stages, encoder, options.teacher, spent=0) is None


def test_what_a_cache_held_is_said_with_the_seconds_that_it_took(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    teacher = {"image_encoder": str(finished_run("supervised").path)}
    cache = str(tmp_path / "cache")
    runs = [run_recipe(recipe_options("distil", tmp_path / name, teacher=teacher, cache=cache)) for name in ("first", "second")]
    first, second = (read_json(run.provenance) for run in runs)
    assert first["cached_seconds"] == {}
    assert second["cached_seconds"] == pytest.approx({name: first["seconds"][name] for name in ("tokens", "head")})
    assert not {"tokens", "head"} & second["seconds"].keys()
    for store in (tmp_path / "cache" / "tokens").glob("*/cost.json"):
        store.write_text("{")
    third = run_recipe(recipe_options("distil", tmp_path / "third", teacher=teacher, cache=cache))
    assert read_json(third.provenance)["cached_seconds"].keys() == {"head"}
