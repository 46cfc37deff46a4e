import numpy as np
import pytest
from scipy.stats import binomtest

from picturebook.audit.intervals import mean_interval, share_interval


def test_a_share_of_pictures_has_wilsons_interval() -> None:
    correct = np.arange(50) < 20
    interval = share_interval(correct)
    expected = binomtest(20, 50).proportion_ci(method="wilson")
    assert interval is not None
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.4, expected.low, expected.high))


@pytest.mark.parametrize("success", [True, False])
def test_a_share_that_is_all_or_none_still_has_a_width_over_its_groups(success: bool) -> None:
    correct = np.full(100, success)
    alone, grouped = share_interval(correct), share_interval(correct, np.arange(100) // 25)
    assert alone is not None
    assert grouped is not None
    assert grouped.high - grouped.low > alone.high - alone.low > 0


def test_one_picture_or_one_group_has_no_interval() -> None:
    assert share_interval(np.array([True])) is None
    assert share_interval(np.array([True, False]), np.array(["a", "a"])) is None
    assert mean_interval(np.array([1.0, 2.0]), np.array(["a", "a"])) is None


def test_means_are_wider_over_groups_whose_values_are_alike() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    alone, grouped = mean_interval(values), mean_interval(values, np.repeat(np.arange(20), 10))
    assert alone is not None
    assert grouped is not None
    assert grouped.mean == alone.mean
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
