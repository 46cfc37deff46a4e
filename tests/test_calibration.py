import numpy as np
import pytest
from scipy.special import log_softmax

from picturebook.calibration import MAX_WEIGHT, MIN_WEIGHT, fit_temperature, fit_weights


def drawn(logits: np.ndarray, seed: int = 0) -> np.ndarray:
    """Labels drawn from the logits' softmax."""
    rng = np.random.default_rng(seed)
    probs = np.exp(log_softmax(logits, axis=1))
    return (probs.cumsum(axis=1) > rng.random((len(logits), 1))).argmax(axis=1)


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_an_expert_too_sure_is_found(temperature: float) -> None:
    true = np.random.default_rng(1).normal(size=(20_000, 5)) * 2
    (weight,) = fit_weights((true * temperature)[None], drawn(true))
    assert 1 / weight == pytest.approx(temperature, rel=0.05)


def test_the_weights_are_the_best_on_a_grid_for_two_experts() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 3_000, 4))
    labels = drawn(0.7 * first + 1.6 * second)
    weights = fit_weights(np.stack([first, second]), labels)
    best = nll(weights[0] * log_softmax(first, axis=1) + weights[1] * log_softmax(second, axis=1), labels)
    others = [
        nll(a * log_softmax(first, axis=1) + b * log_softmax(second, axis=1), labels)
        for a in np.linspace(0.1, 2.5, 13)
        for b in np.linspace(0.1, 2.5, 13)
    ]
    assert best <= min(others) + 1e-6
    assert weights == pytest.approx((0.7, 1.6), abs=0.15)


def test_an_expert_that_only_misleads_gets_the_lowest_weight_and_one_that_is_always_right_the_highest() -> None:
    labels = np.arange(40) % 4
    right = 5.0 * np.eye(4)[labels]
    assert fit_weights(-right[None], labels) == pytest.approx((MIN_WEIGHT,))
    # Its loss falls for ever; where it is flat to the last digit is as good as the bound.
    (weight,) = fit_weights(right[None], labels)
    assert 2.0 < weight <= MAX_WEIGHT


@pytest.mark.parametrize(("shape", "rows"), [((1, 0, 3), 0), ((1, 4, 3), 5), ((4, 3), 4)])
def test_no_rows_and_other_numbers_of_rows_are_refused(shape: tuple[int, ...], rows: int) -> None:
    with pytest.raises((ValueError, TypeError)):
        fit_weights(np.zeros(shape), np.zeros(rows, dtype=np.int64))


def test_a_temperature_is_the_best_on_a_grid() -> None:
    logits = np.random.default_rng(5).normal(size=(2_000, 4)) * 3
    labels = drawn(logits / 2.5)
    found = fit_temperature(logits.astype(np.float32), labels)
    assert found == pytest.approx(2.5, rel=0.1)
    assert nll(logits / found, labels) <= min(nll(logits / grid, labels) for grid in np.geomspace(0.1, 40, 200)) + 1e-9


def test_a_temperature_of_answers_that_are_all_right_is_one() -> None:
    logits = np.random.default_rng(6).normal(size=(50, 3))
    assert fit_temperature(logits, logits.argmax(axis=1)) == 1.0
