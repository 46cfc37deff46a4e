"""Controls of a teacher's targets: what is left of a method when its targets say less than they seem to.

class_mean             every target is the mean target of its class: no instance is told from another (S1)
within_class_shuffle   every target is that of another picture of its class (S2)
matched_smoothing      smoothed labels with the mean entropy of the targets: no similarity of classes either (S3)

A student that learns as much from a control as from the targets shows that the teacher carried nothing that the control lacks.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from scipy.optimize import brentq
from scipy.special import entr, softmax
from torch import Tensor

from picturebook.data.counter import counter_uniforms
from picturebook.errors import OptionError
from picturebook.options import Options
from picturebook.stores.targets import TargetStore
from picturebook.teachers import Teacher
from picturebook.types import Batch, Targets, to_device

_STREAM = 211
"""Keeps the draws of shuffles apart from those of views and splits."""
_ROWS_AT_ONCE = 4096


class TargetOptions(Options):
    """What the student is given of the teacher's targets."""

    control: Literal["none", "class_mean", "within_class_shuffle", "matched_smoothing"] = "none"
    """The teacher's own targets (none), their class means, those of another picture of the class, or smoothed labels that are as
    soft as they in the mean."""
    shared: bool = False
    """Keep stored targets in the cache, where other students of the same teacher, views and data find them; else they go with the
    run that made them."""


def check_targets(options: TargetOptions, *, with_representation: bool) -> None:
    """Refuse a control of logits where the representation is learnt too.

    Raises:
        OptionError: class_mean or matched_smoothing with a representation.
    """
    if options.control in ("class_mean", "matched_smoothing") and with_representation:
        raise OptionError(f"targets.control = {options.control!r} controls logits: need loss.distilled = 'logits'.")


class ClassTargets:
    """Targets that are a function of the label alone.

    Args:
        table: [K, K], logits of each class's target.
        ids: [n], sample ids.
        labels: [n], their classes.
    """

    def __init__(
        self, table: Float[Tensor, "classes classes"], ids: Int64[np.ndarray, " samples"], labels: Int64[np.ndarray, " samples"]
    ) -> None:
        self._table = table
        order = np.argsort(ids)
        self._ids, self._labels = ids[order], labels[order]

    def __call__(self, batch: Batch) -> Targets:
        labels = self._labels[np.searchsorted(self._ids, batch.ids.numpy())]
        return Targets(to_device(self._table[torch.from_numpy(labels)], batch.device))


class ShuffledTargets:
    """The targets of another sample of the same class, always the same other one.

    Args:
        teacher: gives the targets.
        ids: [n], sample ids.
        labels: [n], their classes; a class of one sample keeps its targets.
        seed: of the shuffle.
    """

    def __init__(
        self, teacher: Teacher, ids: Int64[np.ndarray, " samples"], labels: Int64[np.ndarray, " samples"], *, seed: int
    ) -> None:
        self._teacher = teacher
        draws = counter_uniforms(seed, ids, np.zeros_like(ids), 1, stream=_STREAM)[:, 0]
        others = np.empty_like(ids)
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            places = places[np.argsort(draws[places], kind="stable")]
            others[places] = ids[np.roll(places, 1)]  # one cycle through the class, so that nobody keeps his own
        order = np.argsort(ids)
        self._ids, self._others = ids[order], others[order]

    def __call__(self, batch: Batch) -> Targets:
        places = np.searchsorted(self._ids, batch.ids.numpy())
        other = torch.from_numpy(self._others[places])
        return self._teacher(Batch(other, batch.views, batch.labels))


def class_mean(
    targets: TargetStore, labels: Int64[np.ndarray, " samples"], num_classes: int, *, temperature: float
) -> Float[Tensor, "classes classes"]:
    """Logits whose softmax at `temperature` is the mean over a class's samples and views of the targets at that temperature.

    Args:
        targets: that are stored.
        labels: [n], classes of `targets.ids`, in that order.
        num_classes: K; a class without samples gets an even target.
        temperature: at which the student learns.
    """
    sums = np.zeros((num_classes, num_classes))
    for rows, probs in _probabilities(targets, temperature):
        np.add.at(sums, labels[rows], probs.sum(axis=1))
    totals = sums.sum(axis=1, keepdims=True)
    means = np.where(totals > 0, sums / np.maximum(totals, 1e-300), 1 / num_classes)
    return torch.from_numpy(temperature * np.log(np.maximum(means, 1e-12))).float()


def matched_smoothing(targets: TargetStore, num_classes: int, *, temperature: float) -> Float[Tensor, "classes classes"]:
    """Logits of smoothed labels, (1 − ε) y + ε / K at `temperature`, whose entropy is the mean entropy of the targets."""
    entropies = [entr(probs).sum(axis=2).mean(axis=1) for _, probs in _probabilities(targets, temperature)]
    wanted = float(np.concatenate(entropies).mean())

    def smoothed(epsilon: float) -> Float64[np.ndarray, " classes"]:
        probs = np.full(num_classes, epsilon / num_classes)
        probs[0] += 1 - epsilon
        return probs

    def excess(epsilon: float) -> float:
        return float(entr(smoothed(epsilon)).sum()) - wanted

    epsilon = brentq(excess, 0.0, 1.0) if excess(0.0) < 0.0 < excess(1.0) else float(wanted > 0.0)
    off = np.full((num_classes, num_classes), epsilon / num_classes)
    probs = off + np.eye(num_classes) * (1 - epsilon)
    return torch.from_numpy(temperature * np.log(np.maximum(probs, 1e-12))).float()


def _probabilities(targets: TargetStore, temperature: float) -> Iterator[tuple[slice, Float64[np.ndarray, "rows views classes"]]]:
    for start in range(0, len(targets.ids), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        yield rows, softmax(targets.rows(rows).astype(np.float64) / temperature, axis=2)
