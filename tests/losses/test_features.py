import numpy as np
import pytest
import torch
from loss_cases import SHAPES, normal
from torch.nn import functional

from picturebook.losses import feature_regression, hint_regression


def slow_feature_regression(student: np.ndarray, teacher: np.ndarray) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total += 1 - sum(s * t) / np.sqrt(sum(s * s)) / np.sqrt(sum(t * t))
    return total / len(student)


def slow_hint_regression(student: np.ndarray, teacher: np.ndarray) -> float:
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total += sum((s[d] - t[d]) ** 2 for d in range(len(s))) / len(s)
    return total / len(student)


@pytest.mark.parametrize("shape", SHAPES)
def test_feature_regression_is_its_formula(shape: tuple[int, int]) -> None:
    student, teacher = normal(shape)
    value = feature_regression(torch.tensor(student), torch.tensor(teacher))
    assert value.item() == pytest.approx(slow_feature_regression(student, teacher), rel=1e-10)


def test_feature_regression_is_half_the_squared_distance_of_the_normalised_vectors() -> None:
    student, teacher = (torch.tensor(array) for array in normal((5, 6)))
    distances = (functional.normalize(student) - functional.normalize(teacher)).square().sum(1)
    assert feature_regression(student, teacher).item() == pytest.approx(distances.mean().item() / 2)


def test_feature_regression_reads_0_along_1_across_and_2_against_the_teacher_whatever_the_lengths() -> None:
    student = torch.tensor([[3.0, 0.0]])
    for teacher, expected in [([0.1, 0.0], 0.0), ([0.0, 5.0], 1.0), ([-70.0, 0.0], 2.0), ([0.0, 0.0], 1.0)]:
        assert feature_regression(student, torch.tensor([teacher])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_hint_regression_is_its_formula(shape: tuple[int, int]) -> None:
    student, teacher = normal(shape)
    value = hint_regression(torch.tensor(student), torch.tensor(teacher))
    assert value.item() == pytest.approx(slow_hint_regression(student, teacher), rel=1e-10)


def test_hint_regression_by_hand() -> None:
    assert hint_regression(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[4.0, 2.0], [0.0, 1.0]])).item() == 10 / 4
