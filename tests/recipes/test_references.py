"""Image-only references of the audit: what they know of pictures, and which of them they have seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from picturebook.recipes.references import linear_probe
from picturebook.stores.packed import PackedArray
from picturebook.types import UNLABELLED
from toy_runs import make_stages

Make = Callable[..., Any]


@pytest.fixture
def stages(recipe_options: Make, tmp_path: Path) -> Any:
    return make_stages(recipe_options("own", tmp_path / "run"))


class _Tokens(PackedArray):
    """Tokens that are the label's number, or noise, with the picture's id as a place of its own."""

    def __init__(self, labels: dict[int, int], *, noise: bool = False) -> None:
        self._labels, self._noise = labels, noise

    def read(self, ids: np.ndarray, views: np.ndarray) -> np.ndarray:
        assert len(ids) <= 512
        assert not views.any()
        return np.stack([self.of(int(id_)) for id_ in ids])

    def of(self, id_: int) -> np.ndarray:
        tokens = np.random.default_rng(abs(id_)).normal(size=(4, 16)).astype(np.float16)
        if not self._noise:
            tokens[:, self._labels[id_]] += 4
        return tokens


def _probe(stages: Any, *, noise: bool, numbers: np.ndarray) -> float:
    rows, pictures = stages.labelled_rows, stages.pictures
    labels = dict(zip(pictures.ids[rows].tolist(), pictures.labels[rows].tolist(), strict=True))
    tokens = _Tokens(labels, noise=noise)
    asked = torch.from_numpy(np.stack([tokens.of(int(id_)) for id_ in pictures.ids[rows]]))
    logits = linear_probe(stages, tokens, numbers, asked, torch.from_numpy(numbers))
    assert logits.shape == (len(rows), 3)
    return float((logits.argmax(dim=1).numpy() == pictures.labels[rows]).mean())


def test_a_linear_probe_knows_what_tokens_tell_and_out_of_fold_nothing_else(stages: Any) -> None:
    rows = stages.labelled_rows
    assert not (stages.pictures.labels[rows] == UNLABELLED).any()
    folds = np.arange(len(rows)) % 2
    assert _probe(stages, noise=False, numbers=folds) > 0.9
    assert _probe(stages, noise=True, numbers=np.full(len(rows), -1)) > 0.6, "it was taught by what it is asked"
    assert _probe(stages, noise=True, numbers=folds) < 0.6
