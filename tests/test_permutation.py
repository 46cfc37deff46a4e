from itertools import permutations

import numpy as np
import pytest

from picturebook.permutation import permutation_test


def test_p_is_that_of_all_orders() -> None:
    fits = np.random.default_rng(0).random((6, 6)) < 0.4
    fits[np.arange(4), np.arange(4)] = True
    observed = fits.diagonal().sum()
    shares = [sum(fits[answer, item] for item, answer in enumerate(order)) for order in permutations(range(6))]
    found = permutation_test(fits, num=20_000)
    assert found.n == 6
    assert found.observed == observed / 6
    assert found.shuffled == pytest.approx(np.mean(shares) / 6)
    assert found.p == pytest.approx(np.mean(np.array(shares) >= observed), abs=0.01)


def test_answers_that_know_nothing_are_seldom_significant_and_good_ones_always() -> None:
    generator = np.random.default_rng(1)
    blind = [permutation_test(generator.random((30, 30)) < 0.3, num=99, seed=trial).p for trial in range(200)]
    assert np.mean(np.array(blind) <= 0.05) < 0.1
    assert permutation_test(np.eye(30, dtype=bool), num=999).p == 0.001


def test_answers_that_always_or_never_fit_say_nothing() -> None:
    assert permutation_test(np.ones((5, 5), dtype=bool), num=50).p == 1.0
    assert permutation_test(np.zeros((5, 5), dtype=bool), num=50).p == 1.0


def test_the_seed_fixes_p() -> None:
    fits = np.random.default_rng(0).random((20, 20)) < 0.4
    assert permutation_test(fits, num=500, seed=3) == permutation_test(fits, num=500, seed=3)


def test_what_is_no_square_of_two_is_refused() -> None:
    for shape in ((2, 3), (1, 1), (0, 0)):
        with pytest.raises(ValueError, match="one row an answer and one column an item"):
            permutation_test(np.zeros(shape, dtype=bool))


def test_two_items_are_enough_and_either_order_is_as_likely() -> None:
    found = permutation_test(np.eye(2, dtype=bool), num=2000)
    assert (found.observed, found.shuffled, found.n) == (1.0, 0.5, 2)
    assert found.p == pytest.approx(0.5, abs=0.05)
