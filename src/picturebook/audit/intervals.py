"""95 % intervals of what the audit measures, over pictures or over groups of them."""

import numpy as np
from jaxtyping import Bool, Float64

from picturebook.statistics import Interval, bootstrap_interval, certain_interval


def share_interval(correct: Bool[np.ndarray, " n"], groups: np.ndarray | None = None) -> Interval | None:
    """A share of pictures: Wilson's binomial interval, or the bootstrap over groups. None where there is one unit only."""
    num_units = len(correct if groups is None else np.unique(groups))
    if num_units < 2:
        return None
    if correct.all() or not correct.any():
        return certain_interval(bool(correct[0]), num_units)
    if groups is not None:
        return bootstrap_interval(correct, clusters=groups)
    from scipy.stats import binomtest

    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(confidence_level=0.95, method="wilson")
    return Interval(float(correct.mean()), float(interval.low), float(interval.high))


def mean_interval(values: Float64[np.ndarray, " n"], groups: np.ndarray | None = None) -> Interval | None:
    """A mean over pictures: bootstrap over pictures or groups. None where there is one unit only."""
    if len(values if groups is None else np.unique(groups)) < 2:
        return None
    return bootstrap_interval(values, clusters=groups)
