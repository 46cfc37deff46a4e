import numpy as np
import pytest

from picturebook.data.counter import counter_uniforms, permutation

MASK = 2**64 - 1


def slow_finalise(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def slow_uniforms(seed: int, sample: int, view: int, num: int, stream: int) -> list[float]:
    state = 0
    for word in (seed, stream, sample, view):
        state = slow_finalise(((state ^ (word & MASK)) + 0x9E3779B97F4A7C15) & MASK)
    return [(slow_finalise((state + (i + 1) * 0x9E3779B97F4A7C15) & MASK) >> 11) / 2**53 for i in range(num)]


def draw(seed: int, ids: object, views: object, num: int, stream: int = 0) -> np.ndarray:
    return counter_uniforms(seed, np.array(ids, dtype=np.int64), np.array(views, dtype=np.int64), num, stream=stream)


def test_finaliser_gives_the_published_sequence_of_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [slow_finalise((1234567 + i * 0x9E3779B97F4A7C15) & MASK) for i in (1, 2, 3)] == published


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 + 7])
@pytest.mark.parametrize("stream", [0, 3])
def test_uniforms_are_the_slow_integer_arithmetic(seed: int, stream: int) -> None:
    ids, views = [0, 1, -1, -(2**63), 2**63 - 1], [0, 5, 1, 0, 2**40]
    expected = [slow_uniforms(seed, sample, view, 4, stream) for sample, view in zip(ids, views, strict=True)]
    assert draw(seed, ids, views, 4, stream).tolist() == expected


def test_uniforms_stay_what_they_were() -> None:
    expected = [
        [0.04531153927147591, 0.6263517950445132, 0.7683969255436166],
        [0.14914613804134758, 0.5592256994595951, 0.679044506499056],
    ]
    assert draw(7, [0, -5], [0, 3], 3).tolist() == expected


def test_a_row_depends_on_itself_alone() -> None:
    ids, views = np.arange(50) * 7919 - 100_000, np.arange(50) % 7
    whole = draw(1, ids, views, 6)
    order = np.random.default_rng(0).permutation(50)
    assert np.array_equal(draw(1, ids[order], views[order], 6), whole[order])
    for row in (0, 31, 49):
        assert np.array_equal(draw(1, ids[row : row + 1], views[row : row + 1], 6), whole[row : row + 1])


def test_asking_for_more_numbers_keeps_the_first() -> None:
    assert np.array_equal(draw(1, [4, 5], [0, 1], 17)[:, :5], draw(1, [4, 5], [0, 1], 5))


def test_uniforms_are_uniform() -> None:
    values = draw(0, np.arange(20_000), np.zeros(20_000), 4)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.stack([np.bincount((column * 64).astype(int), minlength=64) for column in values.T])
    chi_square = ((counts - 20_000 / 64) ** 2 / (20_000 / 64)).sum(axis=1)
    assert (chi_square < 120).all()  # 63 degrees of freedom: mean 63, standard deviation 11
    assert (chi_square > 25).all()
    assert values.mean() == pytest.approx(0.5, abs=0.005)
    assert values.var() == pytest.approx(1 / 12, abs=0.002)


def test_seeds_streams_views_samples_and_numbers_are_unrelated() -> None:
    ids, zeros = np.arange(20_000), np.zeros(20_000)
    rows = [
        draw(0, ids, zeros, 2),
        draw(1, ids, zeros, 2),
        draw(0, ids, zeros, 2, stream=1),
        draw(0, ids, zeros + 1, 2),
        draw(0, ids + 20_000, zeros, 2),
        draw(0, zeros, ids, 2),
    ]
    correlations = np.corrcoef(np.concatenate(rows, axis=1).T)
    assert np.abs(correlations - np.eye(12)).max() < 0.035  # five standard deviations


def test_permutation_holds_each_position_once() -> None:
    for n in (0, 1, 2, 1000):
        order = permutation(3, 1, n)
        assert order.dtype == np.int64
        assert np.array_equal(np.sort(order), np.arange(n))


def test_permutation_stays_what_it_was() -> None:
    assert permutation(7, 2, 10).tolist() == [8, 3, 2, 5, 0, 6, 9, 1, 4, 7]


def test_permutations_differ_between_epochs_and_seeds() -> None:
    orders = [permutation(0, 0, 1000), permutation(0, 1, 1000), permutation(1, 0, 1000), np.arange(1000)]
    correlations = np.corrcoef(orders)
    assert np.abs(correlations - np.eye(4)).max() < 0.15


def test_every_order_of_three_is_as_likely() -> None:
    orders = [tuple(permutation(0, epoch, 3)) for epoch in range(3000)]
    counts = np.array([orders.count(order) for order in sorted(set(orders))])
    assert len(counts) == 6
    assert ((counts - 500) ** 2 / 500).sum() < 25  # 5 degrees of freedom
