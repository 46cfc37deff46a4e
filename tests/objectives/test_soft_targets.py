"""What the objectives add up, term by term, and which settings are refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from objective_cases import LABELS, TEXT_WIDTH, batch, encoder, images, linear, teaching_encoder, texts, train
from torch import Tensor

from picturebook.errors import OptionError
from picturebook.losses import (
    correlation_distillation,
    cross_entropy,
    decoupled_distillation,
    distillation_kl,
    feature_regression,
    hint_regression,
    permute_non_targets,
    standardise_logits,
    teacher_confidences,
    virtual_teacher_kl,
)
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets, Supervised, SupervisedOptions
from picturebook.options import validate
from picturebook.recipes.born_again import BornAgainLossOptions
from picturebook.teachers import ClassifierTeacher, TableTeacher, one_hot_logits
from picturebook.types import UNLABELLED, Batch, Mixed


def made(settings: dict[str, Any]) -> SoftTargets:
    options = SoftTargetOptions.model_validate(settings)
    teacher = teaching_encoder()
    projector = linear(teacher.feature_width) if options.with_representation else None
    return SoftTargets(encoder(1), ClassifierTeacher(teacher), options, projector=projector).eval()


def seen() -> tuple[Tensor, Tensor]:
    """Logits of the student and the teacher."""
    return encoder(1).eval()(images()), teaching_encoder().eval()(images())


@pytest.mark.parametrize(
    ("distilled", "label_weight"),
    [
        (what, weight)
        for what in ("logits", "representation", "both")
        for weight in (0.0, 0.25, 1.0)
        if (what, weight) != ("representation", 0.0)
    ],
)
@pytest.mark.parametrize("representation_loss", ["cosine", "mse"])
def test_soft_targets_is_its_formula(distilled: str, label_weight: float, representation_loss: str) -> None:
    settings = {"distilled": distilled, "label_weight": label_weight, "temperature": 3.0, "representation_weight": 0.7}
    if distilled != "logits":
        settings["representation_loss"] = representation_loss
    objective = made(settings)
    targets = ClassifierTeacher(teaching_encoder())(batch())
    logits, features = objective.student.forward_features(images())
    expected = label_weight * cross_entropy(logits, LABELS)
    if distilled != "representation":
        expected = expected + (1 - label_weight) * distillation_kl(logits, targets.logits, temperature=3.0)
    if distilled != "logits":
        assert objective.projector is not None
        regression = feature_regression if representation_loss == "cosine" else hint_regression
        expected = expected + 0.7 * regression(objective.projector(features), targets.representation)
    torch.testing.assert_close(objective(batch()).total, expected)


def test_each_divergence_comes_with_the_weights_and_temperature_of_its_source() -> None:
    q, p = seen()
    z, t = standardise_logits(q), standardise_logits(p)
    label, sure = cross_entropy(q, LABELS), teacher_confidences(p)
    expected = {
        ("kl", False): 0.1 * label + 0.9 * distillation_kl(q, p, temperature=2.0),
        ("kl", True): 0.1 * label + 9 * distillation_kl(z, t, temperature=2.0),
        ("dist", False): label + 2 * correlation_distillation(q, p, temperature=4.0),
        ("dist", True): label + 2 * correlation_distillation(z, t, temperature=4.0),
        ("cwtm", False): cross_entropy(q, LABELS, weights=sure / sure.mean()),
        ("dkd", False): label + decoupled_distillation(q, p, LABELS, temperature=4.0, non_target_weight=8.0),
        ("dkd", True): label + 9 * decoupled_distillation(z, t, LABELS, temperature=2.0, non_target_weight=8.0),
    }
    for (divergence, standardise), value in expected.items():
        objective = made({"divergence": divergence, "standardise": standardise})
        if divergence == "dkd":
            objective.warmth.fill_(1.0)
        torch.testing.assert_close(objective(batch()).total, value)


def test_what_is_said_wins_over_the_source_and_so_does_a_recipes_own_default() -> None:
    said = SoftTargetOptions(divergence="dist", temperature=2.0, label_weight=0.1, divergence_weight=0.5)
    assert (said.temperature, said.label_weight, said.weight_of_divergence) == (2.0, 0.1, 0.5)
    assert SoftTargetOptions(label_weight=0.3).weight_of_divergence == pytest.approx(0.7)
    assert SoftTargetOptions(distilled="both", representation_loss="mse").representation_weight == 100.0
    assert SoftTargetOptions(distilled="both", representation_loss="mse", representation_weight=1.0).representation_weight == 1.0
    born_again = BornAgainLossOptions(divergence="dkd")
    assert (born_again.temperature, born_again.label_weight, born_again.divergence_warmup) == (1.0, 0.0, 1 / 12)


@pytest.mark.parametrize("settings", [{}, {"divergence": "dkd"}, {"divergence": "dist", "standardise": True}])
def test_settings_that_were_resolved_and_written_give_the_same_again(settings: dict[str, Any]) -> None:
    resolved = SoftTargetOptions.model_validate(settings)
    written = {name: value for name, value in resolved.model_dump().items() if value is not None}
    assert SoftTargetOptions.model_validate(written) == resolved


def test_the_non_targets_are_permuted_by_the_generator_that_the_engine_seeds() -> None:
    q, p = seen()
    objective = made({"permute_non_targets": True, "label_weight": 0.0})
    torch.manual_seed(5)
    found = objective(batch()).total
    torch.manual_seed(5)
    torch.testing.assert_close(found, distillation_kl(q, permute_non_targets(p), temperature=2.0))
    assert objective(batch()).total != found


def test_the_divergence_warms_up_over_its_share_of_the_training() -> None:
    objective = made({"divergence": "dkd", "divergence_warmup": 0.5})
    weights = []
    for step in range(8):
        weights.append(objective.warmth.item())
        objective.after_step(step, 8)
    assert weights == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]
    objective.warmth.fill_(0.25)
    terms = objective(batch()).terms
    expected = terms["cross_entropy"] + 0.25 * terms["decoupled_distillation"]
    torch.testing.assert_close(objective(batch()).total.detach(), expected)


def test_supervised_with_a_virtual_teacher_is_its_formula() -> None:
    options = SupervisedOptions(label_smoothing=0.2, virtual_teacher_weight=0.3, virtual_teacher_temperature=5.0)
    q, _ = seen()
    expected = 0.7 * cross_entropy(q, LABELS, label_smoothing=0.2) + 0.3 * virtual_teacher_kl(q, LABELS, temperature=5.0)
    torch.testing.assert_close(Supervised(encoder(1), options).eval()(batch()).total, expected)


def test_words_at_no_weight_leave_every_loss_as_it_is() -> None:
    plain = train(made({}), 3)
    assert train(made({"alignment": {"weight": 0.0}}), 3) == plain
    objective = SoftTargets(
        encoder(1),
        ClassifierTeacher(teaching_encoder()),
        SoftTargetOptions.model_validate({"alignment": {"weight": 0.5}}),
        projector=None,
        texts=texts(),
        text_projector=linear(TEXT_WIDTH),
    )
    assert train(objective.eval(), 3) != plain


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"distilled": "representation", "label_weight": 0.0}, "leaves the classifier untaught: raise label_weight"),
        ({"label_weight": 0.0, "divergence_weight": 0.0}, "leaves the classifier untaught: raise one of them"),
        ({"distilled": "representation", "divergence": "dist"}, "divergence takes no effect"),
        ({"distilled": "representation", "standardise": True}, "standardise takes no effect"),
        ({"distilled": "representation", "permute_non_targets": True}, "permute_non_targets takes no effect"),
        ({"distilled": "representation", "divergence_weight": 2.0}, "divergence_weight takes no effect"),
        ({"distilled": "representation", "divergence_warmup": 0.2}, "divergence_warmup takes no effect"),
        ({"representation_loss": "mse"}, "representation_loss takes no effect"),
        ({"non_target_weight": 2.0}, "non_target_weight takes no effect with divergence = 'kl'"),
        ({"divergence": "kld"}, "loss: divergence: Input should be 'kl', 'dist', 'dkd' or 'cwtm'"),
        ({"divergence": ["kl"]}, "loss: divergence: "),
        ({"divergence": "cwtm", "standardise": True}, "take no effect with divergence = 'cwtm'"),
        ({"divergence": "cwtm", "permute_non_targets": True}, "take no effect with divergence = 'cwtm'"),
        ({"divergence_weight": -1.0}, "greater than or equal to 0"),
        ({"label_weight": "much"}, "loss: label_weight: Input should be a valid number"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        validate(SoftTargetOptions, settings, source="loss")
    assert sentence in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_virtual_teachers_temperature_without_its_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="takes no effect with virtual_teacher_weight = 0"):
        SupervisedOptions(virtual_teacher_temperature=5.0)


@pytest.mark.parametrize("name", ["standardise", "permute_non_targets"])
def test_what_says_nothing_of_two_classes_is_refused(name: str) -> None:
    teacher = ClassifierTeacher(encoder(2, num_classes=2))
    with pytest.raises(OptionError, match="need at least 3 classes"):
        SoftTargets(encoder(1, num_classes=2), teacher, SoftTargetOptions.model_validate({name: True}), projector=None)
    SoftTargets(encoder(1, num_classes=2), teacher, SoftTargetOptions(divergence="dkd"), projector=None)


# ---- named settings of the family ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "alpha", "multiplier"), [(6.0, 0.95, 50.0), (20.0, 0.9, 100.0), (20.0, 0.95, 1.0)]
)  # ResNet-18, ResNeXt-29 and MobileNetV2 of arXiv:1909.11723, in its code
def test_teacher_free_self_distillation_is_within_reach_of_born_again(
    temperature: float, alpha: float, multiplier: float
) -> None:
    q, p = seen()
    classes = 100  # the source divides by the classes of CIFAR-100 and multiplies again
    weight = alpha * multiplier / classes
    settings = {"temperature": temperature, "label_weight": 1 - alpha, "divergence_weight": weight}
    options = BornAgainLossOptions.model_validate(settings)
    objective = SoftTargets(encoder(1), ClassifierTeacher(teaching_encoder()), options, projector=None).eval()
    expected = (1 - alpha) * cross_entropy(q, LABELS) + weight * distillation_kl(q, p, temperature=temperature)
    torch.testing.assert_close(objective(batch()).total, expected)


def test_function_matching_is_the_divergence_alone_on_what_both_see() -> None:
    q, p = seen()
    found = made({"label_weight": 0.0, "temperature": 5.0})(mixed_batch())
    assert list(found.terms) == ["distillation_kl"]
    torch.testing.assert_close(found.total, distillation_kl(q, p, temperature=5.0))


def test_labels_and_pseudo_labels_are_cross_entropies_up_to_the_targets_own_entropy() -> None:
    q, _ = seen()
    said = torch.linspace(-2, 2, 36).view(12, 3)
    targets = torch.where((torch.arange(12) < 4)[:, None], one_hot_logits(LABELS, 3), said)
    options = SoftTargetOptions(temperature=1.0, label_weight=0.0)
    objective = SoftTargets(encoder(1), TableTeacher(batch().ids.numpy(), targets), options, projector=None).eval()
    log_q, p = q.log_softmax(dim=1), said.softmax(dim=1)
    hard = -log_q[torch.arange(4), LABELS[:4]].sum()
    soft = (p * (p.log() - log_q))[4:].sum()
    torch.testing.assert_close(objective(batch()).total, (hard + soft) / 12)


# ---- mixed pictures -----------------------------------------------------------------------------------------------------

PARTNERS = torch.where(torch.arange(12) % 4 == 0, UNLABELLED, (LABELS + 1) % 3)
SHARE = torch.linspace(0.0, 1.0, 12)


def mixed_batch() -> Batch:
    return replace(batch(), mixed=Mixed(PARTNERS, SHARE))


def by_hand(value: Callable[[Tensor, int], Tensor], logits: Tensor) -> Tensor:
    """share · value(own label) + (1 − share) · value(partner's), one picture at a time; nothing for what has no label."""
    total = logits.new_zeros(())
    for row, own, partner, share in zip(logits, LABELS.tolist(), PARTNERS.tolist(), SHARE.tolist(), strict=True):
        total = total + share * value(row, own) + (0.0 if partner == UNLABELLED else (1 - share) * value(row, partner))
    return total / len(logits)


def of_a_label(row: Tensor, label: int) -> Tensor:
    return -row.log_softmax(dim=0)[label]


def test_mixed_pictures_have_the_labels_of_both_by_their_shares() -> None:
    q, _ = seen()
    objective = made({"label_weight": 0.3})
    terms = objective(mixed_batch()).terms
    torch.testing.assert_close(terms["cross_entropy"], by_hand(of_a_label, q))
    torch.testing.assert_close(terms["distillation_kl"], objective(batch()).terms["distillation_kl"])
    supervised = Supervised(encoder(1), SupervisedOptions(virtual_teacher_weight=0.5)).eval()
    terms = supervised(mixed_batch()).terms
    torch.testing.assert_close(terms["cross_entropy"], by_hand(of_a_label, q))
    one_by_one = by_hand(lambda row, label: virtual_teacher_kl(row[None], torch.tensor([label])), q)
    torch.testing.assert_close(terms["virtual_teacher_kl"], one_by_one)


def test_confidences_weight_both_labels_of_a_mixed_picture() -> None:
    q, p = seen()
    sure = teacher_confidences(p)
    weights = sure / sure.mean()
    expected = cross_entropy(q, LABELS, weights=weights * SHARE) + cross_entropy(q, PARTNERS, weights=weights * (1 - SHARE))
    torch.testing.assert_close(made({"divergence": "cwtm"})(mixed_batch()).total, expected)


def test_a_share_of_one_is_a_picture_that_is_not_mixed() -> None:
    alone = replace(batch(), mixed=Mixed(PARTNERS, torch.ones(12)))
    for objective in (made({"label_weight": 0.5}), Supervised(encoder(1), SupervisedOptions(label_smoothing=0.1)).eval()):
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
    logits, _ = seen()
    options = SupervisedOptions(class_weights="balanced")
    objective = Supervised(encoder(1), options, class_weights=CLASS_WEIGHTS).eval()
    whole = objective(batch(labels)).total.item()
    assert whole == pytest.approx(slow_weighted(alone(logits, labels), labels.tolist()), rel=1e-5)
    both = objective(replace(batch(labels), mixed=mixed)).total.item()
    own = [share * loss for share, loss in zip(mixed.share.tolist(), alone(logits, labels), strict=True)]
    other = [(1 - share) * loss for share, loss in zip(mixed.share.tolist(), alone(logits, mixed.labels), strict=True)]
    assert both == pytest.approx(slow_weighted(own, labels.tolist()) + slow_weighted(other, mixed.labels.tolist()), rel=1e-5)


def test_class_weights_weigh_the_labels_part_of_soft_targets_and_not_the_teachers() -> None:
    teacher = ClassifierTeacher(teaching_encoder())
    options = SoftTargetOptions(class_weights="balanced", label_weight=0.3)
    plain = SoftTargets(encoder(1), teacher, SoftTargetOptions(label_weight=0.3), projector=None).eval()(batch())
    weighted = SoftTargets(encoder(1), teacher, options, projector=None, class_weights=CLASS_WEIGHTS).eval()(batch())
    logits, _ = seen()
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
