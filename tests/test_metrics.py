import json
from dataclasses import fields

import jaxtyping
import numpy as np
import pytest
import torch

from picturebook.metrics import (
    Evaluation,
    area_under_risk_coverage,
    brier_score,
    equal_mass_calibration_error,
    evaluate_logits,
)
from picturebook.statistics import bootstrap_interval
from picturebook.types import UNLABELLED


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row) / np.exp(row).sum()


def made(n: int = 200, num_classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a fair classifier, and labels; every class occurs."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(num_classes), rng.integers(num_classes, size=n - num_classes)])
    logits = rng.normal(scale=1.5, size=(n, num_classes))
    logits[np.arange(n), labels] += 1.5
    return logits, labels


def two_classes(confidences: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Class 0 is always predicted, with these probabilities; the label says whether that is right."""
    p = np.array(confidences)
    return np.stack([np.log(p), np.log(1 - p)], axis=1), np.where(right, 0, 1)


def slow_equal_width(confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15) -> float:
    total = 0.0
    for b in range(num_bins):
        last = b == num_bins - 1
        inside = [i for i, c in enumerate(confidences) if b / num_bins <= c and (last or c < (b + 1) / num_bins)]
        if inside:
            total += len(inside) / len(confidences) * abs(np.mean(confidences[inside]) - np.mean(correct[inside]))
    return total


def slow_equal_mass(confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15) -> float:
    order = sorted(range(len(confidences)), key=lambda i: confidences[i])
    size, rest = divmod(len(order), num_bins)
    total, start = 0.0, 0
    for b in range(num_bins):
        inside = order[start : start + size + (b < rest)]
        start += len(inside)
        if inside:
            total += len(inside) / len(order) * abs(np.mean(confidences[inside]) - np.mean(correct[inside]))
    return total


def slow_aurc(confidences: np.ndarray, correct: np.ndarray) -> float:
    order = sorted(range(len(confidences)), key=lambda i: -confidences[i])
    return float(np.mean([np.mean([1 - correct[i] for i in order[:k]]) for k in range(1, len(order) + 1)]))


def slow_brier(probs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([sum((p[k] - (k == y)) ** 2 for k in range(len(p))) for p, y in zip(probs, labels, strict=True)]))


def confident(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probs = np.stack([softmax(row) for row in logits])
    return probs.max(axis=1), probs.argmax(axis=1) == labels


# against others


def test_the_metrics_are_scikit_learns_where_it_has_them() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")  # make test installs it
    logits, labels = made()
    probs = np.stack([softmax(row) for row in logits])
    predictions = logits.argmax(axis=1)
    ours = evaluate_logits(logits, labels)
    assert ours.accuracy == sklearn.accuracy_score(labels, predictions)
    assert ours.macro_accuracy == pytest.approx(sklearn.balanced_accuracy_score(labels, predictions), rel=1e-12)
    assert ours.top5 == sklearn.top_k_accuracy_score(labels, logits, k=5)
    assert ours.nll == pytest.approx(sklearn.log_loss(labels, probs), rel=1e-10)
    assert ours.brier == pytest.approx(sklearn.brier_score_loss(labels, probs, scale_by_half=False), rel=1e-10)
    assert np.array_equal(ours.confusion, sklearn.confusion_matrix(labels, predictions))
    recalls = sklearn.recall_score(labels, predictions, average=None)
    assert (ours.worst_class_accuracy, ours.worst_class) == (recalls.min(), recalls.argmin())
    assert ours.majority == np.bincount(labels).max() / 200
    assert ours.num == 200


@pytest.mark.parametrize(("n", "num_classes"), [(3, 2), (15, 3), (200, 7), (173, 100)])
def test_calibration_brier_and_risk_coverage_are_their_formulas(n: int, num_classes: int) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=3.0, size=(n, num_classes)), rng.integers(num_classes, size=n)
    confidences, correct = confident(logits, labels)
    ours = evaluate_logits(logits, labels)
    assert ours.ece == pytest.approx(slow_equal_width(confidences, correct), abs=1e-6)
    assert ours.ece_mass == pytest.approx(slow_equal_mass(confidences, correct), rel=1e-10)
    assert ours.aurc == pytest.approx(slow_aurc(confidences, correct), rel=1e-10)
    assert ours.brier == pytest.approx(slow_brier(np.stack([softmax(row) for row in logits]), labels), rel=1e-10)


# by hand


def test_equal_width_calibration_error_by_hand() -> None:
    # Bins of 1/15: .81 and .85 share the one from .8 to .8667 (mean .83, half right); .95 and .97 the last (mean .96, all right).
    logits, labels = two_classes([0.81, 0.85, 0.95, 0.97], [True, False, True, True])
    assert evaluate_logits(logits, labels).ece == pytest.approx(0.5 * 0.33 + 0.5 * 0.04, abs=1e-6)


def test_a_confidence_of_exactly_1_is_in_the_last_bin_and_not_in_one_of_its_own() -> None:
    logits = np.array([[1e4, 0.0], [0.0, 1e4], [np.log(0.94), np.log(0.06)], [0.0, -1e4]])
    labels = np.array([0, 0, 0, 0])
    # At 1 right, wrong and right, at .94 right: 3/4 right at a mean of .985. In two bins it would be .265.
    assert evaluate_logits(logits, labels).ece == pytest.approx(0.985 - 0.75, abs=1e-6)


def test_equal_mass_calibration_error_by_hand() -> None:
    confidences, correct = np.array([0.9, 0.6, 0.8, 0.5]), np.array([True, False, True, True])
    # Two bins: .5 and .6 (mean .55, half right), .8 and .9 (mean .85, all right).
    assert equal_mass_calibration_error(confidences, correct, num_bins=2) == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)
    assert equal_mass_calibration_error(confidences, correct, num_bins=1) == pytest.approx(0.05)


def test_risk_coverage_by_hand() -> None:
    # From the surest: right, wrong, right, so error rates 0, 1/2 and 1/3.
    assert area_under_risk_coverage(np.array([0.7, 0.9, 0.8]), np.array([True, True, False])) == pytest.approx(
        (1 / 2 + 1 / 3) / 3
    )


def test_brier_by_hand() -> None:
    assert brier_score(np.array([[0.8, 0.2], [0.0, 1.0]]), np.array([0, 0])) == pytest.approx((0.04 + 0.04 + 2.0) / 2)


def test_among_equal_confidences_risk_coverage_is_the_mean_over_their_orders() -> None:
    confidences, correct = np.array([0.9, 0.9, 0.9, 0.5]), np.array([True, False, True, False])
    orders = [slow_aurc(np.array([0.93, 0.92, 0.91, 0.5]), np.array([*row, False])) for row in ([1, 0, 1], [0, 1, 1], [1, 1, 0])]
    assert area_under_risk_coverage(confidences, correct) == pytest.approx(np.mean(orders))


# properties


def test_a_perfect_sure_model_and_a_sure_model_that_is_always_wrong() -> None:
    labels = np.arange(10) % 6
    logits = np.where(np.arange(6) == labels[:, None], 1e4, -1e4)
    best, worst = evaluate_logits(logits, labels), evaluate_logits(logits, (labels + 1) % 6)
    assert (best.accuracy, best.nll, best.brier, best.aurc, best.ece_mass) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert str(best.nll) == "0.0"
    assert best.ece == pytest.approx(0.0, abs=1e-6)
    assert (worst.accuracy, worst.nll, worst.brier, worst.aurc, worst.ece_mass) == (0.0, 2e4, 2.0, 1.0, 1.0)
    assert worst.ece == pytest.approx(1.0, abs=1e-6)


def test_no_metric_depends_on_the_order_of_the_images_even_with_equal_confidences() -> None:
    logits, labels = made()
    logits = np.round(logits * 0.5)
    order = np.random.default_rng(5).permutation(len(labels))
    one, other = evaluate_logits(logits, labels).to_dict(), evaluate_logits(logits[order], labels[order]).to_dict()
    assert one.pop("confusion") == other.pop("confusion")
    assert one.pop("interval") == other.pop("interval")
    assert one == pytest.approx(other, abs=1e-6)


def test_adding_a_constant_to_a_row_of_logits_changes_nothing_not_even_within_0_and_1() -> None:
    logits, labels = made()
    logits = (logits - logits.min()) / np.ptp(logits)  # looks like probabilities, and is not
    one, other = evaluate_logits(logits, labels), evaluate_logits(logits + 100.0, labels)
    assert one.ece == pytest.approx(other.ece, abs=1e-6)
    assert one.ece == pytest.approx(slow_equal_width(*confident(logits, labels)), abs=1e-6)
    assert one.nll == pytest.approx(other.nll)


def test_unlabelled_rows_count_nowhere() -> None:
    logits, labels = made(60)
    more_logits = np.concatenate([np.random.default_rng(1).normal(size=(40, 7)), logits])
    more_labels = np.concatenate([np.full(40, UNLABELLED), labels])
    groups = [f"g{i // 3}" for i in range(60)]
    more = evaluate_logits(more_logits, more_labels, groups=["other"] * 40 + groups)
    assert more.to_dict() == evaluate_logits(logits, labels, groups=groups).to_dict()
    assert more.num == 60


def test_classes_without_images_are_no_part_of_macro_or_worst_accuracy() -> None:
    # Class 2 is predicted once but has no image; class 1 is right once in two.
    logits = np.array([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    ours = evaluate_logits(logits, np.array([0, 1, 1]))
    assert (ours.macro_accuracy, ours.worst_class_accuracy, ours.worst_class) == (0.75, 0.5, 1)
    assert ours.majority == pytest.approx(2 / 3)
    assert ours.confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(("num_classes", "given"), [(2, False), (5, False), (6, True)])
def test_top_5_is_only_for_more_than_five_classes(num_classes: int, given: bool) -> None:
    logits, labels = made(30, num_classes)
    assert (evaluate_logits(logits, labels).top5 is not None) == given


def test_torch_half_precision_and_numpy_say_the_same() -> None:
    logits, labels = made()
    half = torch.tensor(logits, dtype=torch.bfloat16, requires_grad=True)
    ours = evaluate_logits(half, torch.tensor(labels))
    assert ours.to_dict() == evaluate_logits(half.detach().double().numpy(), labels.astype(np.int32)).to_dict()


def test_fractions_are_exact_and_not_float32() -> None:
    answers = np.eye(7)[[0] * 69 + [6] * 31] + np.arange(7) * 1e-3
    ours = evaluate_logits(answers, np.zeros(100, dtype=int))
    assert (ours.accuracy, ours.macro_accuracy, ours.top5) == (0.69, 0.69, 0.69)


# the interval


def test_the_interval_is_drawn_over_groups_where_there_are_some_and_says_so() -> None:
    logits, labels = made(120)
    logits, labels = logits.repeat(3, axis=0), labels.repeat(3)
    groups = np.arange(120).repeat(3)
    correct = logits.argmax(axis=1) == labels
    naive, grouped = evaluate_logits(logits, labels, seed=2), evaluate_logits(logits, labels, groups=groups, seed=2)
    assert (naive.interval, grouped.interval) == ("bootstrap over images", "bootstrap over groups")
    expected = bootstrap_interval(correct, clusters=groups, seed=2)
    assert (grouped.accuracy, grouped.low, grouped.high) == (expected.mean, expected.low, expected.high)
    assert naive.accuracy == grouped.accuracy
    assert grouped.high - grouped.low > 1.4 * (naive.high - naive.low)
    assert naive.low < naive.accuracy < naive.high


def test_one_image_or_one_group_has_no_interval_and_says_so() -> None:
    logits, labels = made(20)
    one = evaluate_logits(logits[:1], labels[:1])
    assert (one.low, one.high, one.interval) == (0.0, 1.0, "none: only one image")
    group = evaluate_logits(logits, labels, groups=["a"] * 20)
    assert (group.low, group.high, group.interval) == (0.0, 1.0, "none: only one group")


# the value


def test_an_evaluation_goes_to_json_and_back_whole() -> None:
    evaluation = evaluate_logits(*made())
    read = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert list(read) == [field.name for field in fields(Evaluation)]
    assert np.array_equal(read["confusion"], evaluation.confusion)
    assert read["accuracy"] == evaluation.accuracy
    assert json.loads(json.dumps(evaluate_logits(*made(40, 3)).to_dict()))["top5"] is None


def test_what_cannot_be_evaluated_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    logits, labels = made(20)
    with pytest.raises(ValueError, match="expected at least one labelled row, got 20 rows without a label"):
        evaluate_logits(logits, np.full(20, UNLABELLED))
    with pytest.raises(ValueError, match="expected at least one labelled row, got 0 rows"):
        evaluate_logits(logits[:0], labels[:0])
    with pytest.raises(ValueError, match=r"labels: expected .*\[20\], got \[19\]"):
        evaluate_logits(logits, labels[:19])
    with pytest.raises(ValueError, match=r"logits: expected shape \[n, K\] with K >= 2, got \[20, 1\]"):
        evaluate_logits(logits[:, :1], labels)
    with pytest.raises(ValueError, match="groups: expected one a row of the logits, 20, got 2"):
        evaluate_logits(logits, labels, groups=["a", "b"])
    with pytest.raises(ValueError, match=r"labels: expected 0 … 6 or -1, got 0 … 7"):
        evaluate_logits(logits, np.where(labels == 3, 7, labels))
    with pytest.raises(ValueError, match=r"logits: expected finite numbers, got 1 that are not"):
        evaluate_logits(np.where(np.arange(140).reshape(20, 7) == 5, np.nan, logits), labels)


@pytest.mark.parametrize(("right", "low", "high"), [(True, 0.7575, 1.0), (False, 0.0, 0.2425)])
def test_all_right_or_all_wrong_is_no_certainty(right: bool, low: float, high: float) -> None:
    labels = np.zeros(12, dtype=np.int64)
    logits = np.tile([[1.0, 0.0]] if right else [[0.0, 1.0]], (12, 1))
    evaluation = evaluate_logits(logits, labels)
    assert evaluation.interval == "Wilson over images"
    assert (evaluation.low, evaluation.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_two_images_have_an_interval_and_all_that_is_drawn_of_one_right_one_is_anything() -> None:
    evaluation = evaluate_logits(torch.eye(2), torch.tensor([0, 0]))
    assert evaluation.interval == "bootstrap over images"
    assert (evaluation.low, evaluation.accuracy, evaluation.high) == (0.0, 0.5, 1.0)
    assert evaluate_logits(torch.eye(2), torch.tensor([0, 1])).interval == "Wilson over images"
