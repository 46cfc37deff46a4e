"""Which of a teacher's answers on unlabelled pictures are learnt, and how often (arXiv:1911.04252, section 3.1)."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int64
from pydantic import Field

from picturebook.data.counter import counter_uniforms, permutation
from picturebook.options import Options

_STREAM = 105
"""Keeps these draws apart from those of views, splits and supervision."""


class PseudoLabelOptions(Options):
    """What a student learns of its teacher's answers on unlabelled pictures."""

    kind: Literal["soft", "hard"] = "soft"
    """The teacher's probabilities, or its most likely class alone."""
    confidence: float = Field(0.3, ge=0.0, lt=1.0)
    """Least probability of the most likely class; pictures below it are left out."""
    per_class: Literal["mean", "all"] | Annotated[int, Field(ge=1)] = "mean"
    """Pictures of each class after balancing: the surest stay where there are more, and pictures are repeated where there are
    fewer. mean is the mean over the classes, a number is that number, all leaves the classes as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The pictures that are learnt."""

    places: Int64[np.ndarray, " shown"]
    """Places among the pictures that were asked about, class by class; those that are repeated stand there as often."""
    sure: Int64[np.ndarray, " classes"]
    """How many pictures of each class passed the filter."""
    different: Int64[np.ndarray, " classes"]
    """How many of them are left after balancing, repetitions not counted."""


def keep(
    options: PseudoLabelOptions,
    probs: Float[np.ndarray, "pictures classes"],
    ids: Int64[np.ndarray, " pictures"],
    *,
    seed: int,
) -> Kept:
    """Filter a teacher's answers by confidence and balance their classes.

    A class of fewer pictures than wanted shows each of them ⌊wanted / pictures⌋ times, and those once more whose hash of
    (seed, id) is least; a class of more shows those that the teacher is surest of, equal ones by hash.

    Args:
        options: the filter and the balance.
        probs: the teacher's probabilities.
        ids: sample ids.
        seed: of the draws.
    """
    classes, confidences = probs.argmax(axis=1), probs.max(axis=1)
    passed = np.flatnonzero(confidences >= options.confidence)
    sure = np.bincount(classes[passed], minlength=probs.shape[1])
    draws = counter_uniforms(seed, ids, np.zeros_like(ids), 1, stream=_STREAM)[:, 0]
    wanted = _wanted(options.per_class, sure)
    parts = []
    for index in np.flatnonzero(sure):
        members = passed[classes[passed] == index]
        by = -confidences[members] if len(members) > wanted[index] else np.zeros(len(members))
        members = members[np.lexsort((draws[members], by))]
        parts.append(np.resize(members, wanted[index]))
    return Kept(np.concatenate(parts) if parts else passed, sure, np.minimum(sure, wanted))


def _wanted(per_class: str | int, sure: Int64[np.ndarray, " classes"]) -> Int64[np.ndarray, " classes"]:
    if per_class == "all":
        return sure
    num = ceil(sure.sum() / max(1, np.count_nonzero(sure))) if per_class == "mean" else int(per_class)
    return np.full_like(sure, num)


def cycled(rows: Int64[np.ndarray, " rows"], num: int, *, seed: int) -> Int64[np.ndarray, " num"]:
    """`num` of the rows: each ⌊num / rows⌋ times, and some that a hash of the seed draws once more."""
    shuffled: Int64[np.ndarray, " num"] = np.resize(rows[permutation(seed, 0, len(rows))], num)
    return shuffled
