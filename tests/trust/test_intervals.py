"""Intervals and tests on studies whose truth is known; the long form is benchmarks/trust/intervals.py."""

import numpy as np
import pytest
from simulated_studies import PICTURES, analysed, coverage, false_claims, false_positives, simulate, truth


@pytest.mark.parametrize("seeds", [5, 8])
def test_the_interval_of_a_study_holds_the_truth_as_often_as_it_says(seeds: int) -> None:
    assert 87 <= coverage(100, seeds, effect=0.15, seed=seeds) <= 100


@pytest.mark.parametrize("seeds", [5, 8])
def test_the_paired_test_finds_a_difference_between_equals_seldom(seeds: int) -> None:
    assert 2 <= false_positives(400, seeds, seed=seeds) <= 9


def test_seeds_that_share_a_folds_pictures_are_not_taken_for_more_than_they_are() -> None:
    assert 87 <= coverage(100, 8, effect=0.15, seed=1, folds=4) <= 100
    assert false_claims(100, 8, seed=2, folds=4) <= 9


def test_the_truth_is_what_many_studies_say_on_average() -> None:
    found = [100 * (study.right[0].mean() - study.right[1].mean()) for study in simulate(300, 5, effect=0.3, seed=0)]
    assert np.mean(found) == pytest.approx(truth(0.3), abs=4 * np.std(found) / len(found) ** 0.5)
    assert truth(0.3) > 3


def test_a_difference_is_found_where_it_is_large() -> None:
    rows = [analysed(study) for study in simulate(10, 8, effect=1.0, seed=0)]
    assert {row.reading for row in rows} == {"a is better"}
    assert all(row.interval in ("seeds", "groups") for row in rows)
    assert PICTURES >= 1000
