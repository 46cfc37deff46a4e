"""A contrast's intervals and tests: over seeds, over folds that seeds share, over test pictures."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev

import numpy as np

from picturebook.report.study_content import ContrastRow, McNemar
from picturebook.statistics import Interval, PairedTest, mcnemar, p_of_interval, paired_bootstrap, paired_t, tost
from picturebook.study.answers import Answers

_FEW_UNITS = 30
"""Groups or pictures; under this a bootstrap over them covers less than it says (Efron & Tibshirani 1993, chapter 13)."""

Pair = tuple[Answers, Answers]
"""Both arms' answers with one seed."""


def with_intervals(row: ContrastRow, pairs: Sequence[Pair], *, margin: float) -> ContrastRow:
    """The row with what its runs' answers say: mean, intervals, tests, marks. None of the sources of chance may be forgotten, so
    the widest interval and the largest p are those that are shown.

    Args:
        row: names and runs; one pair a run, at least one.
        pairs: in the order of the runs.
        margin: points within which two arms count as equal.
    """
    differences = [difference for _, difference in row.runs]
    row = replace(row, mean=mean(differences), sd=stdev(differences) if len(differences) > 1 else None)
    pictures, mcnemars = _over_pictures([seed for seed, _ in row.runs], pairs)
    row = replace(row, mcnemar=mcnemars, marks=(*row.marks, *_marks(pairs, pictures)))
    if len(pairs) > 1:
        row = _over_seeds(row, pairs, margin)
    by_fold = _by_fold(pairs)
    if 1 < len(by_fold) < len(pairs):
        row = _over_folds(row, by_fold, margin)
    if pictures is not None:
        p = None if row.p is None else max(row.p, p_of_interval(pictures))
        row = replace(row, pictures_interval=(pictures.low, pictures.high), p=p)
    return _with_widest(row, "groups" if _grouped(pairs) else "pictures")


def _over_seeds(row: ContrastRow, pairs: Sequence[Pair], margin: float) -> ContrastRow:
    test, p_equal = _tested([[pair] for pair in pairs], margin)
    return replace(
        row,
        seeds_interval=(test.low, test.high),
        p=test.p,
        p_seeds=test.p,
        correlation=test.correlation,
        p_equivalence=p_equal,
    )


def _by_fold(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs by the test pictures that they share."""
    found: dict[bytes, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair[0].asked.ids.tobytes()].append(pair)
    return list(found.values())


def _over_folds(row: ContrastRow, by_fold: Sequence[Sequence[Pair]], margin: float) -> ContrastRow:
    """Seeds of a fold share training and test pictures: they are fewer independent numbers than seeds."""
    assert row.mean is not None
    assert row.p is not None
    assert row.p_equivalence is not None
    test, p_equal = _tested(by_fold, margin)
    reach = (test.high - test.low) / 2
    return replace(
        row,
        folds_interval=(row.mean - reach, row.mean + reach),
        p=max(row.p, test.p),
        p_equivalence=max(row.p_equivalence, p_equal),
    )


def _tested(parts: Sequence[Sequence[Pair]], margin: float) -> tuple[PairedTest, float]:
    """The paired t test and the p-value of equality, over the means of parts."""
    first, second = ([mean(pair[arm].accuracy for pair in part) for part in parts] for arm in (0, 1))
    return paired_t(first, second), tost(first, second, margin=margin)


def _over_pictures(seeds: Sequence[int], pairs: Sequence[Pair]) -> tuple[Interval | None, tuple[McNemar, ...]]:
    if not all(first.same_pictures(second) for first, second in pairs):
        return None, ()
    tests = [mcnemar(first.right, second.right) for first, second in pairs]
    rows = tuple(McNemar(seed, test.only_a, test.only_b, test.p) for seed, test in zip(seeds, tests, strict=True))
    clusters = [first.asked.units for first, _ in pairs]
    if len(np.unique(np.concatenate(clusters))) < 2:
        return None, rows
    right = [[100.0 * pair[arm].right for pair in pairs] for arm in (0, 1)]
    return paired_bootstrap(*right, clusters=clusters), rows


def _marks(pairs: Sequence[Pair], pictures: Interval | None) -> list[str]:
    """What makes the interval say less than it seems to."""
    if pictures is None:
        return ["tested on different pictures, or on too few: nothing is drawn over pictures"]
    marks = []
    units = len(np.unique(np.concatenate([first.asked.units for first, _ in pairs])))  # of all folds, as they are drawn
    if units < _FEW_UNITS:
        marks.append(f"{units} {'groups of ' if _grouped(pairs) else ''}test pictures: an interval over so few is too narrow")
    if all(np.array_equal(first.right, second.right) for first, second in pairs):
        marks.append("both are right on the same pictures: an interval without width is no proof that they are equal")
    return marks


def _grouped(pairs: Sequence[Pair]) -> bool:
    return pairs[0][0].asked.groups is not None


def _with_widest(row: ContrastRow, drawn: str) -> ContrastRow:
    assert row.mean is not None
    measured = {"seeds": row.seeds_interval, "folds": row.folds_interval, drawn: row.pictures_interval}
    found = {name: Interval(row.mean, *ends) for name, ends in measured.items() if ends is not None}
    if not found:
        return row
    widest = max(found, key=lambda name: found[name].high - found[name].low)  # of equal ones, the first
    return replace(row, low=found[widest].low, high=found[widest].high, interval=widest)
