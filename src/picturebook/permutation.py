"""A test without a distribution: answers are dealt out to the items anew, many times."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """How often answers fit their own items, and how often when dealt out at random."""

    observed: float
    """Share of the items whose own answer fits, in [0, 1]."""
    shuffled: float
    """Mean of that share over all orders of the answers."""
    p: float
    """One-sided: the probability of as large a share, or a larger one, where the order of the answers means nothing."""
    n: int
    """Items."""


def permutation_test(fits: Bool[np.ndarray, "answers items"], *, num: int = 10_000, seed: int = 0) -> PermutationTest:
    """Whether answers fit their own items more often than other items (Good 2005, chapter 3).

    Under the null every order of the answers is as likely as the one at hand, so items need to be exchangeable: of
    pictures that belong together (near duplicates, one thing drawn by several hands) give one alone.

    Args:
        fits: [n, n], True where answer i fits item j; on the diagonal are the items' own. Two items at least.
        num: random orders, at least 1; p is never below 1 / (num + 1).
        seed: of the orders; the same seed gives the same p.

    Raises:
        ValueError: `fits` is no square, or has fewer than 2 items.
    """
    n = len(fits)
    if fits.shape != (n, n) or n < 2:
        raise ValueError(f"expected one row an answer and one column an item, 2 at least of each, got {list(fits.shape)}")
    generator, items = np.random.default_rng(seed), np.arange(n)
    observed = int(fits.diagonal().sum())
    as_large = sum(int(fits[generator.permutation(n), items].sum()) >= observed for _ in range(num))
    return PermutationTest(observed / n, float(fits.mean()), (as_large + 1) / (num + 1), n)
