"""What every objective promises. A new objective gets one entry in BUILDERS."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import VIT
from picturebook.losses import cross_entropy, distillation_kl, feature_regression
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder, weights_fingerprint
from picturebook.objective import Objective
from picturebook.objectives import OBJECTIVES
from picturebook.objectives.image_text import HeadLossOptions, ImageText
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets, Supervised, SupervisedOptions
from picturebook.stores.packed import PackedArray, PackedWriter
from picturebook.teachers import ClassifierTeacher, TextTable
from picturebook.types import UNLABELLED, Batch

NUM = 12
LABELS = torch.arange(NUM) % 3


@dataclass
class Built:
    """An objective, and what in it must not move."""

    objective: Objective
    trained: set[str]
    """First parts of the names of its parameters."""
    frozen: dict[str, nn.Module] = field(default_factory=dict)


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(NUM, 3, 16, 16, generator=generator) * 0.5
    for row, label in enumerate(LABELS.tolist()):
        pictures[row, label] += 0.5
    return pictures


def batch(labels: Tensor = LABELS) -> Batch:
    return Batch(torch.arange(NUM) * 7 - 20, torch.zeros(NUM, dtype=torch.long), labels, images())


def rows_of(whole: Batch, rows: slice) -> Batch:
    assert whole.images is not None
    return replace(whole, ids=whole.ids[rows], views=whole.views[rows], labels=whole.labels[rows], images=whole.images[rows])


def encoder(seed: int) -> ImageEncoder:
    return create_image_encoder(VIT["model"], num_classes=3, image_size=16, model_args=VIT["model_args"], seed=seed)


def projector(teacher: ImageEncoder) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(32, teacher.feature_width)


def supervised(folder: Path) -> Built:
    return Built(Supervised(encoder(1), SupervisedOptions(label_smoothing=0.1)), {"student"})


def soft_targets(folder: Path) -> Built:
    teacher = encoder(2)
    with torch.no_grad():
        teacher.model.head.weight.mul_(30)  # a teacher with something to say
    options = SoftTargetOptions(distilled="both", label_weight=0.3)
    objective = SoftTargets(encoder(1), ClassifierTeacher(teacher), options, projector=projector(teacher))
    return Built(objective, {"student", "projector"}, {"teacher": teacher})


def image_text(folder: Path) -> Built:
    whole = batch()
    writer = PackedWriter.start(folder, ids=whole.ids.numpy(), num_views=1, record=(16, 32), dtype=np.float16, fingerprint={})
    with torch.no_grad():
        writer.write(whole.ids.numpy(), whole.views.numpy(), encoder(2).eval().tokens(images()).numpy())
    writer.finish()
    options = HeadOptions(mode="own", width=16, num_heads=2, dropout=0.0)
    head = build_head(options, token_width=32, num_tokens=16, text_width=6, num_classes=3, seed=0)
    texts = TextTable(whole.ids.numpy(), torch.randn(NUM, 6, generator=torch.Generator().manual_seed(1)))
    objective = ImageText(head, PackedArray.open(folder, {}), texts=texts, options=HeadLossOptions(label_smoothing=0.1))
    return Built(objective, {"head"})


BUILDERS: dict[str, Callable[[Path], Built]] = {"image_text": image_text, "soft_targets": soft_targets, "supervised": supervised}


@pytest.fixture(params=OBJECTIVES)
def built(request: pytest.FixtureRequest, tmp_path: Path) -> Built:
    made = BUILDERS[request.param](tmp_path / "tokens")
    assert type(made.objective) is OBJECTIVES[request.param]
    return made


def train(objective: Objective, steps: int, labels: Tensor = LABELS) -> list[float]:
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        loss = objective(batch(labels))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        objective.after_step(step, steps)
        losses.append(loss.total.item())
    return losses


def test_the_loss_is_a_finite_number_that_falls(built: Built) -> None:
    built.objective.train()
    loss = built.objective(batch()).total
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    losses = train(built.objective, 30)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


def test_terms_are_detached_and_add_to_what_is_logged(built: Built) -> None:
    loss = built.objective(batch())
    assert loss.total.requires_grad
    assert loss.terms
    for value in loss.terms.values():
        assert value.shape == ()
        assert not value.requires_grad
        assert torch.isfinite(value)


def test_what_is_frozen_stays_in_eval_and_does_not_move(built: Built) -> None:
    before = {name: weights_fingerprint(module) for name, module in built.frozen.items()}
    built.objective.train()
    train(built.objective, 3)
    for name, module in built.frozen.items():
        assert not any(part.training for part in module.modules())
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert all(parameter.grad is None for parameter in module.parameters())
        assert weights_fingerprint(module) == before[name]


def test_gradients_reach_every_trained_part_and_nothing_else(built: Built) -> None:
    built.objective.train()
    built.objective(batch()).total.backward()
    parameters = dict(built.objective.named_parameters())
    assert {name.split(".")[0] for name in parameters} == built.trained
    assert [name for name, parameter in parameters.items() if parameter.grad is None] == []
    assert {name.split(".")[0] for name in built.objective.state_dict()} == built.trained


def test_a_saved_state_gives_the_same_loss(built: Built, tmp_path: Path) -> None:
    built.objective.eval()
    train(built.objective, 2)
    state = {name: value.clone() for name, value in built.objective.state_dict().items()}
    expected = built.objective(batch()).total
    train(built.objective, 2)
    assert built.objective(batch()).total != expected
    built.objective.load_state_dict(state)
    assert torch.equal(built.objective(batch()).total, expected)


def test_rows_without_a_label_teach_nothing_about_labels(built: Built) -> None:
    built.objective.eval()
    some = LABELS.clone()
    some[:5] = UNLABELLED
    whole = batch(some)
    found = built.objective(whole).terms["cross_entropy"]
    of_the_labelled = built.objective(rows_of(whole, slice(5, NUM))).terms["cross_entropy"]
    torch.testing.assert_close(NUM * found, (NUM - 5) * of_the_labelled, rtol=1e-5, atol=1e-5)


def test_parts_of_a_batch_add_up_to_it(built: Built) -> None:
    built.objective.eval()
    labels = LABELS.clone()
    labels[[0, 1, 2, 6]] = UNLABELLED  # the parts differ in size, and in how many labels they have
    whole = built.objective(batch(labels))
    parts = {num: built.objective(rows_of(batch(labels), rows)) for num, rows in ((5, slice(0, 5)), (7, slice(5, NUM)))}
    total = sum(num / NUM * loss.total for num, loss in parts.items())
    torch.testing.assert_close(total, whole.total, rtol=1e-5, atol=1e-6)
    for name, value in whole.terms.items():
        torch.testing.assert_close(sum(num / NUM * loss.terms[name] for num, loss in parts.items()), value, rtol=1e-5, atol=1e-6)


def test_a_batch_without_any_label_still_takes_a_step(built: Built) -> None:
    losses = train(built.objective.train(), 2, torch.full((NUM,), UNLABELLED))
    assert np.isfinite(losses).all()
    assert built.objective(batch(torch.full((NUM,), UNLABELLED))).terms["cross_entropy"] == 0


@pytest.mark.parametrize(
    ("distilled", "label_weight"),
    [
        (what, weight)
        for what in ("logits", "representation", "both")
        for weight in (0.0, 0.25, 1.0)
        if (what, weight) != ("representation", 0.0)
    ],
)
def test_soft_targets_is_its_formula(distilled: str, label_weight: float) -> None:
    options = SoftTargetOptions.model_validate(
        {"distilled": distilled, "label_weight": label_weight, "temperature": 3.0, "representation_weight": 0.7}
    )
    student, teacher = encoder(1), encoder(2)
    layer = projector(teacher) if distilled != "logits" else None
    objective = SoftTargets(student, ClassifierTeacher(teacher), options, projector=layer).eval()
    targets = ClassifierTeacher(teacher)(batch())
    logits, features = student.forward_features(images())
    expected = label_weight * cross_entropy(logits, LABELS)
    if distilled != "representation":
        expected = expected + (1 - label_weight) * distillation_kl(logits, targets.logits, temperature=3.0)
    if distilled != "logits":
        assert objective.projector is not None
        expected = expected + 0.7 * feature_regression(objective.projector(features), targets.representation)
    torch.testing.assert_close(objective(batch()).total, expected)


def test_distilling_the_representation_alone_needs_labels_for_the_classifier() -> None:
    with pytest.raises(ValueError, match="leaves the classifier untaught: raise label_weight"):
        SoftTargetOptions(distilled="representation", label_weight=0.0)
