"""Every loss in its own precision, float32, against float64 oracles where numbers are hard.

Oracles are numpy's, from the formulae. The error is at most 1e-6, of the value where that is above 1. At T = 1000 a divergence
is multiplied by a million, so that float32 alone would be off in the first digit.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import log_expit, log_softmax
from test_every_loss import LOSSES
from torch import Tensor

from picturebook.losses import captioning, permute_non_targets, standardise_logits, teacher_confidences
from picturebook.losses.inputs import exact_log_softmax
from picturebook.types import UNLABELLED

ERROR = 1e-6
TEMPERATURES = [1e-3, 1.0, 1e3]
Oracle = Callable[[np.ndarray, np.ndarray, np.ndarray, float], float]


# ---- oracles: student s, teacher t, labels y, temperature T -------------------------------------------------------------------


def log_probs(logits: np.ndarray, T: float = 1.0) -> np.ndarray:
    return log_softmax((logits - logits.max(-1, keepdims=True)) / T, axis=-1)


def divergences(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Σ_k p_k φ(log q_k − log p_k) with φ(x) = e^x − 1 − x, which is the KL and has no negative terms."""
    gaps = log_q - log_p
    small = gaps**2 / 2 * (1 + gaps / 3 * (1 + gaps / 4 * (1 + gaps / 5)))
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.where(np.abs(gaps) < 1e-3, small, np.expm1(np.minimum(gaps, 600)) - gaps)
    direct = (np.exp(log_p) * -gaps).sum(-1)
    return np.where(np.abs(gaps).max(-1) < 1, (np.exp(log_p) * terms).sum(-1), direct)


def kl(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    return T**2 * divergences(log_probs(t, T), log_probs(s, T)).mean()


def cross_entropies(s: np.ndarray, y: np.ndarray, smoothing: float) -> np.ndarray:
    targets = (1 - smoothing) * np.eye(s.shape[1])[y] + smoothing / s.shape[1]
    return -(targets * log_probs(s)).sum(1)


def confidence_weighted(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    sure = np.exp(log_probs(t, T)).max(1)
    return float((sure / sure.mean() * cross_entropies(s, y, 0.0)).mean())


def decoupled(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    total = 0.0
    for student, teacher, label in zip(s, t, y, strict=True):
        parts = []
        for logits in (student, teacher):
            log_p, rest = log_probs(logits, T), np.delete(logits, label)
            others = np.logaddexp.reduce(np.delete(log_p, label))
            parts.append((np.array([log_p[label], others]), log_probs(rest, T)))
        (q_pair, q_rest), (p_pair, p_rest) = parts
        total += divergences(p_pair[None], q_pair[None])[0] + 8 * divergences(p_rest[None], q_rest[None])[0]
    return T**2 * total / len(s)


def correlation(left: np.ndarray, right: np.ndarray) -> float:
    left, right = left - left.mean(), right - right.mean()
    return float(left @ right / max(np.linalg.norm(left), 1e-8) / max(np.linalg.norm(right), 1e-8))


def correlations(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    q, p = np.exp(log_probs(s, T)), np.exp(log_probs(t, T))
    over_classes, over_images = (
        1 - np.mean([correlation(a, b) for a, b in zip(x, z, strict=True)]) for x, z in ((q, p), (q.T, p.T))
    )
    return float(T**2 * (over_classes + over_images))


def virtual_teacher(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    virtual = np.full(s.shape, 0.01 / (s.shape[1] - 1))
    virtual[np.arange(len(s)), y] = 0.99
    return float(divergences(log_probs(virtual, T), log_probs(s)).mean())


def standardised(logits: np.ndarray) -> np.ndarray:
    spread = logits.std(1, keepdims=True)
    return np.where(spread > 0, (logits - logits.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1), 0.0)


def unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(lengths > 0, rows / np.where(lengths > 0, lengths, 1), 0.0)


def info_nce(s: np.ndarray, t: np.ndarray, positives: np.ndarray, scale: float, smoothing: float) -> float:
    cosines = scale * unit(s) @ unit(t).T
    targets = (1 - smoothing) * positives / positives.sum(1, keepdims=True) + smoothing / len(s)
    return float(-0.5 * (targets * (log_probs(cosines) + log_probs(cosines.T))).sum(1).mean())


def alignment(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    same = (unit(t) @ unit(t).T > 1 - 1e-5) | np.eye(len(t), dtype=bool)
    return info_nce(s, t, same.astype(float), 1 / T, 0.0)


def sigmoid(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    logits = unit(s) @ unit(t).T / T - 1.0
    return float(-log_expit(np.where(np.eye(len(s), dtype=bool), logits, -logits)).sum(1).mean())


def multi_crop(s: np.ndarray, t: np.ndarray, y: np.ndarray, T: float) -> float:
    """All views are alike, so each pair of different ones is."""
    return float(-(np.exp(log_probs(t, T / 2)) * log_probs(s, T)).sum(1).mean())


ORACLES: dict[str, Oracle] = {
    "confidence_weighted": confidence_weighted,
    "contrastive_alignment": alignment,
    "correlation_distillation": correlations,
    "cross_entropy": lambda s, t, y, T: float(cross_entropies(s, y, 0.1).mean()),
    "decoupled_distillation": decoupled,
    "distillation_kl": kl,
    "feature_regression": lambda s, t, y, T: float((1 - (unit(s) * unit(t)).sum(1)).mean()),
    "hint_regression": lambda s, t, y, T: float(((s - t) ** 2).mean()),
    "info_nce": lambda s, t, y, T: info_nce(s, t, np.eye(len(s)), 1 / T, 0.1),
    "multi_crop_cross_entropy": multi_crop,
    "sigmoid_contrast": sigmoid,
    "standardised_kl": lambda s, t, y, T: kl(standardised(s), standardised(t), y, T),
    "virtual_teacher_kl": virtual_teacher,
}


# ---- what is hard -----------------------------------------------------------------------------------------------------------


def drawn(*shape: int, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return scale * torch.randn(2, *shape, generator=generator)


def labels_of(logits: Tensor) -> Tensor:
    return torch.arange(len(logits)) * 7 % logits.shape[1]


def constant(*, rows: bool) -> Tensor:
    both = drawn(4, 5)
    return both.mean(2 if rows else 1, keepdim=True).expand(both.shape).contiguous()


def close(distance: float, num: int = 5, classes: int = 20) -> Tensor:
    teacher, noise = drawn(num, classes)
    return torch.stack([teacher + distance * noise, teacher])


HARD: dict[str, Tensor] = {
    "ordinary": drawn(5, 3),
    "two classes": drawn(4, 2),
    "10,000 classes": drawn(3, 10_000),
    "one sample": drawn(1, 7),
    "no variance of an image over classes": constant(rows=True),
    "no variance of a class over images": constant(rows=False),
    "a thousandth apart": close(1e-3),
    "as far apart as float32 can tell": close(1e-6),
    "the same": close(0.0),
    "far apart": drawn(4, 6, scale=1e4),
    "bfloat16": drawn(4, 50).bfloat16(),
    "bfloat16, where its squares would overflow float16": drawn(4, 50, scale=300.0).bfloat16(),
}


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_float32_is_as_exact_as_it_can_be(name: str, temperature: float) -> None:
    wrong = {}
    for what, (student, teacher) in HARD.items():
        for labels in (labels_of(student), torch.ones(len(student), dtype=torch.int64)):  # the latter: all the same
            value = LOSSES[name](student, teacher, labels, temperature)
            expected = ORACLES[name](student.double().numpy(), teacher.double().numpy(), labels.numpy(), temperature)
            assert value.dtype == torch.float32
            if not is_near(value.item(), expected):
                wrong[what] = (value.item(), expected)
    assert wrong == {}


def test_every_loss_has_an_oracle() -> None:
    assert ORACLES.keys() == LOSSES.keys()


def is_near(value: float, expected: float) -> bool:
    return abs(value - expected) <= ERROR * max(1.0, abs(expected))


# ---- beside the losses of two matrices ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [2, 10_000])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e3])
def test_captioning(vocabulary: int, scale: float) -> None:
    logits = drawn(2, 6, vocabulary, scale=scale)[0]
    words = torch.arange(12).reshape(2, 6) % vocabulary
    words[1, 3:] = -1
    log_q = log_probs(logits.double().numpy())
    said = [log_q[i, j, words[i, j]] for i in range(2) for j in range(6) if words[i, j] >= 0]
    assert is_near(captioning(logits, words, pad=-1, words_per_caption=4.5).item(), -sum(said) / (2 * 4.5))


@pytest.mark.parametrize("what", sorted(HARD))
def test_what_is_done_to_logits_before(what: str) -> None:
    _, logits = HARD[what]
    exact = logits.double().numpy()
    np.testing.assert_allclose(standardise_logits(logits).numpy(), standardised(exact), rtol=1e-5, atol=1e-5)  # of size 1
    for temperature in TEMPERATURES:
        sure = np.exp(log_probs(exact, temperature)).max(1)
        np.testing.assert_allclose(teacher_confidences(logits, temperature=temperature).numpy(), sure, rtol=ERROR, atol=ERROR)
    torch.testing.assert_close(permute_non_targets(logits).sort().values, logits.sort().values, rtol=0, atol=0)
    np.testing.assert_allclose(exact_log_softmax(logits.float()).numpy(), log_probs(exact), rtol=ERROR, atol=ERROR)


def test_gradients_of_what_is_computed_wider_are_those_of_float64() -> None:
    for name in ("distillation_kl", "decoupled_distillation", "correlation_distillation", "virtual_teacher_kl"):
        student, teacher = close(1e-2)
        narrow, wide = (student.clone().to(dtype).requires_grad_() for dtype in (torch.float32, torch.float64))
        for one in (narrow, wide):
            LOSSES[name](one, teacher.to(one.dtype), labels_of(teacher), 100.0).backward()
        assert narrow.grad is not None
        assert wide.grad is not None
        torch.testing.assert_close(narrow.grad.double(), wide.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_what_overflowed_bfloat16_is_not_hidden(name: str) -> None:
    student, teacher = drawn(4, 5).bfloat16()
    student[0, 0] = torch.tensor(3e38, dtype=torch.bfloat16) * 10
    assert student.isinf().sum() == 1
    assert not LOSSES[name](student, teacher, labels_of(student), 1.0).isfinite()


def test_rows_without_labels_and_batches_without_any() -> None:
    student, teacher = HARD["ordinary"]
    labels = torch.full((5,), UNLABELLED)
    for name in ("cross_entropy", "decoupled_distillation", "virtual_teacher_kl", "confidence_weighted"):
        assert LOSSES[name](student, teacher, labels, 1e3).item() == 0.0
