"""Runs are killed at random moments and end as if nothing had been; the long form is benchmarks/trust/kills.py."""

from collections import Counter
from pathlib import Path

import pytest
from finished_work import Notes, redone
from kill_plan import EXPORTS, LONG_NUM, LONG_SEEDS, STAGES, jobs_with, plan, trials
from killing import KINDS
from same_ends import differences
from toy_world import make_units_small

SHORT = [
    ("decode", "SIGKILL", "classifier"),
    ("decode", "power cut", "classifier"),
    ("encode", "SIGTERM", "bank"),
    ("train", "SIGKILL", "classifier"),
    ("train", "power cut", "classifier"),
    ("label", "exception", "classifier"),
    ("evaluate", "power cut", "classifier"),
    ("export", "disk error", "export timm"),
    ("export", "SIGKILL", "export hub"),
    ("compare", "SIGKILL", "compare"),
]


def test_whatever_kills_a_run_it_ends_as_if_nothing_had_been_and_nothing_finished_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_units_small(monkeypatch)
    done = list(trials(tmp_path, SHORT, seed=3))
    assert [problem for trial in done for problem in trial.problems] == []
    assert sum(trial.kills for trial in done) >= 10
    assert {stage for stage, _, _ in SHORT} == set(STAGES)
    assert {kind for _, kind, _ in SHORT} == set(KINDS)


def test_the_long_form_has_every_stage_and_every_kind_ten_times_in_every_job() -> None:
    by_seed = [plan(LONG_NUM, seed) for seed in LONG_SEEDS]
    for chosen in by_seed:
        assert min(Counter(stage for stage, _, _ in chosen).values()) >= 10
        assert min(Counter(kind for _, kind, _ in chosen).values()) >= 10
    both = [trial for chosen in by_seed for trial in chosen]
    assert len(both) >= 200
    assert {stage for stage, _, _ in both} == set(STAGES)
    assert {kind for _, kind, _ in both} == set(KINDS)
    assert Counter(job for stage, _, job in both if stage == "export") == dict.fromkeys(EXPORTS, 10)
    assert all(job in jobs_with(stage) for stage, _, job in both)
    for stage in STAGES:
        assert {job for one, _, job in both if one == stage} == set(jobs_with(stage))
        assert {kind for one, kind, _ in both if one == stage} == set(KINDS)


# ---- the judges can say no --------------------------------------------------------------------------------------------------


def notes(**did: list[tuple[int, int]]) -> Notes:
    return Notes(did={name.replace("_", " "): calls for name, calls in did.items()})


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        (notes(training_student=[(1, 9), (4, 9)]), notes(training_student=[(4, 9)]), False),
        (notes(training_student=[(1, 9), (4, 9)]), notes(training_student=[(3, 9)]), True),
        (notes(training_student=[(1, 9), (3, 9)]), notes(training_student=[(1, 9)]), False),
        (notes(decoding_pictures=[(9, 48)]), notes(decoding_pictures=[(9, 48)]), False),
        (notes(decoding_pictures=[(9, 48)]), notes(decoding_pictures=[(1, 48)]), True),
        (notes(labelling_targets=[(16, 64), (32, 64)]), notes(labelling_targets=[(16, 32)]), False),
        (notes(labelling_targets=[(16, 64), (32, 64)]), notes(labelling_targets=[(16, 48)]), True),
    ],
)
def test_work_that_is_done_again_is_found(before: Notes, after: Notes, again: bool) -> None:
    assert bool(redone(before, after, {"student": [3, 6, 9]})) == again


def test_a_stage_that_was_left_is_not_begun_again() -> None:
    before = notes(training_student=[(1, 9), (9, 9)])
    before.left = {"training student"}
    assert redone(before, notes(training_student=[(9, 9)]), {"student": [3, 6, 9]})
    assert not redone(before, notes(training_head=[(1, 9)]), {"student": [3, 6, 9]})


def test_a_finished_run_that_loses_a_file_is_made_again() -> None:
    before, after = notes(training_student=[(1, 9), (9, 9)]), notes(training_student=[(1, 9)])
    before.left, before.cut = {"training student"}, "run/results.json"
    assert redone(before, after, {"student": [3, 6, 9]})
    before.cut_when_finished = True
    assert not redone(before, after, {"student": [3, 6, 9]})


def test_ends_that_differ_are_found(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / "weights").write_bytes(b"1")
        (tmp_path / name / "run" / "results.json").write_text(f'{{"seconds": {len(name)}.{name == "one":d}, "loss": 1}}')
    assert differences(tmp_path / "one", tmp_path / "two") == []
    (tmp_path / "one" / "run" / "weights").write_bytes(b"2")
    (tmp_path / "one" / "run" / "results.json").write_text('{"loss": 2}')
    (tmp_path / "two" / "run" / "more").touch()
    assert differences(tmp_path / "one", tmp_path / "two") == [
        "run/more is missing",
        "run/results.json differs",
        "run/weights differs",
    ]
