"""Values, and the softmax that every oracle needs."""

import numpy as np
import torch
from torch import Tensor

SHAPES = [(1, 2), (5, 3), (4, 100)]
TEMPERATURES = [0.5, 1.0, 4.0]
EXTREME_TEMPERATURES = [1e-2, 1e4]
# Two classes, logits ln 3 and 0: probabilities 3/4 and 1/4.
LN3 = float(np.log(3.0))


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row) / np.exp(row).sum()


def normal(shape: tuple[int, int], num: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3.0, size=(num, *shape))


def labels_for(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(shape[1], size=shape[0])


def pairs(shape: tuple[int, int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    student, teacher = (torch.tensor(array, dtype=dtype) for array in normal(shape))
    return student, teacher, torch.tensor(labels_for(shape))


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return sum(p[k] * (np.log(p[k]) - np.log(q[k])) for k in range(len(p)))
