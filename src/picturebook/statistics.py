"""Intervals and tests over images, groups and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # scipy.stats takes most of a second to import

Values = Sequence[float] | np.ndarray

_COUNTS_AT_ONCE = 4_000_000
"""Bootstrap counts held in memory: 32 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its interval, in the unit of the values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The mean of a − b over pairs, its interval and the two-sided p-value of "the mean is 0"."""

    mean: float
    low: float
    high: float
    p: float
    correlation: float | None
    """Pearson's, between a and b: what pairing bought. None where a or b does not vary."""
    n: int


@dataclass(frozen=True, slots=True)
class McNemarTest:
    """Items that only one of two models gets right, and the two-sided p-value of "as many either way"."""

    only_a: int
    only_b: int
    p: float


def bootstrap_interval(
    values: Values,
    *,
    clusters: Sequence[object] | np.ndarray | None = None,
    weights: Values | None = None,
    level: float = 0.95,
    num: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a mean, over values or over clusters of them (Efron & Tibshirani 1993, chapter 13).

    With clusters (near-duplicates, pictures of one bird, frames of one film) whole clusters are drawn, as many as there
    are, and a draw's mean is its sum over its size: values of one cluster stand or fall together, and the interval is as
    wide as that makes it.

    Two warnings. Where all values are equal the interval has no width, which is no proof of certainty: with an error
    rate of 14 %, still one set of 20 images in twenty comes out all right. With few units it is too narrow (5 units: it
    covers some 83 %, not 95 %), so use `t_interval` over seeds.

    Args:
        values: [n], any unit, finite; the order does not matter.
        clusters: [n], a label of each value's cluster, or None where each value is its own.
        weights: [n], above 0: what each value counts in the mean; None where all count alike.
        level: the share of repetitions that the interval is to cover, in (0, 1).
        num: draws, at least 1; below some hundreds the ends are rough.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        ValueError: fewer than 2 values or clusters, a value that is not finite, or another length of clusters.
    """
    array = _finite(values)
    counted = np.ones_like(array) if weights is None else _finite(weights)
    sums, sizes = _cluster_totals(array, counted, clusters)
    unit = "values" if clusters is None else "clusters"
    if len(sums) < 2:
        raise ValueError(f"expected at least 2 {unit} for an interval, got {len(sums)}: with one its width is not defined")
    _check_level(level)
    if num < 1:
        raise ValueError(f"num: expected at least 1 draw, got {num}")
    means = _bootstrap_means(sums, sizes, num, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.average(array, weights=counted)), float(low), float(high))


def certain_interval(success: bool, num: int, *, level: float = 0.95) -> Interval:
    """Wilson's interval of a proportion of which all `num` trials came out alike (Wilson, JASA 22, 1927).

    Args:
        success: whether all trials succeeded, or none.
        num: independent trials, at least 1.
        level: coverage, in (0, 1).
    """
    from scipy.stats import binomtest

    interval = binomtest(num if success else 0, num).proportion_ci(confidence_level=level, method="wilson")
    return Interval(float(success), float(interval.low), float(interval.high))


def t_interval(values: Values, *, level: float = 0.95) -> Interval:
    """Student's t interval of a mean: mean ± t(n − 1) s / √n. For a few seeds, where the bootstrap is too narrow.

    Args:
        values: [n], any unit, finite; one a seed.
        level: the share of repetitions that the interval is to cover, in (0, 1).

    Raises:
        ValueError: fewer than 2 values or a value that is not finite.
    """
    array = _finite(values)
    if len(array) < 2:
        raise ValueError(f"expected at least 2 values for an interval, got {len(array)}: run more seeds")
    _check_level(level)
    mean, error = float(array.mean()), _standard_error(array)
    reach = float(stdtrit(len(array) - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - reach, mean + reach)


def paired_t(a: Values, b: Values, *, level: float = 0.95) -> PairedTest:
    """Paired t test of a − b, one pair a seed, two-sided.

    Where the differences do not vary the t value is 0/0 or infinite: p is 1 if they are all 0, else 0, and such a p
    says more about rounding of the metric than about the arms.

    Args:
        a: [n], finite; one arm's metric, in the order of the seeds.
        b: [n], finite; the other arm's, in the same order and unit.
        level: the share of repetitions that the interval is to cover, in (0, 1).

    Raises:
        ValueError: other lengths, fewer than 2 pairs, or a value that is not finite.
    """
    first, second = _finite(a), _finite(b)
    if len(first) != len(second):
        raise ValueError(f"b: expected {len(first)} values, one for each of a, got {len(second)}: pair them by seed")
    difference = first - second
    interval = t_interval(difference, level=level)
    error = _standard_error(difference)
    p = float(2 * stdtr(len(first) - 1, -abs(interval.mean) / error)) if error > 0 else float(interval.mean == 0)
    varies = np.ptp(first) > 0 and np.ptp(second) > 0
    correlation = float(np.corrcoef(first, second)[0, 1]) if varies else None
    return PairedTest(interval.mean, interval.low, interval.high, p, correlation, len(first))


def tost(a: Values, b: Values, *, margin: float) -> float:
    """P-value of "|mean of a − b| ≥ margin", by two one-sided paired t tests (Schuirmann, J. Pharmacokin. Biopharm. 15, 1987).

    Below α, a and b are equal within the margin: the same as the 1 − 2α t interval of a − b lying inside it. Large, it says
    nothing, as a large p of `paired_t` does. Where the differences do not vary it is 0 inside the margin, else 1.

    Args:
        a: [n], finite; one arm's metric, in the order of the seeds.
        b: [n], finite; the other arm's, in the same order and unit.
        margin: largest difference that does not matter, in the unit of the values, > 0.

    Raises:
        ValueError: other lengths, fewer than 2 pairs, a value that is not finite, or a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin: expected a difference above 0, got {margin}")
    mean = paired_t(a, b).mean
    error = _standard_error(_finite(a) - _finite(b))
    if error == 0:
        return float(abs(mean) >= margin)
    return float(stdtr(len(a) - 1, (abs(mean) - margin) / error))


def mcnemar(a_right: Sequence[bool] | np.ndarray, b_right: Sequence[bool] | np.ndarray) -> McNemarTest:
    """McNemar's exact test of two models on the same items (Psychometrika 12, 1947): what one alone gets right is a coin flip.

    Items count as independent: where they come in groups, p is too small. And it is about these two trained models, not about
    how they were trained, which takes seeds.

    Args:
        a_right: [n], whether a is right on each item.
        b_right: [n], the same of b, in the same order.

    Raises:
        ValueError: other lengths.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(a_right, dtype=bool), np.asarray(b_right, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two lists of equal length, got shapes {list(first.shape)} and {list(second.shape)}")
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemarTest(only_a, only_b, p)


def paired_bootstrap(
    a: Sequence[Values], b: Sequence[Values], *, clusters: Sequence[np.ndarray], level: float = 0.95, num: int = 2000
) -> Interval:
    """Bootstrap over test items of the mean of a − b, over all pairs of runs at once.

    A cluster is drawn with all its items in all pairs, so the interval is that of the mean over pairs, each of which counts the
    same however many items it has: it says how the difference moves with other test items, and leaves out how it moves with other
    seeds (`paired_t` says that).

    Args:
        a: one list [n] of values a pair, such as right or wrong on each item.
        b: the same of the other arm, item by item.
        clusters: the same of the items' clusters; an item that stands alone has a name of its own, the same in every pair.
        level: the share of repetitions that the interval is to cover, in (0, 1).
        num: draws, at least 1.

    Raises:
        ValueError: other lengths, fewer than 2 clusters, or a value that is not finite.
    """
    differences = [_finite(first) - _finite(second) for first, second in zip(a, b, strict=True)]
    names = np.concatenate([np.asarray(part) for part in clusters])
    weights = np.concatenate([np.full(len(part), len(names) / len(differences) / len(part)) for part in differences])
    return bootstrap_interval(np.concatenate(differences), clusters=names, weights=weights, level=level, num=num)


def p_of_interval(interval: Interval, *, level: float = 0.95) -> float:
    """Two-sided p-value of "the mean is 0" by an interval, whose half width is taken for that of a normal distribution.

    So it reaches where a bootstrap has no draws. An interval without width gives 1 where its mean is 0, else 0.
    """
    half = (interval.high - interval.low) / 2
    if half <= 0:
        return float(interval.mean == 0)
    return float(2 * ndtr(-abs(interval.mean) / half * ndtri((1 + level) / 2)))


def holm(p_values: Values) -> tuple[float, ...]:
    """Adjust p-values for their number by Holm's step-down (Scand. J. Statist. 6, 1979), in the order given.

    The i-th smallest of m (from 0) is multiplied by m − i, made at least as large as those before it, and cut at 1.
    Rejecting where the result is ≤ α keeps the chance of any false rejection ≤ α, however the tests depend on each other.

    Raises:
        ValueError: a p-value outside [0, 1].
    """
    array = np.asarray(p_values, dtype=np.float64)
    if array.ndim != 1 or not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"p_values: expected a list of numbers in [0, 1], got {array.tolist()}")
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(array[order] * np.arange(len(array), 0, -1)))
    return tuple(adjusted.tolist())


def _finite(values: Values) -> Float64[np.ndarray, " n"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected a list of numbers, got an array of shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite values, got {np.sum(~np.isfinite(array))} of {len(array)} that are not")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a share between 0 and 1, as 0.95, got {level}")


def _standard_error(array: Float64[np.ndarray, " n"]) -> float:
    # Equal values can have a spread of 1e-17 about their rounded mean: that is none.
    return float(array.std(ddof=1) / np.sqrt(len(array))) if np.ptp(array) > 0 else 0.0


def _cluster_totals(
    array: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"], clusters: Sequence[object] | np.ndarray | None
) -> tuple[Float64[np.ndarray, " clusters"], Float64[np.ndarray, " clusters"]]:
    """Weighted sum and weight of each cluster."""
    if clusters is None:
        return array * weights, weights
    if len(clusters) != len(array):
        raise ValueError(f"clusters: expected {len(array)}, one a value, got {len(clusters)}")
    _, membership = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(membership, weights=array * weights), np.bincount(membership, weights=weights)


def _bootstrap_means(
    sums: Float64[np.ndarray, " clusters"], sizes: Float64[np.ndarray, " clusters"], num: int, rng: np.random.Generator
) -> Float64[np.ndarray, " draws"]:
    # Clusters with equal sum and size are interchangeable, so how often each *kind* is drawn is multinomial. A million
    # right-or-wrong values are two kinds: the draws cost nothing, and are the plain bootstrap's in distribution.
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    chunk = max(1, _COUNTS_AT_ONCE // len(kinds))
    means = []
    for start in range(0, num, chunk):
        drawn = rng.multinomial(len(sums), counts / len(sums), size=min(chunk, num - start))
        totals = drawn @ kinds
        means.append(totals[:, 0] / totals[:, 1])
    return np.concatenate(means)
