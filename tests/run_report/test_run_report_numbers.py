from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from picturebook.calibration import fit_temperature
from picturebook.errors import RunError
from picturebook.run_report.numbers import FEWEST, calibration, class_rows, gain, paired
from picturebook.run_report.run_files import Answers, RunFiles
from picturebook.runs import RunFolder

CLASSES = ("ape", "bat", "cat")


def made_run(seed: int, *, num: int = 90, sharpness: float = 2.0, grouped: bool = False) -> RunFiles:
    """Answers that lean to the labels; ids and labels are the same for every seed."""
    rng, answers = np.random.default_rng(seed), {}
    for split in ("val", "test"):
        labels = np.arange(num) % 3
        logits = rng.normal(size=(num, 3)) * sharpness + np.eye(3)[labels] * sharpness
        groups = np.array([f"g{row // 2}" for row in range(num)]) if grouped else None
        answers[split] = Answers(ids=np.arange(num) + 1000, labels=labels, logits=logits, groups=groups)
    results = {"models": {"student": {split: {} for split in answers}}}
    return RunFiles(RunFolder(Path(f"runs/{seed}")), {}, results, {}, CLASSES, answers)


def with_test(run: RunFiles, **changes: object) -> RunFiles:
    return replace(run, answers=run.answers | {"test": replace(run.answers["test"], **changes)})


def slow_accuracy(run: RunFiles, label: int) -> float:
    answers = run.answers["test"]
    rows = [row for row in range(len(answers.labels)) if answers.labels[row] == label]
    return sum(max(range(3), key=lambda k: answers.logits[row][k]) == label for row in rows) / len(rows)


@pytest.mark.parametrize("grouped", [False, True])
def test_class_rows_and_gains_are_those_of_a_slow_count(grouped: bool) -> None:
    run, baseline = made_run(0, grouped=grouped), made_run(1, grouped=grouped)
    rows = class_rows(run, paired(run, baseline))
    assert [row.name for row in rows] == list(CLASSES)
    for label, row in enumerate(rows):
        assert row.num == 30
        assert row.accuracy == pytest.approx(slow_accuracy(run, label))
        assert row.baseline == pytest.approx(slow_accuracy(baseline, label))
        assert row.gain == pytest.approx(row.accuracy - row.baseline)
        assert row.low < row.accuracy < row.high
        assert row.gain_low <= row.gain <= row.gain_high


def test_the_whole_gain_counts_pictures_one_by_one() -> None:
    run, baseline = made_run(0), made_run(1)
    found = gain(paired(run, baseline), "other")
    ours, theirs = run.answers["test"].right, baseline.answers["test"].right
    assert found.gain == pytest.approx(ours.mean() - theirs.mean())
    assert found.only_here == sum(a and not b for a, b in zip(ours, theirs, strict=True))
    assert found.only_there == sum(b and not a for a, b in zip(ours, theirs, strict=True))
    assert found.low < found.gain < found.high


def test_pictures_are_paired_by_id_and_classes_by_name() -> None:
    run, baseline = made_run(0), made_run(1)
    straight = gain(paired(run, baseline), "b")
    answers, order, turned = baseline.answers["test"], np.random.default_rng(0).permutation(90), [2, 0, 1]
    shuffled = with_test(
        replace(baseline, classes=tuple(CLASSES[place] for place in turned)),
        ids=answers.ids[order],
        labels=np.argsort(turned)[answers.labels[order]],
        logits=answers.logits[order][:, turned],
    )
    assert gain(paired(run, shuffled), "b") == straight


def test_pairs_are_the_shared_pictures() -> None:
    run, baseline = made_run(0), made_run(1)
    answers = baseline.answers["test"]
    fewer = with_test(baseline, ids=answers.ids[:40], labels=answers.labels[:40], logits=answers.logits[:40])
    assert gain(paired(run, fewer), "b").num == 40


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda run: replace(run, classes=("ape", "bat", "dog")), "has other classes"),
        (lambda run: replace(run, answers={}), "keeps no answers on test pictures"),
        (lambda run: with_test(run, ids=run.answers["test"].ids + 5000), "was not asked about any"),
    ],
)
def test_a_baseline_that_does_not_fit_is_refused(spoil: object, sentence: str) -> None:
    with pytest.raises(RunError, match=sentence):
        paired(made_run(0), spoil(made_run(1)))


def test_few_pictures_and_equal_answers_have_no_interval() -> None:
    run = made_run(0, num=3 * (FEWEST - 1))
    assert all(np.isnan(row.low) for row in class_rows(run, None))
    whole = made_run(0)
    same = class_rows(whole, paired(whole, whole))
    assert all(row.gain == 0 and np.isnan(row.gain_low) for row in same)


def test_the_temperature_comes_from_validation_and_is_shown_on_test() -> None:
    run = made_run(0, sharpness=6.0)
    found = calibration(run)
    assert found is not None
    assert found.after is not None
    assert found.temperature == fit_temperature(run.answers["val"].logits, run.answers["val"].labels)
    test = run.answers["test"]
    scaled = np.exp(test.logits / found.temperature)
    sure = (scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1)
    assert sum(one.num * one.confidence for one in found.after.bins) == pytest.approx(sure.sum())
    assert found.after.ece < found.before.ece
    assert "Both curves are on the test pictures." in found.note


def test_without_test_or_validation_pictures_the_note_says_so() -> None:
    run = made_run(0)
    alone = replace(run, results={"models": {"student": {"test": {}}}}, answers={"test": run.answers["test"]})
    assert calibration(alone).after is None
    flattered = replace(run, results={"models": {"student": {"val": {}}}}, answers={"val": run.answers["val"]})
    assert "it flatters" in calibration(flattered).note
    assert calibration(replace(run, answers={})) is None
