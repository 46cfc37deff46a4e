"""Words beside the student's features."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from objective_cases import LABELS, NUM, TEXT_WIDTH, batch, encoder, images, linear, teaching_encoder, texts
from torch import Tensor

from picturebook.data.text_table import TextTable
from picturebook.errors import ModelError, OptionError, TextError
from picturebook.losses import contrastive_alignment, cross_entropy, distillation_kl, feature_regression
from picturebook.models.image_encoders import create_image_encoder
from picturebook.objectives.alignment import AlignmentOptions, gradient_ratio
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets, Supervised, SupervisedOptions
from picturebook.teachers import ClassifierTeacher
from picturebook.types import UNLABELLED, Queries


def made(**alignment: Any) -> Supervised:
    options = SupervisedOptions.model_validate({"alignment": {"weight": 0.5, **alignment}})
    return Supervised(encoder(1), options, texts=texts(), text_projector=linear(TEXT_WIDTH)).eval()


def alignment_of(objective: Supervised, features: Tensor, loss: str, temperature: float = 0.07) -> Tensor:
    assert objective.alignment is not None
    projected, vectors = objective.alignment.projector(features), texts().of(batch()).mean()
    if loss == "cosine":
        return feature_regression(projected, vectors)
    return contrastive_alignment(projected, vectors, temperature=temperature)


@pytest.mark.parametrize("settings", [{"loss": "cosine"}, {"loss": "contrastive", "temperature": 0.2}])
def test_words_without_balance_are_their_weight_times_their_loss(settings: dict[str, Any]) -> None:
    objective = made(balanced=False, **settings)
    logits, features = objective.student.forward_features(images())
    words = alignment_of(objective, features, settings["loss"], settings.get("temperature", 0.07))
    loss = objective(batch())
    torch.testing.assert_close(loss.total, cross_entropy(logits, LABELS) + 0.5 * words)
    torch.testing.assert_close(loss.terms["alignment"], words.detach())
    assert loss.terms.keys() == {"cross_entropy", "alignment"}


def pull(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    z = at.detach().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


@pytest.mark.parametrize("name", ["cosine", "contrastive"])
def test_balanced_words_pull_at_the_features_as_hard_as_their_weight_says(name: str) -> None:
    objective = made(loss=name)
    _, features = objective.student.forward_features(images())
    head = objective.student.model.head
    labels = pull(lambda z: cross_entropy(head(z), LABELS), features)
    words = pull(lambda z: alignment_of(objective, z, name), features)
    balance = labels.norm() / words.norm()
    loss = objective(batch())
    torch.testing.assert_close(loss.terms["alignment_balance"], balance)
    torch.testing.assert_close(loss.total.detach(), loss.terms["cross_entropy"] + 0.5 * balance * loss.terms["alignment"])
    assert (0.5 * balance * words).norm() == pytest.approx(0.5 * labels.norm().item(), rel=1e-5)


def test_the_balance_is_a_number_to_the_gradient() -> None:
    objective = made(loss="cosine")
    loss = objective(batch())
    logits, features = objective.student.forward_features(images())
    constant = cross_entropy(logits, LABELS) + 0.5 * loss.terms["alignment_balance"] * alignment_of(objective, features, "cosine")
    parameters = list(objective.parameters())
    for found, expected in zip(
        torch.autograd.grad(loss.total, parameters), torch.autograd.grad(constant, parameters), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_beside_a_teacher_words_are_balanced_with_all_that_goes_through_the_logits() -> None:
    options = SoftTargetOptions.model_validate({"label_weight": 0.2, "alignment": {"weight": 2.0, "loss": "cosine"}})
    teacher = teaching_encoder()
    objective = SoftTargets(
        encoder(1), ClassifierTeacher(teacher), options, projector=None, texts=texts(), text_projector=linear(TEXT_WIDTH)
    ).eval()
    _, features = objective.student.forward_features(images())
    head, answers = objective.student.model.head, teacher.eval()(images())

    def of_logits(z: Tensor) -> Tensor:
        return 0.2 * cross_entropy(head(z), LABELS) + 0.8 * distillation_kl(head(z), answers, temperature=2.0)

    assert objective.alignment is not None
    projector, vectors = objective.alignment.projector, texts().of(batch()).mean()
    balance = pull(of_logits, features).norm() / pull(lambda z: feature_regression(projector(z), vectors), features).norm()
    loss = objective(batch())
    torch.testing.assert_close(loss.terms["alignment_balance"], balance)
    expected = of_logits(features).detach() + 2.0 * balance * loss.terms["alignment"]
    torch.testing.assert_close(loss.total.detach(), expected)


def test_where_one_side_pulls_at_nothing_the_balance_is_0() -> None:
    z = torch.ones(2, 3)
    assert gradient_ratio(z, lambda z: 3 * z.sum(), lambda z: z.sum()) == 3
    assert gradient_ratio(z, lambda z: z.sum(), lambda z: 0 * z.sum()) == 0
    assert gradient_ratio(z, lambda z: 0 * z.sum(), lambda z: z.sum()) == 0
    assert made()(batch(torch.full((NUM,), UNLABELLED))).terms["alignment_balance"] == 0


def test_words_are_left_out_after_their_share_and_every_parameter_keeps_a_gradient() -> None:
    objective = made(until=0.5, balanced=False)
    assert objective.alignment is not None
    gates = []
    for step in range(6):
        gates.append(objective.alignment.gate.item())
        objective.after_step(step, 6)
    assert gates == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    loss = objective(batch())
    assert loss.total.item() == loss.terms["cross_entropy"].item()
    loss.total.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    assert all(not parameter.grad.any() for parameter in objective.alignment.parameters() if parameter.grad is not None)
    always = made()
    for step in range(6):
        always.after_step(step, 6)
        assert always.alignment is not None
        assert always.alignment.gate == float(step < 5)  # the last step was with words; there is none after it


def test_a_learnt_temperature_starts_where_it_is_told_moves_and_stops_at_a_hundredth() -> None:
    objective = made(temperature=0.2)
    assert objective.alignment is not None
    parameter = objective.alignment.log_temperature
    assert parameter is not None
    assert parameter.exp().item() == pytest.approx(0.2)
    objective(batch()).total.backward()
    assert parameter.grad is not None
    assert parameter.grad != 0
    with torch.no_grad():
        parameter.fill_(-9.0)
    objective.after_step(0, 10)
    assert parameter.exp().item() == pytest.approx(0.01)
    fixed = made(learned_temperature=False).alignment
    assert fixed is not None
    assert fixed.log_temperature is None


def test_pictures_without_a_text_are_refused() -> None:
    ids = batch().ids.numpy()[:-1]
    some = TextTable(ids, Queries(torch.randn(NUM - 1, 1, TEXT_WIDTH), torch.ones(NUM - 1, 1, dtype=torch.bool)))
    options = SupervisedOptions.model_validate({"alignment": {"weight": 0.5}})
    objective = Supervised(encoder(1), options, texts=some, text_projector=linear(TEXT_WIDTH))
    with pytest.raises(TextError, match="1 pictures of this batch have no text"):
        objective(batch())


def test_a_weight_for_words_where_there_are_none_is_refused() -> None:
    options = SupervisedOptions.model_validate({"alignment": {"weight": 0.5}})
    with pytest.raises(OptionError, match=r"alignment.weight = 0.5 needs a text for each training picture"):
        Supervised(encoder(1), options)


def test_a_student_with_more_than_a_layer_above_its_features_cannot_be_balanced() -> None:
    arguments = {"patch_size": 4, "embed_dim": 32, "depth": 1, "num_heads": 2}
    student = create_image_encoder("deit_tiny_distilled_patch16_224", num_classes=3, image_size=16, model_args=arguments)
    with pytest.raises(ModelError, match=r"say alignment\.balanced = false"):
        Supervised(
            student,
            SupervisedOptions.model_validate({"alignment": {"weight": 0.5}}),
            texts=texts(),
            text_projector=linear(TEXT_WIDTH),
        )
    assert student.training


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet10t", {"channels": [8, 8, 8, 8]}),
        ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]}),
        ("mobilenetv3_small_050", {}),
        ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, "global_pool": "avg"}),
    ],
)
def test_usual_students_can_be_balanced(name: str, arguments: dict[str, Any]) -> None:
    student = create_image_encoder(name, num_classes=3, image_size=32, model_args=arguments)
    buffers = {key: value.clone() for key, value in student.named_buffers()}
    with torch.random.fork_rng():
        projector = torch.nn.Linear(student.feature_width, TEXT_WIDTH)
    options = SupervisedOptions.model_validate({"alignment": {"weight": 0.5}})
    objective = Supervised(student, options, texts=texts(), text_projector=projector)
    for key, value in student.named_buffers():
        assert torch.equal(value, buffers[key]), key
    assert objective(batch()).terms["alignment_balance"] > 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"loss": "cosine", "temperature": 0.5}, "temperature takes no effect with loss = 'cosine'"),
        ({"loss": "cosine", "learned_temperature": False}, "learned_temperature takes no effect"),
        ({"temperature": 0.001}, "a learnt one stops at 0.01"),
        ({"until": 0.0}, "greater than 0"),
        ({"weight": -1.0}, "greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AlignmentOptions.model_validate({"weight": 1.0, **settings})
