import numpy as np
import pytest
from scipy import stats

from picturebook.statistics import Interval, holm, mcnemar, p_of_interval, paired_t, t_interval, tost

# t_interval


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_t_interval_is_scipys(level: float) -> None:
    values = [0.71, 0.735, 0.72, 0.69, 0.74]
    interval = t_interval(values, level=level)
    expected = stats.t.interval(level, df=4, loc=np.mean(values), scale=stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(expected)
    assert interval.mean == pytest.approx(0.719)


def test_the_t_interval_of_three_values_by_hand() -> None:
    # s = 1, n = 3, and Student's table has 4.303 for 2 degrees of freedom.
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.high - 2.0 == pytest.approx(4.303 / np.sqrt(3), abs=1e-3)
    assert interval.low + interval.high == pytest.approx(4.0)


def test_equal_seeds_have_a_t_interval_without_width_and_one_seed_has_none() -> None:
    interval = t_interval([0.1, 0.1, 0.1])
    assert interval.low == interval.mean == interval.high == pytest.approx(0.1)
    with pytest.raises(ValueError, match="at least 2 values for an interval, got 1: run more seeds"):
        t_interval([0.7])


# paired_t


def test_the_paired_test_is_scipys() -> None:
    rng = np.random.default_rng(0)
    seeds = rng.normal(0.7, 0.02, size=8)
    a, b = seeds + 0.01 + 0.005 * rng.normal(size=8), seeds + 0.005 * rng.normal(size=8)
    test = paired_t(a, b, level=0.9)
    expected = stats.ttest_rel(a, b)
    assert test.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (test.low, test.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert test.mean == pytest.approx((a - b).mean())
    assert test.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert test.n == 8


def test_the_paired_test_turns_its_sign_with_its_arms() -> None:
    a, b = [0.7, 0.72, 0.75], [0.6, 0.65, 0.61]
    one, other = paired_t(a, b), paired_t(b, a)
    assert one.mean > 0 > other.mean
    assert (one.low, one.high, one.p) == pytest.approx((-other.high, -other.low, other.p))


def test_differences_that_do_not_vary_have_a_p_without_a_warning() -> None:
    same = paired_t([0.7, 0.8, 0.9], [0.7, 0.8, 0.9])
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert same.correlation == pytest.approx(1.0)
    shifted = paired_t([0.75, 0.5, 1.0], [0.5, 0.25, 0.75])
    assert (shifted.mean, shifted.p) == (0.25, 0.0)


def test_an_arm_that_does_not_vary_has_no_correlation() -> None:
    assert paired_t([1.0, 1.0, 1.0], [0.7, 0.8, 0.9]).correlation is None


def test_arms_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="b: expected 3 values, one for each of a, got 2: pair them by seed"):
        paired_t([0.1, 0.2, 0.3], [0.1, 0.2])
    with pytest.raises(ValueError, match="at least 2 values"):
        paired_t([0.1], [0.2])


# holm


def test_holm_of_four_by_hand() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04, and the last may not fall below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_holm_leaves_one_alone_and_stops_at_1() -> None:
    assert holm([0.04]) == (0.04,)
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


def test_holm_seldom_rejects_a_true_hypothesis() -> None:
    p = np.random.default_rng(0).random((400, 5))
    any_false_rejection = np.mean([min(holm(row)) <= 0.05 for row in p])
    assert 0.02 <= any_false_rejection <= 0.08
    assert np.mean(p.min(axis=1) <= 0.05) > 0.15


@pytest.mark.parametrize("p_values", [[-0.1], [0.5, 1.1], [float("nan")]])
def test_holm_refuses_what_is_no_p_value(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"p_values: expected a list of numbers in \[0, 1\], got"):
        holm(p_values)


# tost


def slow_tost(a: np.ndarray, b: np.ndarray, margin: float) -> float:
    above = stats.ttest_1samp(a - b, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(a - b, margin, alternative="less").pvalue
    return float(max(above, below))


@pytest.mark.parametrize("shift", [0.0, 0.2, -0.2, 0.5, -3.0])
def test_tost_is_the_larger_of_scipys_one_sided_tests(shift: float) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=10) + shift, 0.2 * rng.normal(size=10)
    assert tost(a, b, margin=0.4) == pytest.approx(slow_tost(a, b, 0.4))
    assert tost(a, b, margin=0.4) == pytest.approx(tost(b, a, margin=0.4))


def test_tost_rejects_where_the_90_percent_interval_lies_inside_the_margin() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        a, b = rng.normal(scale=0.3, size=8), rng.normal(scale=0.3, size=8)
        test = paired_t(a, b, level=0.9)
        assert (tost(a, b, margin=0.3) < 0.05) == (max(-test.low, test.high) < 0.3)


def test_tost_without_spread_and_without_a_margin() -> None:
    assert tost([0.75, 1.0], [0.5, 0.75], margin=0.25) == 1.0
    with pytest.raises(ValueError, match="margin: expected a difference above 0, got 0"):
        tost([0.1, 0.2], [0.1, 0.3], margin=0.0)


# mcnemar


def test_mcnemar_of_ten_by_hand() -> None:
    # One alone gets 8 right, the other 2: twice the chance of at most 2 heads of 10, 2 (1 + 10 + 45) / 1024.
    a = [True] * 8 + [False] * 2 + [True, False]
    b = [False] * 8 + [True] * 2 + [True, False]
    test = mcnemar(a, b)
    assert (test.only_a, test.only_b, test.p) == (8, 2, pytest.approx(112 / 1024))
    assert mcnemar(b, a).p == pytest.approx(test.p)


def test_mcnemar_of_models_that_agree_is_1_and_other_lengths_are_refused() -> None:
    assert mcnemar([True, False], [True, False]).p == 1.0
    with pytest.raises(ValueError, match=r"two lists of equal length, got shapes \[2\] and \[3\]"):
        mcnemar([True, False], [True, False, True])


# p_of_interval and wider


def test_the_p_value_of_an_interval_is_that_of_a_normal_mean() -> None:
    low, high = stats.norm.interval(0.9, loc=1.5, scale=0.7)
    expected = 2 * stats.norm.sf(1.5 / 0.7)
    assert p_of_interval(Interval(1.5, low, high), level=0.9) == pytest.approx(expected)
    assert p_of_interval(Interval(-1.5, -high, -low), level=0.9) == pytest.approx(expected)
    assert p_of_interval(Interval(2.0, 0.0, 4.0)) == pytest.approx(0.05)
    assert (p_of_interval(Interval(2.0, 2.0, 2.0)), p_of_interval(Interval(0.0, 0.0, 0.0))) == (0.0, 1.0)
