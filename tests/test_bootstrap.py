import numpy as np
import pytest
from scipy import stats

from picturebook.statistics import Interval, bootstrap_interval, paired_bootstrap, t_interval


def slow_bootstrap_means(values: np.ndarray, clusters: np.ndarray, num: int, seed: int) -> np.ndarray:
    """The definition: draw as many clusters as there are, with replacement, and average the values in them."""
    rng = np.random.default_rng(seed)
    members = [values[clusters == name] for name in np.unique(clusters)]
    return np.array(
        [np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]).mean() for _ in range(num)]
    )


def clustered(rng: np.random.Generator, num_clusters: int = 40, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Values of mean 0 whose clusters differ far more than the values within one."""
    clusters = np.repeat(np.arange(num_clusters), size)
    return rng.normal(size=num_clusters)[clusters] + 0.5 * rng.normal(size=len(clusters)), clusters


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def width(interval: Interval) -> float:
    return interval.high - interval.low


def test_the_bootstrap_over_values_is_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=50)
    ours = bootstrap_interval(values, num=20_000, level=0.9)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=1)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.02 * width(ours))


def test_the_bootstrap_over_clusters_is_its_definition_for_clusters_of_any_size() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(12), rng.integers(1, 9, size=12))
    values = (rng.random(len(clusters)) < 0.3 + 0.05 * clusters).astype(float)
    order = rng.permutation(len(values))
    ours = bootstrap_interval(values[order], clusters=[f"bird {c}" for c in clusters[order]], num=10_000)
    low, high = np.quantile(slow_bootstrap_means(values, clusters, 10_000, seed=1), [0.025, 0.975])
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.03 * width(ours))


def test_clusters_of_one_are_no_clusters() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, clusters=np.arange(30)) == bootstrap_interval(values)


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = [covers(bootstrap_interval(rng.random(100) < 0.8, num=300), 0.8) for _ in range(300)]
    assert 0.91 <= np.mean(hits) <= 0.98


def test_for_clustered_values_only_the_bootstrap_over_clusters_covers_and_it_is_wider() -> None:
    rng = np.random.default_rng(0)
    naive_hits, cluster_hits = [], []
    for _ in range(150):
        values, clusters = clustered(rng)
        naive, cluster = bootstrap_interval(values, num=200), bootstrap_interval(values, clusters=clusters, num=200)
        assert width(cluster) > 1.5 * width(naive)
        naive_hits.append(covers(naive, 0.0))
        cluster_hits.append(covers(cluster, 0.0))
    assert np.mean(naive_hits) < 0.7
    assert 0.87 <= np.mean(cluster_hits) <= 0.99


def test_draws_are_the_same_for_a_seed_and_for_any_order_of_the_values() -> None:
    values, clusters = clustered(np.random.default_rng(0))
    first = bootstrap_interval(values, clusters=clusters, seed=3)
    assert first == bootstrap_interval(values, clusters=clusters, seed=3)
    assert first != bootstrap_interval(values, clusters=clusters, seed=4)
    right = (values > 0).astype(float)
    assert bootstrap_interval(right, seed=3) == bootstrap_interval(right[::-1], seed=3)


def test_more_draws_than_fit_at_once_are_the_same_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(20)
    whole = bootstrap_interval(values, num=101)
    monkeypatch.setattr("picturebook.statistics._COUNTS_AT_ONCE", 200)
    assert bootstrap_interval(values, num=101) == whole


def test_one_draw_is_an_interval_of_one_point() -> None:
    interval = bootstrap_interval([0.0, 0.5, 1.0], num=1)
    assert interval.low == interval.high


def test_equal_values_have_an_interval_without_width() -> None:
    assert bootstrap_interval([1.0] * 20) == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([0.5], None, "at least 2 values for an interval, got 1"),
        ([], None, "at least 2 values for an interval, got 0"),
        ([0.5, 0.6], ["a", "a"], "at least 2 clusters for an interval, got 1"),
        ([0.5, 0.6], ["a"], "clusters: expected 2, one a value, got 1"),
        ([0.5, float("nan")], None, "expected finite values, got 1 of 2 that are not"),
        ([[0.5, 0.6]], None, r"expected a list of numbers, got an array of shape \[1, 2\]"),
    ],
)
def test_values_without_an_interval_are_refused(values: list[float], clusters: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(np.array(values, dtype=float), clusters=clusters)


def test_an_impossible_level_or_number_of_draws_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level: expected a share between 0 and 1, as 0.95, got 95.0"):
        bootstrap_interval([0.1, 0.2], level=95.0)
    with pytest.raises(ValueError, match=r"level: .* got 1.0"):
        t_interval([0.1, 0.2], level=1.0)
    with pytest.raises(ValueError, match="num: expected at least 1 draw, got 0"):
        bootstrap_interval([0.1, 0.2], num=0)


def test_the_paired_bootstrap_is_the_bootstrap_of_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(15), rng.integers(1, 6, size=15))
    a, b = (rng.random((4, len(clusters))) < rate for rate in (0.7, 0.5))
    ours = paired_bootstrap(list(a), list(b), clusters=[clusters] * 4, num=10_000)
    difference = (a.astype(float) - b).mean(axis=0)
    low, high = np.quantile(slow_bootstrap_means(difference, clusters, 10_000, seed=1), [0.025, 0.975])
    assert ours.mean == pytest.approx(difference.mean())
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.04 * width(ours))


def test_more_runs_on_the_same_items_do_not_narrow_what_the_items_leave_open() -> None:
    rng = np.random.default_rng(0)
    a, b, items = rng.random(60) < 0.7, rng.random(60) < 0.6, np.arange(60)
    once = paired_bootstrap([a], [b], clusters=[items])
    assert paired_bootstrap([a] * 5, [b] * 5, clusters=[items] * 5) == once


def test_each_pair_of_runs_counts_the_same_however_many_items_it_has() -> None:
    rng = np.random.default_rng(0)
    sizes = (30, 60)
    a, b = ([rng.random(size) < rate for size in sizes] for rate in (0.7, 0.5))
    clusters = [np.arange(30), 100 + np.arange(60)]
    ours = paired_bootstrap(a, b, clusters=clusters)
    means = [(first.astype(float) - second).mean() for first, second in zip(a, b, strict=True)]
    assert ours.mean == pytest.approx(np.mean(means))
    assert ours.low < np.mean(means) < ours.high
    ones = [np.ones(size) for size in sizes]
    assert paired_bootstrap(ones, [0 * one for one in ones], clusters=clusters) == Interval(1.0, 1.0, 1.0)


def test_the_bootstrap_of_a_weighted_mean_is_that_of_values_that_stand_there_so_often() -> None:
    rng = np.random.default_rng(0)
    values, weights, clusters = rng.normal(size=60), rng.integers(1, 4, size=60), np.arange(60) // 3
    ours = bootstrap_interval(values, clusters=clusters, weights=weights, num=10_000)
    repeated = bootstrap_interval(np.repeat(values, weights), clusters=np.repeat(clusters, weights), num=10_000)
    assert (ours.mean, ours.low, ours.high) == pytest.approx((repeated.mean, repeated.low, repeated.high))
