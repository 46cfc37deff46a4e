"""Asking the teacher in batches: about which picture, seen as which tokens, with which words."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.audit.audited import READS_OWN_WORDS, Answer, AuditData, Kind
from picturebook.errors import ModelError
from picturebook.types import Progress, Queries

Rows = Int64[np.ndarray, " m"]
TokenSource = Callable[[slice], Tensor]
"""The tokens of a slice of the m questions, float32; called once for each slice, in order."""

_VALUES_AT_ONCE = 4_000_000
"""Token values in one batch: 16 MB."""
_MAX_BATCH = 256


@dataclass(frozen=True, slots=True)
class Texts:
    """One text a question, as places in a pool, so that many questions with few texts take no memory."""

    pool: Queries | None
    rows: Rows

    def batch(self, part: slice) -> Queries | None:
        return None if self.pool is None else self.pool[torch.from_numpy(self.rows[part])]


class Asker:
    """The teacher, asked in batches of bounded memory.

    Raises (when asked):
        ModelError: a logit is not finite.
    """

    def __init__(self, answer: Answer, data: AuditData, *, total: int, progress: Progress) -> None:
        self._answer = answer
        self._data = data
        self._num_classes = len(data.classes)
        self._batch_size = max(1, min(_MAX_BATCH, _VALUES_AT_ONCE // data.tokens[0].numel()))
        self._done, self._total, self._progress = 0, total, progress

    def pictures(self, rows: Rows, texts: Texts) -> Float[Tensor, "m classes"]:
        """Logits of the audited pictures at `rows`."""
        return self.ask(rows, lambda part: self._data.image_tokens(rows[part]), texts)

    @torch.no_grad()
    def ask(self, positions: Rows, tokens: TokenSource, texts: Texts) -> Float[Tensor, "m classes"]:
        """Logits of any tokens, float32 on the CPU."""
        logits = torch.empty(len(positions), self._num_classes)
        for start in range(0, len(positions), self._batch_size):
            part = slice(start, min(start + self._batch_size, len(positions)))
            said = self._answer(torch.from_numpy(positions[part]), tokens(part), texts.batch(part))
            if said.shape != logits[part].shape:
                raise ValueError(f"answer: expected logits {tuple(logits[part].shape)}, got {tuple(said.shape)}")
            logits[part] = said.detach().float().cpu()
            self._done += part.stop - part.start
            self._progress(self._done, self._total)
        if not logits.isfinite().all():
            raise ModelError("The teacher's logits are not all finite, so it cannot be audited: did its training diverge?")
        return logits


class Words:
    """Which text tells a class.

    The class text t_k where there are class texts. Else the words of a random picture of class k, never the asked picture's own
    unless its class has no other; `asked` are then the classes that the audited pictures have.
    """

    def __init__(self, data: AuditData, kind: Kind) -> None:
        self._data = data
        self._reads_own = kind in READS_OWN_WORDS
        if self._reads_own and data.own is None and data.class_texts is None:
            raise ValueError(f"A teacher of kind {kind!r} reads each picture's own words: give data.own or data.class_texts")
        self.by_class_text = self._reads_own and data.class_texts is not None
        self._counts = np.bincount(data.labels, minlength=len(data.classes))
        self._order = np.argsort(data.labels, kind="stable")
        self._starts = np.cumsum(self._counts) - self._counts
        self._ranks = np.empty_like(self._order)  # place of a row among those of its class
        self._ranks[self._order] = np.arange(data.num) - self._starts[data.labels[self._order]]
        self.asked: Rows = np.arange(len(data.classes)) if self.by_class_text else np.flatnonzero(self._counts)

    def matched(self) -> Texts:
        """Each audited picture's own words, as it is labelled with."""
        own = self._data.own if self._reads_own else None
        return self.telling(np.arange(self._data.num)) if own is None else Texts(own, np.arange(self._data.num))

    def telling(self, rows: Rows) -> Texts:
        """Words that tell the labels of the audited pictures at `rows`: their class's text, or their own words."""
        if not self._reads_own:
            return Texts(None, rows)
        return self.of_class(self._data.labels[rows], rows) if self.by_class_text else Texts(self._data.own, rows)

    def of_class(self, classes: Rows, about: Rows, rng: np.random.Generator | None = None) -> Texts:
        """Words of `classes`, to ask the pictures at `about` with; rng draws whose words they are, where they are a picture's."""
        if not self._reads_own:
            return Texts(None, about)
        if self.by_class_text:
            return Texts(self._data.class_texts, classes)
        assert rng is not None
        return Texts(self._data.own, self.another_row(classes, about, rng))

    def another_row(self, classes: Rows, about: Rows, rng: np.random.Generator) -> Rows:
        """A random picture of each class, other than those at `about` where the class has another."""
        counts = self._counts[classes]
        avoid = (self._data.labels[about] == classes) & (counts > 1)
        drawn = rng.integers(0, counts - avoid)
        places = np.where(avoid, (self._ranks[about] + 1 + drawn) % counts, drawn)
        rows: Rows = self._order[self._starts[classes] + places]
        return rows

    def row_of_class(self, classes: Rows, rng: np.random.Generator) -> Rows:
        """A random picture of each class, or of any class where the audited pictures have none of it."""
        counts = self._counts[classes]
        drawn = rng.integers(0, np.maximum(counts, 1))
        places = np.minimum(self._starts[classes] + drawn, self._data.num - 1)
        return np.where(counts > 0, self._order[places], rng.integers(0, self._data.num, len(classes)))

    def null(self) -> Texts:
        """The mean of all texts, as one query."""
        pool = self._data.class_texts if self._data.class_texts is not None else self._data.own
        assert pool is not None
        mean = pool.mean().mean(dim=0)[None, None]
        return Texts(Queries(mean, torch.ones(1, 1, dtype=torch.bool)), np.zeros(self._data.num, dtype=np.int64))
