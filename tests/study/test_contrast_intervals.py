"""Which numbers count as independent: seeds, folds that seeds share, test pictures."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from picturebook.report.study_content import ContrastRow
from picturebook.statistics import Interval, p_of_interval
from picturebook.study.answered import Answered, Asked
from picturebook.study.answers import Answers
from picturebook.study.intervals import Pair, with_intervals

NUM = 400
"""Test pictures of a fold."""


def answers(fold: int, share: float, seed: int) -> Answers:
    """Of a student that names this share of the fold's pictures rightly."""
    ids = fold * NUM + np.arange(NUM)
    right = np.random.default_rng(seed).permutation(NUM) < round(share * NUM)
    answered = Answered(np.where(right, ids % 3, (ids + 1) % 3), np.ones(NUM), calibrated=None, temperature=None)
    asked = Asked(("a", "b", "c"), ids, ids % 3, (ids // 2).astype(str))
    return Answers(asked, answered, nll=1.0, ece=1.0, seconds={}, validations=[], teachers={}, commit="")


def contrast(differences: Sequence[float], folds: Sequence[int], *, margin: float = 1.0) -> ContrastRow:
    """Of an arm that is by so many hundredths better than one with 40 % right, seed by seed."""
    pairs: list[Pair] = [
        (answers(fold, 0.4 + difference, 2 * seed), answers(fold, 0.4, 2 * seed + 1))
        for seed, (difference, fold) in enumerate(zip(differences, folds, strict=True))
    ]
    runs = tuple((seed, a.accuracy - b.accuracy) for seed, (a, b) in enumerate(pairs))
    return with_intervals(ContrastRow("a", "b", runs), pairs, margin=margin)


def test_folds_that_seeds_share_are_the_independent_numbers() -> None:
    # Folds differ much, seeds of a fold hardly: over eight seeds this looks surer than four folds can make it.
    means = np.array([0.5, 4.0, 7.0, 10.0])
    row = contrast([*(means + 0.25) / 100, *(means - 0.25) / 100], [0, 1, 2, 3, 0, 1, 2, 3], margin=12.0)
    expected = stats.ttest_1samp(means, 0)
    interval = expected.confidence_interval(0.95)
    assert row.folds_interval == pytest.approx((interval.low, interval.high))
    assert (row.low, row.high) == row.folds_interval
    assert row.interval == "folds"
    assert row.p == pytest.approx(expected.pvalue)
    assert row.p_seeds is not None
    assert row.p_seeds < 0.01 < 0.05 < expected.pvalue
    assert row.p_equivalence == pytest.approx(stats.t.cdf((means.mean() - 12.0) / stats.sem(means), 3))


@pytest.mark.parametrize("folds", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one for all", "one each"])
def test_where_none_or_all_are_shared_there_is_nothing_over_folds(folds: list[int]) -> None:
    row = contrast([0.01, 0.04, 0.07, 0.10], folds)
    assert row.folds_interval is None
    assert row.interval in ("seeds", "groups")


def test_folds_that_happen_to_agree_make_nothing_surer() -> None:
    row = contrast([0.01, 0.09, 0.09, 0.01], [0, 1, 0, 1])
    assert row.folds_interval == pytest.approx((row.mean, row.mean))
    assert row.seeds_interval is not None
    assert row.pictures_interval is not None
    widths = {"seeds": np.ptp(row.seeds_interval), "groups": np.ptp(row.pictures_interval)}
    assert row.interval == max(widths, key=lambda name: widths[name])
    assert row.p is not None
    assert row.p_seeds is not None
    assert row.p == max(row.p_seeds, p_of_interval(Interval(row.mean or 0.0, *row.pictures_interval)))


def test_folds_of_unequal_numbers_of_seeds_leave_the_mean_as_it_is() -> None:
    row = contrast([0.02, 0.04, 0.09], [0, 1, 1])
    assert row.mean == pytest.approx(5.0)
    assert row.folds_interval is not None
    assert sum(row.folds_interval) / 2 == pytest.approx(5.0)
