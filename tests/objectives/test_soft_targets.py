"""What the objectives add up, term by term, and which settings are refused."""

from typing import Any

import pytest
import torch
from objective_cases import (
    LABELS,
    TEXT_WIDTH,
    batch,
    both_logits,
    encoder,
    images,
    linear,
    mixed_batch,
    soft_objective,
    teaching_encoder,
    texts,
    train,
)

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
    objective = soft_objective(settings)
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
    q, p = both_logits()
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
        objective = soft_objective({"divergence": divergence, "standardise": standardise})
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
    q, p = both_logits()
    objective = soft_objective({"permute_non_targets": True, "label_weight": 0.0})
    torch.manual_seed(5)
    found = objective(batch()).total
    torch.manual_seed(5)
    torch.testing.assert_close(found, distillation_kl(q, permute_non_targets(p), temperature=2.0))
    assert objective(batch()).total != found


def test_the_divergence_warms_up_over_its_share_of_the_training() -> None:
    objective = soft_objective({"divergence": "dkd", "divergence_warmup": 0.5})
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
    q, _ = both_logits()
    expected = 0.7 * cross_entropy(q, LABELS, label_smoothing=0.2) + 0.3 * virtual_teacher_kl(q, LABELS, temperature=5.0)
    torch.testing.assert_close(Supervised(encoder(1), options).eval()(batch()).total, expected)


def test_words_at_no_weight_leave_every_loss_as_it_is() -> None:
    plain = train(soft_objective({}), 3)
    assert train(soft_objective({"alignment": {"weight": 0.0}}), 3) == plain
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
        ({"divergence": "kld"}, "loss: divergence: should be 'kl', 'dist', 'dkd' or 'cwtm'"),
        ({"divergence": ["kl"]}, "loss: divergence: "),
        ({"divergence": "cwtm", "standardise": True}, "take no effect with divergence = 'cwtm'"),
        ({"divergence": "cwtm", "permute_non_targets": True}, "take no effect with divergence = 'cwtm'"),
        ({"divergence_weight": -1.0}, "greater than or equal to 0"),
        ({"label_weight": "much"}, "loss: label_weight: should be a valid number"),
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
    q, p = both_logits()
    classes = 100  # the source divides by the classes of CIFAR-100 and multiplies again
    weight = alpha * multiplier / classes
    settings = {"temperature": temperature, "label_weight": 1 - alpha, "divergence_weight": weight}
    options = BornAgainLossOptions.model_validate(settings)
    objective = SoftTargets(encoder(1), ClassifierTeacher(teaching_encoder()), options, projector=None).eval()
    expected = (1 - alpha) * cross_entropy(q, LABELS) + weight * distillation_kl(q, p, temperature=temperature)
    torch.testing.assert_close(objective(batch()).total, expected)


def test_function_matching_is_the_divergence_alone_on_what_both_see() -> None:
    q, p = both_logits()
    found = soft_objective({"label_weight": 0.0, "temperature": 5.0})(mixed_batch())
    assert list(found.terms) == ["distillation_kl"]
    torch.testing.assert_close(found.total, distillation_kl(q, p, temperature=5.0))


def test_labels_and_pseudo_labels_are_cross_entropies_up_to_the_targets_own_entropy() -> None:
    q, _ = both_logits()
    said = torch.linspace(-2, 2, 36).view(12, 3)
    targets = torch.where((torch.arange(12) < 4)[:, None], one_hot_logits(LABELS, 3), said)
    options = SoftTargetOptions(temperature=1.0, label_weight=0.0)
    objective = SoftTargets(encoder(1), TableTeacher(batch().ids.numpy(), targets), options, projector=None).eval()
    log_q, p = q.log_softmax(dim=1), said.softmax(dim=1)
    hard = -log_q[torch.arange(4), LABELS[:4]].sum()
    soft = (p * (p.log() - log_q))[4:].sum()
    torch.testing.assert_close(objective(batch()).total, (hard + soft) / 12)
