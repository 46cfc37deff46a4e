import numpy as np
import pytest
import torch

from picturebook.audit.information import (
    Influence,
    Share,
    divergence_from_mean,
    entropy_bits,
    instance_information,
    probabilities,
    within_class_share,
)
from picturebook.audit.intervals import mean_interval

N, K = 30, 5


def slow_entropy(p: np.ndarray) -> float:
    return float(-sum(x * np.log2(x) for x in p if x > 0))


def some_probs(seed: int, n: int = N, k: int = K, scale: float = 2.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=scale, size=(n, k))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_probabilities_are_a_softmax_at_the_temperature() -> None:
    logits = torch.tensor([[1.0, 3.0, -2.0], [0.0, 0.0, 0.0]])
    powers = np.exp(logits.numpy() / 4)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert probabilities(logits, 4.0) == pytest.approx(expected, abs=1e-6)


def test_entropy_is_its_formula_and_lies_between_0_and_log2_k() -> None:
    probs = np.vstack([some_probs(0), np.eye(K), np.full((1, K), 1 / K)])
    entropies = entropy_bits(probs)
    assert entropies == pytest.approx([slow_entropy(p) for p in probs])
    assert entropies[-1] == pytest.approx(np.log2(K))
    assert entropies[N : N + K] == pytest.approx(0)


def test_influences_are_their_formulae() -> None:
    """Every mean and entropy one number at a time."""
    answers = [some_probs(seed) for seed in range(K)]  # by text, then picture
    influence = Influence(N, K)
    for probs in answers:
        influence.add(probs)
    i_text = np.mean(
        [
            slow_entropy(np.mean([p[i] for p in answers], axis=0)) - np.mean([slow_entropy(p[i]) for p in answers])
            for i in range(N)
        ]
    )
    i_img = np.mean([slow_entropy(p.mean(axis=0)) - np.mean([slow_entropy(row) for row in p]) for p in answers])
    assert influence.of_text().mean() == pytest.approx(i_text)
    assert influence.of_image().mean() == pytest.approx(i_img)


def test_words_that_decide_all_have_log2_k_bits_and_the_picture_none() -> None:
    influence = Influence(N, K)
    for text in range(K):
        influence.add(np.tile(np.eye(K)[text], (N, 1)))
    assert influence.of_text() == pytest.approx(np.log2(K))
    assert influence.of_image() == pytest.approx(0)


def test_pictures_that_decide_all_leave_no_bits_to_the_words() -> None:
    influence = Influence(K, K)
    for _ in range(K):
        influence.add(np.eye(K))
    assert influence.of_text() == pytest.approx(0, abs=1e-12)
    assert influence.of_image() == pytest.approx(np.log2(K))


def test_instance_information_is_its_formula_with_classes_of_any_size() -> None:
    probs, labels = some_probs(1), np.repeat([0, 2, 3, 4], [1, 4, 10, 15])  # class 1 has no picture
    slow = 0.0
    for label in range(K):
        rows = probs[labels == label]
        if len(rows):
            slow += len(rows) / N * (slow_entropy(rows.mean(axis=0)) - np.mean([slow_entropy(row) for row in rows]))
    information = instance_information(probs, labels)
    assert information.mean() == pytest.approx(slow)
    assert information[0] == pytest.approx(0)  # alone in its class


def test_certain_and_nearly_certain_answers_stay_finite() -> None:
    logits = torch.tensor([[0.0, 2000.0], [2000.0, 0.0], [0.0, 700.0], [0.0, 740.0]])
    divergences = divergence_from_mean(probabilities(logits, 1.0))
    assert np.isfinite(divergences).all()
    assert (divergences >= 0).all()


def test_the_bootstrap_of_divergences_is_the_bootstrap_of_the_information() -> None:
    """Resampling means of KL is, to first order, computing H(E P) − E H(P) anew in each draw."""
    probs, rng = some_probs(3, n=400), np.random.default_rng(0)
    draws = []
    for _ in range(500):
        rows = probs[rng.integers(0, 400, 400)]
        draws.append(entropy_bits(rows.mean(axis=0, keepdims=True))[0] - entropy_bits(rows).mean())
    low, high = np.quantile(draws, [0.025, 0.975])
    interval = mean_interval(divergence_from_mean(probs))
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def slow_within_class_share(logits: np.ndarray, labels: np.ndarray) -> float:
    part = whole = 0.0
    centred = np.full_like(logits, np.nan)
    for i, y in enumerate(labels):
        others = [c for c in range(logits.shape[1]) if c != y]
        centred[i, others] = logits[i, others] - logits[i, others].mean()
    for i, y in enumerate(labels):
        for c in range(logits.shape[1]):
            if c != y:
                part += (centred[i, c] - centred[labels == y, c].mean()) ** 2
                whole += (centred[i, c] - np.nanmean(centred[:, c])) ** 2
    return part / whole


@pytest.mark.parametrize("rare", [False, True], ids=["any", "all but one of one class"])
def test_the_within_class_share_is_its_formula(rare: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.r_[np.zeros(N - 1, np.int64), 1] if rare else rng.integers(0, K, N)
    logits = rng.normal(size=(K, K))[labels] + 0.7 * rng.normal(size=(N, K))
    share = within_class_share(torch.tensor(logits), labels)
    assert share.value() == pytest.approx(slow_within_class_share(logits, labels))
    assert share.linearised().mean() == pytest.approx(share.value())


def test_the_within_class_share_does_not_see_what_a_softmax_does_not_see() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, K, N), rng.normal(size=(N, K))
    shifted = within_class_share(torch.tensor(logits + 10 * rng.normal(size=(N, 1))), labels)
    assert shifted.value() == pytest.approx(within_class_share(torch.tensor(logits), labels).value())


def test_a_class_mean_teacher_has_no_variance_within_classes() -> None:
    labels = np.arange(N) % K
    assert within_class_share(
        torch.tensor(np.random.default_rng(0).normal(size=(K, K))[labels]), labels
    ).value() == pytest.approx(0)


def test_two_classes_have_no_non_target_variance() -> None:
    assert within_class_share(torch.randn(10, 2), np.arange(10) % 2).value() is None


def test_a_share_of_a_small_whole_is_a_share() -> None:
    assert Share(np.array([0.1]), np.array([0.5])).value() == pytest.approx(0.2)


def test_what_is_negligible_is_nothing() -> None:
    assert probabilities(torch.tensor([[0.0, -1000.0]]), 1.0).tolist() == [[1.0, 0.0]]


def test_where_every_whole_is_1_the_values_of_a_share_are_its_parts() -> None:
    part = np.array([0.1, 0.9, 0.4])
    assert Share(part, np.ones(3)).linearised() == pytest.approx(part)
