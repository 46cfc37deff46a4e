"""What a classifier's logits are worth against the labels.

Accuracies, calibration errors and rates are fractions in [0, 1], never percent; the negative log-likelihood is in nats
and the Brier score in [0, 2]. Counting and the equal-width calibration error are torchmetrics'; the rest is here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from picturebook.statistics import Interval, bootstrap_interval, certain_interval
from picturebook.types import UNLABELLED

NUM_BINS = 15
"""Bins of both calibration errors, as is usual since arXiv:1706.04599."""

Groups = Sequence[object] | np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One model on one set of labelled images."""

    num: int
    """Labelled images; the others are left out of everything."""
    accuracy: float
    """Share of images whose highest logit is the label's (of equal logits, the first)."""
    low: float
    """Lower end of the accuracy's 95 % interval."""
    high: float
    """Upper end of the accuracy's 95 % interval."""
    interval: str
    """What was drawn for the interval: "bootstrap over groups" or "images", "Wilson over …" where all are right or all wrong, or
    "none: …", which is [0, 1]."""
    top5: float | None
    """Share of images whose label is among the five highest logits; None where there are at most five classes."""
    macro_accuracy: float
    """Mean of the classes' accuracies, over the classes that have labelled images."""
    worst_class_accuracy: float
    """The lowest of the classes' accuracies; of small classes it is very uncertain."""
    worst_class: int
    """Index of that class; of equal ones, the first."""
    nll: float
    """Mean of −log p(label), in nats, at least 0."""
    brier: float
    """Mean of Σ_k (p_k − y_k)², in [0, 2] (Brier 1950; some halve it)."""
    ece: float
    """Calibration error of the highest probability, 15 bins of equal width."""
    ece_mass: float
    """The same with 15 bins of equal numbers of images."""
    aurc: float
    """Area under the risk-coverage curve: lower is better, and 0 is a model without errors."""
    majority: float
    """Share of the most common label: what a constant answer scores."""
    confusion: Int64[np.ndarray, "classes classes"]
    """Counts: rows are labels, columns are predictions."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as values that `json` writes."""
        return asdict(self) | {"confusion": self.confusion.tolist()}


def evaluate_logits(
    logits: Float[Tensor, "n classes"] | Float[np.ndarray, "n classes"],
    labels: Int[Tensor, " n"] | Int[np.ndarray, " n"],
    *,
    groups: Groups | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Compare logits with labels.

    Args:
        logits: [n, K], K at least 2, finite, unbounded, of any device and precision.
        labels: [n], 0 … K − 1, or UNLABELLED for a row that is left out.
        groups: [n], what images belong together (near-duplicates, one animal); the interval then draws whole groups.
            Without groups it draws images, and is too narrow if they are not independent.
        num_bootstrap: draws of the interval.
        seed: of the interval's draws.

    Raises:
        ValueError: no labelled row, shapes that do not fit, a label outside its range or a logit that is not finite.
    """
    scores, truth, kept_groups = _labelled(logits, labels, groups)
    log_probs = scores.log_softmax(dim=1)
    probs = log_probs.exp()
    predictions = scores.argmax(dim=1)
    correct = (predictions == truth).numpy()
    interval, drawn = _accuracy_interval(correct, kept_groups, num_bootstrap, seed)
    confusion = _confusion(predictions, truth, scores.shape[1])
    sizes = confusion.sum(axis=1)
    class_accuracies = np.divide(confusion.diagonal(), sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)
    confidences = probs.amax(dim=1).numpy()
    return Evaluation(
        num=len(truth),
        accuracy=float(correct.mean()),
        low=interval.low,
        high=interval.high,
        interval=drawn,
        top5=_top5(scores, truth) if scores.shape[1] > 5 else None,
        macro_accuracy=float(np.nanmean(class_accuracies)),
        worst_class_accuracy=float(np.nanmin(class_accuracies)),
        worst_class=int(np.nanargmin(class_accuracies)),
        nll=abs(float(log_probs.gather(1, truth[:, None]).mean())),
        brier=brier_score(probs.numpy(), truth.numpy()),
        ece=_equal_width_calibration_error(probs, truth),
        ece_mass=equal_mass_calibration_error(confidences, correct),
        aurc=area_under_risk_coverage(confidences, correct),
        majority=float(sizes.max() / len(truth)),
        confusion=confusion,
    )


def brier_score(probs: Float64[np.ndarray, "n classes"], labels: Int64[np.ndarray, " n"]) -> float:
    """Mean over images of Σ_k (p_k − y_k)², y one-hot; in [0, 2], lower is better (Brier, Monthly Weather Review 78, 1950)."""
    # Σ (p − y)² = Σ p² − 2 p_y + 1 would lose digits near 0, where good models are.
    differences = probs.copy()
    differences[np.arange(len(labels)), labels] -= 1.0
    return float((differences**2).sum(axis=1).mean())


def equal_mass_calibration_error(
    confidences: Float64[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], *, num_bins: int = NUM_BINS
) -> float:
    """Expected calibration error over bins of equal numbers of images (adaptive bins of arXiv:1904.01685, highest class only).

    Images are sorted by confidence and cut into `num_bins` runs whose sizes differ by at most one; the error is
    Σ_bins (size / n) |mean confidence − accuracy|. Unlike equal width it has no nearly empty bins. With fewer images
    than bins each image is a bin and the value is large whatever the model.

    Args:
        confidences: [n], highest probability of each image, in [0, 1].
        correct: [n], whether that class is the label.
        num_bins: at least 1.

    Returns:
        A fraction in [0, 1], the same for every order of the images.
    """
    confidence, accuracy = _by_confidence(confidences, correct)
    bins = np.array_split(confidence - accuracy, min(num_bins, len(confidence)))
    return float(sum(abs(gaps.sum()) for gaps in bins) / len(confidence))


def area_under_risk_coverage(confidences: Float64[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]) -> float:
    """Mean over k = 1 … n of the error rate among the k most confident images (AURC, arXiv:1805.08206).

    Args:
        confidences: [n], any monotone measure of certainty.
        correct: [n], whether the prediction is the label.

    Returns:
        A fraction in [0, 1]; 0 without errors, the plain error rate where all are equally confident. The same for every
        order of the images: among equals it is the mean over their orders.
    """
    _, accuracy = _by_confidence(confidences, correct)
    errors = 1.0 - accuracy[::-1]
    return float((errors.cumsum() / np.arange(1, len(errors) + 1)).mean())


def _by_confidence(
    confidences: Float64[np.ndarray, " n"], correct: Bool[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Confidences, rising, and the accuracy of the images that have that confidence.

    Equal confidences are common (softmax saturates at 1), and no order among them is the true one: each of them gets
    their common accuracy, so that a shuffled data set has the same metrics.
    """
    distinct, membership, counts = np.unique(confidences, return_inverse=True, return_counts=True)
    accuracies = np.bincount(membership, weights=correct) / counts
    return np.repeat(distinct, counts), np.repeat(accuracies, counts)


def _labelled(
    logits: Tensor | np.ndarray, labels: Tensor | np.ndarray, groups: Groups | None
) -> tuple[Float64[Tensor, "m classes"], Int64[Tensor, " m"], np.ndarray | None]:
    """The labelled rows, in float64 on the CPU."""
    scores = torch.as_tensor(logits).detach().to("cpu", torch.float64)
    truth = torch.as_tensor(labels).detach().to("cpu", torch.int64)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"logits: expected shape [n, K] with K >= 2, got {list(scores.shape)}")
    if truth.shape != scores.shape[:1]:
        raise ValueError(f"labels: expected one a row of the logits, shape [{len(scores)}], got {list(truth.shape)}")
    if groups is not None and len(groups) != len(scores):
        raise ValueError(f"groups: expected one a row of the logits, {len(scores)}, got {len(groups)}")
    kept = truth != UNLABELLED
    if not kept.any():
        raise ValueError(f"labels: expected at least one labelled row, got {len(truth)} rows without a label")
    scores, truth = scores[kept], truth[kept]
    if truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise ValueError(
            f"labels: expected 0 … {scores.shape[1] - 1} or {UNLABELLED}, got {int(truth.min())} … {int(truth.max())}"
        )
    if not scores.isfinite().all():
        raise ValueError(
            f"logits: expected finite numbers, got {int((~scores.isfinite()).sum())} that are not: did training diverge?"
        )
    return scores, truth, None if groups is None else np.asarray(groups)[kept.numpy()]


def _accuracy_interval(correct: Bool[np.ndarray, " n"], groups: np.ndarray | None, num: int, seed: int) -> tuple[Interval, str]:
    unit = "image" if groups is None else "group"
    num_units = len(correct if groups is None else np.unique(groups))
    if num_units < 2:
        # One unit says nothing about another; a whole run should not end in an error for it.
        return Interval(float(correct.mean()), 0.0, 1.0), f"none: only one {unit}"
    if correct.all() or not correct.any():
        # Drawing again from units that are all alike would claim certainty.
        return certain_interval(bool(correct[0]), num_units), f"Wilson over {unit}s"
    return bootstrap_interval(correct, clusters=groups, num=num, seed=seed), f"bootstrap over {unit}s"


def _confusion(predictions: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], num_classes: int) -> np.ndarray:
    from torchmetrics.functional.classification import multiclass_confusion_matrix  # seconds to import

    counts: Tensor = multiclass_confusion_matrix(predictions, labels, num_classes=num_classes)
    return counts.numpy()


def _top5(scores: Float64[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    from torchmetrics.functional.classification import multiclass_stat_scores

    # Counts, since torchmetrics' accuracy is a float32 (0.7 would read 0.699999988).
    right, _, _, _, num = multiclass_stat_scores(scores, labels, scores.shape[1], average="micro", top_k=5).tolist()
    return float(right / num)


def _equal_width_calibration_error(probs: Float64[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """arXiv:1706.04599, equation 3, but bins closed on the left; torchmetrics computes it in float32."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    # torchmetrics gives a confidence of exactly 1 a sixteenth bin; the largest float32 below 1 keeps it in the last one.
    # It also takes inputs within [0, 1] for probabilities, and others for logits: so never hand it logits.
    below_one = probs.clamp(max=1.0 - 2.0**-24)
    error: Tensor = multiclass_calibration_error(below_one, labels, num_classes=probs.shape[1], n_bins=NUM_BINS)
    return float(error)
