"""What every loss promises. A new loss gets one entry in LOSSES."""

from collections.abc import Callable
from functools import partial

import jaxtyping
import numpy as np
import pytest
import torch
from loss_cases import EXTREME_TEMPERATURES, SHAPES, TEMPERATURES, pairs
from torch import Tensor

from picturebook.losses import (
    contrastive_alignment,
    correlation_distillation,
    cross_entropy,
    decoupled_distillation,
    distillation_kl,
    feature_regression,
    hint_regression,
    info_nce,
    multi_crop_cross_entropy,
    permute_non_targets,
    sigmoid_contrast,
    standardise_logits,
    teacher_confidences,
    virtual_teacher_kl,
)
from picturebook.types import UNLABELLED

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def confidence_weighted(s: Tensor, t: Tensor, y: Tensor, T: float) -> Tensor:
    sure = teacher_confidences(t, temperature=T)
    return cross_entropy(s, y, weights=sure / sure.mean())


def multi_crop(s: Tensor, t: Tensor, y: Tensor, T: float) -> Tensor:
    """The student on three views, the teacher on two of them."""
    views, centre = (s.expand(3, *s.shape), t.expand(2, *t.shape)), torch.zeros(t.shape[1], dtype=t.dtype)
    return multi_crop_cross_entropy(*views, centre=centre, teacher_temperature=T / 2, student_temperature=T)


LOSSES: dict[str, Loss] = {
    "confidence_weighted": confidence_weighted,
    "contrastive_alignment": lambda s, t, y, T: contrastive_alignment(s, t, temperature=T),
    "correlation_distillation": lambda s, t, y, T: correlation_distillation(s, t, temperature=T),
    "cross_entropy": lambda s, t, y, T: cross_entropy(s, y, label_smoothing=0.1),
    "decoupled_distillation": lambda s, t, y, T: decoupled_distillation(s, t, y, temperature=T),
    "distillation_kl": lambda s, t, y, T: distillation_kl(s, t, temperature=T),
    "feature_regression": lambda s, t, y, T: feature_regression(s, t),
    "hint_regression": lambda s, t, y, T: hint_regression(s, t),
    "info_nce": lambda s, t, y, T: info_nce(s, t, scale=1 / T, label_smoothing=0.1),
    "multi_crop_cross_entropy": multi_crop,
    "sigmoid_contrast": lambda s, t, y, T: sigmoid_contrast(s, t, scale=1 / T, bias=-1.0),
    "standardised_kl": lambda s, t, y, T: distillation_kl(standardise_logits(s), standardise_logits(t), temperature=T),
    "virtual_teacher_kl": lambda s, t, y, T: virtual_teacher_kl(s, y, temperature=T),
}
TWO_TOWERS = {"info_nce", "sigmoid_contrast"}
"""Losses whose both sides learn, and whose scale is checked in test_contrastive.py."""
WITH_A_TEACHER = sorted(LOSSES.keys() - {"cross_entropy", "virtual_teacher_kl"} - TWO_TOWERS)


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", [(3, 2), (5, 3), (4, 20)])
def test_gradients_agree_with_finite_differences(loss: Loss, shape: tuple[int, int], temperature: float) -> None:
    student, teacher, labels = pairs(shape)
    student, teacher = student / 3, teacher / 3
    labels[-1] = UNLABELLED
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, labels, temperature), student)


@pytest.mark.parametrize("name", WITH_A_TEACHER)
def test_gradients_flow_to_the_student_only(name: str) -> None:
    student, teacher, labels = pairs((5, 3))
    student.requires_grad_()
    teacher.requires_grad_()
    LOSSES[name](student, teacher, labels, 4.0).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", TEMPERATURES + EXTREME_TEMPERATURES)
def test_extreme_logits_and_temperatures_give_finite_losses_and_gradients(
    loss: Loss, temperature: float, dtype: torch.dtype
) -> None:
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, -1e4, -1e4]], dtype=dtype)
    value = loss(student, teacher, torch.tensor([1, 0, 2]), temperature)
    assert value.isfinite()
    assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_extreme_logits_are_as_far_apart_as_they_are(temperature: float) -> None:
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0]])
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 1e4], [1e4, -1e4, -1e4]])
    # Row 0 alone is far off: T² × 20000 / T, over three images; row 2 adds T² ln 3.
    expected = (2e4 * temperature + temperature**2 * np.log(3.0)) / 3
    assert distillation_kl(student, teacher, temperature=temperature).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_two_classes_one_image_and_many_classes_are_finite(loss: Loss, shape: tuple[int, int]) -> None:
    student, teacher, labels = pairs(shape, torch.float32)
    student.requires_grad_()
    value = loss(student, teacher, labels, 1.0)
    assert value.isfinite()
    assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_and_autocast_are_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    student, teacher, labels = pairs((4, 100), dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = loss(student, teacher, labels, 4.0)
        mixed = loss(student, teacher.float(), labels, 4.0)
    wide = loss(student.float(), teacher.float(), labels, 4.0)
    assert narrow.dtype == mixed.dtype == torch.float32
    assert narrow.item() == mixed.item() == wide.item()


def test_shapes_that_do_not_fit_are_refused_with_what_was_expected_and_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it: our own sentences must come
    three, four = torch.zeros(2, 3), torch.zeros(2, 4)
    right, wrong = torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    for of_logits in (distillation_kl, correlation_distillation, partial(decoupled_distillation, labels=right)):
        with pytest.raises(ValueError, match=r"teacher_logits: expected .*\[2, 3\], got \[2, 4\]"):
            of_logits(three, four, temperature=1.0)
    for of_features in (feature_regression, hint_regression):
        with pytest.raises(ValueError, match=r"teacher_features: expected .*\[2, 4\], got \[2, 3\]"):
            of_features(four, three)
    with pytest.raises(ValueError, match=r"student_logits: expected .*got \[3\]"):
        distillation_kl(three[0], three, temperature=1.0)
    with pytest.raises(ValueError, match=r"text_features: expected .*\[2, 4\], got \[2, 3\]"):
        contrastive_alignment(four, three, temperature=0.07)
    for of_labels in (cross_entropy, virtual_teacher_kl, lambda z, y: decoupled_distillation(z, z, y, temperature=1.0)):
        for labels, shape in ((wrong, r"\[3\]"), (right[:, None], r"\[2, 1\]")):
            with pytest.raises(ValueError, match=rf"labels: expected .*\[2\], got {shape}"):
                of_labels(three, labels)
    for of_one in (lambda z: cross_entropy(z, wrong), permute_non_targets, standardise_logits):
        with pytest.raises(ValueError, match=r"logits: expected .*got \[3\]"):
            of_one(three[0])


def test_one_class_cannot_be_set_against_others() -> None:
    one, label = torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64)
    for loss in (virtual_teacher_kl, lambda z, y: decoupled_distillation(z, z, y, temperature=1.0)):
        with pytest.raises(ValueError, match=r"logits: expected at least 2 classes, got \[2, 1\]"):
            loss(one, label)


def test_an_empty_batch_is_refused(loss: Loss) -> None:
    empty = torch.zeros(0, 3)
    with pytest.raises(ValueError, match=r"\w+: expected .* at least 1, got \[0, 3\]"):
        loss(empty, empty, torch.zeros(0, dtype=torch.int64), 1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"cross_entropy", "feature_regression", "hint_regression"} - TWO_TOWERS))
def test_a_temperature_that_is_not_positive_is_refused(name: str, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature: expected a positive number, got"):
        LOSSES[name](torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), temperature)
