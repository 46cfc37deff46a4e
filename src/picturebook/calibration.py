"""Calibration: how sure a teacher or a student may be, fitted on pictures that did not teach it."""

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.optimize import minimize
from scipy.special import log_softmax

MIN_WEIGHT, MAX_WEIGHT = 0.02, 20.0
"""Bounds of a weight: temperatures from 0.05 to 50. Where all answers are right, the best weight would be infinite."""


def fit_weights(log_probs: Float64[np.ndarray, "experts rows classes"], labels: Int64[np.ndarray, " rows"]) -> tuple[float, ...]:
    """Weights w of a product of experts, p ∝ Π_e p_e^{w_e}, that minimise the negative log-likelihood of the labels.

    For one expert w is 1 / T of temperature scaling (arXiv:1706.04599, section 4.2); for several it is the log-linear pool,
    whose loss is convex in w, so the answer does not depend on the start.

    Args:
        log_probs: [E, n, K], any logits; their softmax is what each expert says.
        labels: [n], 0 … K − 1, of rows that none of the experts was taught with.

    Returns:
        E weights in [MIN_WEIGHT, MAX_WEIGHT], where an expert that only misleads gets the lowest.

    Raises:
        ValueError: no rows, or other numbers of rows and labels.
    """
    if log_probs.ndim != 3 or not len(labels) or log_probs.shape[1] != len(labels):
        raise ValueError(f"expected log-probabilities [experts, {len(labels)} rows, classes], got {list(log_probs.shape)}")
    answers = log_softmax(np.asarray(log_probs, dtype=np.float64), axis=2)
    rows = np.arange(len(labels))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        pooled = log_softmax(np.tensordot(weights, answers, axes=1), axis=1)
        expected = (np.exp(pooled)[None] * answers).sum(axis=2)
        gradient = (expected - answers[:, rows, labels]).mean(axis=1)
        return float(-pooled[rows, labels].mean()), gradient

    bounds = [(MIN_WEIGHT, MAX_WEIGHT)] * len(answers)
    fitted = minimize(loss, np.ones(len(answers)), jac=True, bounds=bounds, method="L-BFGS-B")
    return tuple(float(weight) for weight in fitted.x)


def fit_temperature(logits: Float[np.ndarray, "rows classes"], labels: Int64[np.ndarray, " rows"]) -> float:
    """T of temperature scaling (arXiv:1706.04599, section 4.2), with which softmax(logits / T) fits the labels best (likelihood).

    Where the highest logit is always the label's, the likelihood grows for ever as T falls, and says nothing of how sure the
    answers may be: T is 1 then.

    Args:
        logits: [n, K], of rows that taught the model nothing.
        labels: [n], 0 … K − 1.

    Raises:
        ValueError: no rows, or other numbers of rows and labels.
    """
    (weight,) = fit_weights(np.asarray(logits, dtype=np.float64)[None], labels)
    return 1.0 if weight >= MAX_WEIGHT else 1.0 / weight
