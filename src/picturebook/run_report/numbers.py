"""Numbers that a run's page has beyond its results: classes, gains over a baseline, calibration."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import softmax

from picturebook.calibration import fit_temperature
from picturebook.errors import RunError
from picturebook.report.reliability import Reliability, reliability
from picturebook.report.run_content import Calibration, ClassRow, Gain
from picturebook.run_report.run_files import SPLITS, Answers, RunFiles
from picturebook.statistics import bootstrap_interval, certain_interval, mcnemar

FEWEST = 5
"""Pictures, or groups of them, under which no interval of a class is given."""


def class_rows(run: RunFiles, pairs: Mapping[str, Any] | None) -> tuple[ClassRow, ...]:
    """Each class that has pictures, in the order of the logits; with gains where there is a baseline.

    Args:
        run: with stored answers on its split.
        pairs: what `paired` gives, or None.
    """
    answers = run.answers[run.split]
    rows = []
    for number, name in enumerate(run.classes):
        inside = answers.labels == number
        if not inside.any():
            continue
        right = answers.right[inside]
        low, high = _accuracy_interval(right, _units(answers)[inside])
        gains = {} if pairs is None else _class_gain(pairs, pairs["labels"] == number)
        rows.append(ClassRow(name, int(inside.sum()), float(right.mean()), low, high, **gains))
    return tuple(rows)


def paired(run: RunFiles, baseline: RunFiles) -> dict[str, Any]:
    """The pictures that both runs answered, one by one: labels, units, and whether each run is right.

    Raises:
        RunError: the baseline has other classes, or no stored answers on the same pictures.
    """
    if set(baseline.classes) != set(run.classes):
        raise RunError(
            f"{baseline.folder.path} has other classes than {run.folder.path}: a baseline needs to be a run on the same data."
        )
    if run.split not in baseline.answers or run.split not in run.answers:
        lacking = baseline if run.split not in baseline.answers else run
        raise RunError(
            f"{lacking.folder.path} keeps no answers on {SPLITS[run.split]} pictures: train it again, or leave out --baseline."
        )
    ours, theirs = run.answers[run.split], baseline.answers[run.split]
    ids, here, there = np.intersect1d(ours.ids, theirs.ids, return_indices=True)
    if not len(ids):
        raise RunError(
            f"{baseline.folder.path} was not asked about any of the pictures of {run.folder.path}: take a run on the same data."
        )
    theirs_in_ours = np.array([run.classes.index(name) for name in baseline.classes])
    labels = ours.labels[here]
    return {
        "labels": labels,
        "units": _units(ours)[here],
        "ours": ours.right[here],
        "theirs": theirs_in_ours[theirs.logits.argmax(axis=1)][there] == labels,
    }


def gain(pairs: Mapping[str, Any], name: str) -> Gain:
    """All paired pictures together."""
    ours, theirs = pairs["ours"], pairs["theirs"]
    difference, low, high = _difference(pairs, np.ones(len(ours), dtype=bool))
    test = mcnemar(ours, theirs)
    return Gain(name, len(ours), difference, low, high, test.only_a, test.only_b, test.p)


def calibration(run: RunFiles) -> Calibration | None:
    """Certainty against truth on the run's split, before and after the temperature that its validation pictures give."""
    answers = run.answers.get(run.split)
    if answers is None:
        return None
    before = _reliability(answers, 1.0)
    if "val" not in run.answers:
        return Calibration(before, None, 1.0, "There were no labelled validation pictures: no temperature was fitted.")
    temperature = fit_temperature(run.answers["val"].logits, run.answers["val"].labels)
    note = f"Temperature scaling divides the logits by {temperature:.2f}, which was fitted on the validation pictures. "
    seen = "The curve with it is on these same pictures, for lack of test pictures: it flatters."
    note += seen if run.split == "val" else "Both curves are on the test pictures."
    return Calibration(before, _reliability(answers, temperature), temperature, note)


def probabilities(answers: Answers, temperature: float = 1.0) -> np.ndarray:
    """[n, K], each row sums to 1."""
    return np.asarray(softmax(answers.logits.astype(np.float64) / temperature, axis=1))


def _reliability(answers: Answers, temperature: float) -> Reliability:
    return reliability(probabilities(answers, temperature).max(axis=1), answers.right)


def _units(answers: Answers) -> np.ndarray:
    """What is drawn for an interval: groups, or pictures."""
    return np.asarray(answers.ids if answers.groups is None else answers.groups)


def _accuracy_interval(right: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    if (num := len(np.unique(units))) < FEWEST:
        return math.nan, math.nan
    alike = right.all() or not right.any()
    interval = certain_interval(bool(right[0]), num) if alike else bootstrap_interval(right, clusters=units)
    return interval.low, interval.high


def _difference(pairs: Mapping[str, Any], inside: np.ndarray) -> tuple[float, float, float]:
    """Gain and its interval; without one where there are few units, or where all pictures differ alike: that proves nothing."""
    differences = pairs["ours"][inside].astype(np.float64) - pairs["theirs"][inside]
    units = pairs["units"][inside]
    mean = float(differences.mean())
    if len(np.unique(units)) < FEWEST or np.ptp(differences) == 0:
        return mean, math.nan, math.nan
    interval = bootstrap_interval(differences, clusters=units)
    return mean, interval.low, interval.high


def _class_gain(pairs: Mapping[str, Any], inside: np.ndarray) -> dict[str, float]:
    if not inside.any():
        return {}
    difference, low, high = _difference(pairs, inside)
    return {"baseline": float(pairs["theirs"][inside].mean()), "gain": difference, "gain_low": low, "gain_high": high}
