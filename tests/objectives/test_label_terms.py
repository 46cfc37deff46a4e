"""What a label's term counts where a picture is two, or where classes have weights."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from objective_cases import (
    LABELS,
    PARTNERS,
    SHARE,
    batch,
    both_logits,
    encoder,
    mixed_batch,
    soft_objective,
    teaching_encoder,
)
from torch import Tensor

from picturebook.losses import (
    cross_entropy,
    teacher_confidences,
    virtual_teacher_kl,
)
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets, Supervised, SupervisedOptions
from picturebook.recipes.born_again import BornAgainLossOptions
from picturebook.teachers import ClassifierTeacher
from picturebook.types import UNLABELLED, Mixed


def by_hand(value: Callable[[Tensor, int], Tensor], logits: Tensor) -> Tensor:
    """share · value(own label) + (1 − share) · value(partner's), one picture at a time; nothing for what has no label."""
    total = logits.new_zeros(())
    for row, own, partner, share in zip(logits, LABELS.tolist(), PARTNERS.tolist(), SHARE.tolist(), strict=True):
        total = total + share * value(row, own) + (0.0 if partner == UNLABELLED else (1 - share) * value(row, partner))
    return total / len(logits)


def of_a_label(row: Tensor, label: int) -> Tensor:
    return -row.log_softmax(dim=0)[label]


def test_mixed_pictures_have_the_labels_of_both_by_their_shares() -> None:
    q, _ = both_logits()
    objective = soft_objective({"label_weight": 0.3})
    terms = objective(mixed_batch()).terms
    torch.testing.assert_close(terms["cross_entropy"], by_hand(of_a_label, q))
    torch.testing.assert_close(terms["distillation_kl"], objective(batch()).terms["distillation_kl"])
    supervised = Supervised(encoder(1), SupervisedOptions(virtual_teacher_weight=0.5)).eval()
    terms = supervised(mixed_batch()).terms
    torch.testing.assert_close(terms["cross_entropy"], by_hand(of_a_label, q))
    one_by_one = by_hand(lambda row, label: virtual_teacher_kl(row[None], torch.tensor([label])), q)
    torch.testing.assert_close(terms["virtual_teacher_kl"], one_by_one)


def test_confidences_weight_both_labels_of_a_mixed_picture() -> None:
    q, p = both_logits()
    sure = teacher_confidences(p)
    weights = sure / sure.mean()
    expected = cross_entropy(q, LABELS, weights=weights * SHARE) + cross_entropy(q, PARTNERS, weights=weights * (1 - SHARE))
    torch.testing.assert_close(soft_objective({"divergence": "cwtm"})(mixed_batch()).total, expected)


def test_a_share_of_one_is_a_picture_that_is_not_mixed() -> None:
    alone = replace(batch(), mixed=Mixed(PARTNERS, torch.ones(12)))
    for objective in (
        soft_objective({"label_weight": 0.5}),
        Supervised(encoder(1), SupervisedOptions(label_smoothing=0.1)).eval(),
    ):
        torch.testing.assert_close(objective(alone).total, objective(batch()).total)


CLASS_WEIGHTS = torch.tensor([0.5, 2.0, 1.25])


def slow_weighted(losses: list[float], labels: list[int]) -> float:
    """The mean of w_y · loss over all rows, in which those without a label count 0."""
    return sum(CLASS_WEIGHTS[label].item() * loss for loss, label in zip(losses, labels, strict=True) if label >= 0) / len(labels)


def alone(logits: Tensor, labels: Tensor) -> list[float]:
    return [cross_entropy(logits[row : row + 1], labels[row : row + 1]).item() for row in range(len(labels))]


def test_class_weights_weigh_each_labels_loss_by_its_class() -> None:
    labels = LABELS.clone()
    labels[:3] = UNLABELLED
    mixed = Mixed(LABELS.flip(0), torch.linspace(0.1, 1.0, len(LABELS)))
    logits, _ = both_logits()
    options = SupervisedOptions(class_weights="balanced")
    objective = Supervised(encoder(1), options, class_weights=CLASS_WEIGHTS).eval()
    whole = objective(batch(labels)).total.item()
    assert whole == pytest.approx(slow_weighted(alone(logits, labels), labels.tolist()), rel=1e-5)
    both = objective(replace(batch(labels), mixed=mixed)).total.item()
    own = [share * loss for share, loss in zip(mixed.share.tolist(), alone(logits, labels), strict=True)]
    other = [(1 - share) * loss for share, loss in zip(mixed.share.tolist(), alone(logits, mixed.labels), strict=True)]
    assert both == pytest.approx(slow_weighted(own, labels.tolist()) + slow_weighted(other, mixed.labels.tolist()), rel=1e-5)


def test_labels_are_smoothed_by_likeness_in_a_mixed_and_weighted_batch_too() -> None:
    even, own = torch.full((3, 3), 1 / 3), torch.eye(3)
    for given in (batch(), mixed_batch()):
        for weights, options in ((None, {}), (CLASS_WEIGHTS, {"class_weights": "balanced"})):
            smoothed, plain = SupervisedOptions(label_smoothing=0.3, **options), SupervisedOptions(**options)
            evenly = Supervised(encoder(1), smoothed, class_weights=weights).eval()(given).total.item()
            by_words = Supervised(encoder(1), smoothed, class_weights=weights, likeness=even).eval()(given).total.item()
            assert by_words == pytest.approx(evenly, rel=1e-5)
            kept = Supervised(encoder(1), smoothed, class_weights=weights, likeness=own).eval()(given).total.item()
            assert kept == pytest.approx(
                Supervised(encoder(1), plain, class_weights=weights).eval()(given).total.item(), rel=1e-5
            )


def test_class_weights_weigh_the_labels_part_of_soft_targets_and_not_the_teachers() -> None:
    teacher = ClassifierTeacher(teaching_encoder())
    options = SoftTargetOptions(class_weights="balanced", label_weight=0.3)
    plain = SoftTargets(encoder(1), teacher, SoftTargetOptions(label_weight=0.3), projector=None).eval()(batch())
    weighted = SoftTargets(encoder(1), teacher, options, projector=None, class_weights=CLASS_WEIGHTS).eval()(batch())
    logits, _ = both_logits()
    expected = slow_weighted(alone(logits, LABELS), LABELS.tolist())
    assert weighted.terms["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)
    assert weighted.terms["distillation_kl"].item() == plain.terms["distillation_kl"].item()
    assert weighted.total.item() == pytest.approx(0.3 * expected + 0.7 * plain.terms["distillation_kl"].item(), rel=1e-5)


def test_equal_class_weights_change_nothing_and_weights_are_saved_with_the_objective() -> None:
    ones = Supervised(encoder(1), SupervisedOptions(class_weights="balanced"), class_weights=torch.ones(3)).eval()
    plain = Supervised(encoder(1), SupervisedOptions()).eval()
    assert ones(batch()).total.item() == pytest.approx(plain(batch()).total.item(), rel=1e-6)
    assert set(ones.state_dict()) - set(plain.state_dict()) == {"class_weights"}


def test_class_weights_without_a_label_to_weigh_are_refused() -> None:
    with pytest.raises(ValueError, match="class_weights = 'balanced' takes no effect with label_weight = 0"):
        SoftTargetOptions(class_weights="balanced", label_weight=0.0)
    with pytest.raises(ValueError, match="class_weights"):
        BornAgainLossOptions(class_weights="balanced")
    assert SoftTargetOptions(class_weights="balanced", divergence="cwtm").label_weight == 0.0
