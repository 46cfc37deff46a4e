"""Which rows an epoch shows, and for the how-manieth time: functions of (seed, epoch)."""

from typing import Protocol

import numpy as np
from jaxtyping import Int64

from picturebook.data.counter import counter_uniforms, permutation
from picturebook.errors import OptionError
from picturebook.types import UNLABELLED

_WITHIN_STREAM, _AMONG_STREAM = 401, 402
"""Keep the order within a class and that of an epoch apart from each other and from other draws."""


class Sampling(Protocol):
    """Epoch → what it shows. Every epoch is as long as there are places."""

    def epoch(self, number: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Places among the rows, in the order in which they are shown, and how often each was shown before."""
        ...


class EachOnce:
    """Every place once an epoch, in a new order."""

    def __init__(self, num: int, *, seed: int) -> None:
        self._num, self._seed = num, seed

    def epoch(self, number: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        return permutation(self._seed, number, self._num), np.full(self._num, number, dtype=np.int64)


class ClassesAlike:
    """Every class as often as the mean class, to within one picture an epoch; places without a label once.

    A class goes through its own places pass by pass, each pass in a new order. So a rare class is seen several times an epoch, a
    common one in part, and within a class no place gets ahead of another by more than one.
    """

    def __init__(self, labels: Int64[np.ndarray, " n"], *, seed: int) -> None:
        """`labels` is the class of each place, or UNLABELLED.

        Raises:
            OptionError: fewer than two classes.
        """
        self._seed = seed
        members = {label: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
        self._unlabelled = members.pop(UNLABELLED, np.empty(0, dtype=np.int64))
        self._classes = list(members.values())
        self._num_labelled = sum(map(len, self._classes))
        if len(self._classes) < 2:
            raise OptionError(
                "sampling = 'balanced' shows classes equally often: these training pictures have labels of "
                f"{len(self._classes)}. Say sampling = 'each'."
            )

    def epoch(self, number: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        shown = [
            self._part(places, self._quota(rank, number), self._quota(rank, number + 1))
            for rank, places in enumerate(self._classes)
        ]
        shown.append((self._unlabelled, np.full(len(self._unlabelled), number, dtype=np.int64)))
        places, passes = (np.concatenate(parts) for parts in zip(*shown, strict=True))
        slots = np.arange(len(places))
        order = np.argsort(
            counter_uniforms(self._seed, slots, np.full_like(slots, number), 1, stream=_AMONG_STREAM)[:, 0], kind="stable"
        )
        return places[order], passes[order]

    def _quota(self, rank: int, epochs: int) -> int:
        """Pictures of a class that this many epochs show; over the classes these floors add up to all labelled ones an epoch."""
        return (epochs * self._num_labelled + rank) // len(self._classes)

    def _part(
        self, places: Int64[np.ndarray, " members"], start: int, end: int
    ) -> tuple[Int64[np.ndarray, " shown"], Int64[np.ndarray, " shown"]]:
        """What stands from `start` to `end` where the passes over a class's places follow each other."""
        first, last = start // len(places), -(-end // len(places))
        number = np.repeat(np.arange(first, last), len(places))
        members = np.tile(places, last - first)
        draws = counter_uniforms(self._seed, members, number, 1, stream=_WITHIN_STREAM)[:, 0]
        order = np.lexsort((draws, number))[start - first * len(places) : end - first * len(places)]
        return members[order], number[order]
