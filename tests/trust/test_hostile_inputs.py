"""Hostile files give a result or a sentence; the long form is benchmarks/trust/inputs.py."""

import json
import os
import re
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from guarded import Input, try_all
from hostile import Corpus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plans import is_heavy, planned

from picturebook.data.metadata import read_metadata
from picturebook.errors import DataError, OptionError
from picturebook.options import apply_override, read_toml

QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"))


def wrong(outcomes: list[dict[str, Any]]) -> list[str]:
    return [f"{one['input']}: {one['kind']}, {one['detail']}" for one in outcomes if one["kind"] not in ("result", "sentence")]


def test_good_files_are_read(corpus: Corpus, tmp_path: Path) -> None:
    outcomes = try_all([one for one in corpus.good() if one.name != "train.parquet"], tmp_path)
    assert Counter(one["kind"] for one in outcomes) == {"result": len(outcomes)}, outcomes


def test_spoilt_files_give_a_result_or_a_sentence(corpus: Corpus, tmp_path: Path) -> None:
    outcomes = try_all(list(corpus.spoilt(90, seed=0)), tmp_path)
    assert len(outcomes) == 90
    assert wrong(outcomes) == []
    assert {one["kind"] for one in outcomes} == {"result", "sentence"}


def test_every_format_is_spoilt_and_planned_for(corpus: Corpus) -> None:
    spoilt = " ".join(one.name for one in [*corpus.spoilt(600, seed=1), *corpus.spoilt_data_sets(1, seed=1)])
    for ending in ("png", "jpg", "webp", "gif", "parquet", "csv", "jsonl", "toml", "safetensors", "onnx", "tar"):
        assert re.search(rf"{ending}\b", spoilt), ending
    names = " ".join(one.name for one in planned(corpus))
    for plan in (
        "../../outside.png",
        "a link to",
        "/etc/passwd",
        "a tar",
        "a tar member",
        "a pickle",
        "a table",
        "RUN.toml",
        "onnx:",
        "words:",
    ):
        assert plan in names, plan


def test_what_an_enemy_plans_gives_a_result_or_a_sentence(corpus: Corpus, tmp_path: Path) -> None:
    inputs = [one for one in planned(corpus) if not is_heavy(one)]
    outcomes = try_all(inputs, tmp_path)
    assert len(outcomes) == len(inputs) > 60
    assert wrong(outcomes) == []
    assert not list(tmp_path.rglob("pwned"))


# ---- the guard can say no ---------------------------------------------------------------------------------------------------


def _write_outside(place: Path) -> None:
    (place.parent / "outside").write_text("!")


def _run_a_program(place: Path) -> None:
    os.system("true")


def _crash(place: Path) -> None:
    raise KeyError("a")


def _die(place: Path) -> None:
    os._exit(3)


def _fill(place: Path) -> None:
    assert len(bytes(3 * 2**30).replace(b"\0", b"1")) > 0


@pytest.mark.parametrize(
    ("read", "kind"),
    [(_write_outside, "escape"), (_run_a_program, "escape"), (_crash, "crash"), (_die, "crash"), (_fill, "crash")],
)
def test_the_guard_sees_what_must_not_be(tmp_path: Path, read: Any, kind: str) -> None:
    outcomes = try_all([Input("bad", lambda place: None, read), Input("good", lambda place: None, lambda place: None)], tmp_path)
    assert [one["kind"] for one in outcomes] == [kind, "result"]


@pytest.mark.parametrize(("bound", "pause"), [("SECONDS", 0.0), ("_WAITING", 60.0)])
def test_the_guard_ends_what_computes_or_waits_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, pause: float
) -> None:
    monkeypatch.setattr(f"guarded.{bound}", 0.2)

    def hang(place: Path) -> None:
        while True:
            time.sleep(pause)

    assert [one["kind"] for one in try_all([Input("slow", lambda place: None, hang)], tmp_path)] == ["hang"]


# ---- texts that hypothesis writes -------------------------------------------------------------------------------------------

cells = st.text(max_size=20) | st.sampled_from(
    ["../../a.png", "/etc/passwd", "apple/0.png", "a\0b", "\ud800", "\ufeff", '"', "a\nb"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | cells,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(cells, inner, max_size=3),
    max_leaves=5,
)


def read(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        with suppress(DataError):
            rows = read_metadata(path, file_name="file_name").rows
            assert all(not name.startswith(("/", "..")) for name in rows)


@QUICK
@given(st.lists(st.lists(cells, max_size=4), max_size=4), st.sampled_from([",", ";", "\t"]))
def test_any_csv_is_a_table_or_a_sentence(rows: list[list[str]], comma: str) -> None:
    lines = [["file_name", "label"], *rows]
    read("metadata.csv", "\n".join(comma.join(line) for line in lines).encode("utf-8", "surrogatepass"))


@QUICK
@given(st.lists(st.dictionaries(st.just("file_name") | cells, values, max_size=3) | values, max_size=3))
def test_any_jsonl_is_a_table_or_a_sentence(rows: list[Any]) -> None:
    read("metadata.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


@QUICK
@given(
    st.text(max_size=60)
    | st.builds(lambda key, value: f"{key} = {json.dumps(value)}", st.from_regex(r"[a-z.\[\]\"]{1,9}"), values)
)
def test_any_text_is_toml_or_a_sentence(content: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "RUN.toml"
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        with suppress(OptionError):
            assert isinstance(read_toml(path), dict)


@QUICK
@given(st.text(max_size=40))
def test_any_override_is_taken_or_refused(text: str) -> None:
    with suppress(OptionError):
        apply_override({"train": {"epochs": 1}, "out": "runs/a"}, text)
