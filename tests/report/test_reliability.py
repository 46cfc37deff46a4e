import numpy as np
import pytest
import torch

from picturebook.metrics import evaluate_logits
from picturebook.report.reliability import Reliability, reliability, reliability_plot


def slow(confidences: list[float], correct: list[bool], num_bins: int) -> list[tuple[int, float, float]]:
    bins = []
    for place in range(num_bins):
        inside = [
            (sure, right)
            for sure, right in zip(confidences, correct, strict=True)
            if place / num_bins <= sure < (place + 1) / num_bins or (sure == 1 and place == num_bins - 1)
        ]
        if inside:
            num = len(inside)
            bins.append((num, sum(sure for sure, _ in inside) / num, sum(right for _, right in inside) / num))
    return bins


@pytest.mark.parametrize("seed", range(4))
def test_bins_are_those_of_a_slow_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidences = np.append(rng.random(200), [0.0, 0.25, 0.5, 1.0])
    correct = rng.random(204) < confidences
    bins = [(one.num, one.confidence, one.accuracy) for one in reliability(confidences, correct, num_bins=8).bins]
    expected = slow(confidences.tolist(), correct.tolist(), 8)
    assert [one[0] for one in bins] == [one[0] for one in expected]
    np.testing.assert_allclose([one[1:] for one in bins], [one[1:] for one in expected], rtol=1e-12)


def test_the_diagrams_error_is_the_metrics() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 4)) * 2, rng.integers(0, 4, 300)
    probs = torch.from_numpy(logits).softmax(dim=1).numpy()
    diagram = reliability(probs.max(axis=1), probs.argmax(axis=1) == labels)
    assert diagram.ece == pytest.approx(evaluate_logits(torch.from_numpy(logits), torch.from_numpy(labels)).ece, abs=1e-6)


def test_the_plot_tells_its_numbers_in_words() -> None:
    curve = reliability(np.array([0.2, 0.9, 0.95]), np.array([False, True, True]))
    svg = reliability_plot({"as trained": curve, "with temperature": Reliability(curve.bins)}, name="r")
    assert "as trained: expected calibration error" in svg
    assert "certain to 20\u202f%: 0\u202f% right" in svg
    assert svg == reliability_plot({"as trained": curve, "with temperature": curve}, name="r")
