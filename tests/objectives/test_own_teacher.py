from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from objective_cases import LABELS, NUM, batch
from own_teacher_cases import WEIGHTS, own_teacher
from torch import Tensor

from picturebook.objective import Objective
from picturebook.types import UNLABELLED, Mixed

A, T, B = 0.3, 2.5, 0.02
SETTINGS = {"distillation_weight": A, "temperature": T, "feature_weight": B}


@pytest.fixture
def objective(tmp_path: Path) -> Objective:
    made: Objective = own_teacher(tmp_path, **SETTINGS).objective.eval()
    with torch.no_grad():
        made.student.model.head.weight.mul_(30)  # so that the deepest has something to say
    return made


def answers(objective: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Logits and maps of every classifier, from the shallowest."""
    with torch.no_grad():
        deepest, maps = objective.student.forward_stages(batch().images)
        found = [leaving(shallow) for leaving, shallow in zip(objective.exits, maps[:-1], strict=True)]
    logits = [*(one for one, _ in found), deepest]
    features = [*(one for _, one in found), maps[-1]]
    return [one.double().numpy() for one in logits], [one.double().numpy() for one in features]


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    scaled = np.exp((logits - logits.max()) / temperature)
    return scaled / scaled.sum()


def test_the_loss_is_the_papers(objective: Objective) -> None:
    logits, features = answers(objective)
    labels = divergence = hints = 0.0
    for row, label in enumerate(LABELS.tolist()):
        teacher = probabilities(logits[-1][row], T)
        for number, (z, f) in enumerate(zip(logits, features, strict=True)):
            labels -= np.log(probabilities(z[row])[label]) / NUM
            if number < len(logits) - 1:
                student = probabilities(z[row], T)
                divergence += T**2 * (teacher * np.log(teacher / student)).sum() / NUM
                hints += ((f[row] - features[-1][row]) ** 2).sum() / NUM
    loss = objective(batch())
    assert loss.terms["cross_entropy"].item() == pytest.approx(labels, rel=1e-5)
    assert loss.terms["distillation_kl"].item() == pytest.approx(divergence, rel=1e-4)
    assert loss.terms["squared_distance"].item() == pytest.approx(hints, rel=1e-5)
    assert loss.total.item() == pytest.approx((1 - A) * labels + A * divergence + B * hints, rel=1e-5)
    assert divergence > 0.1


def test_the_deepest_classifier_learns_from_the_labels_alone(objective: Any) -> None:
    head = list(objective.student.model.head.parameters())
    found = torch.autograd.grad(objective(batch()).total, head)
    logits = objective.student(batch().images)
    expected = torch.autograd.grad((1 - A) * torch.nn.functional.cross_entropy(logits, LABELS), head)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_the_deepest_map_is_not_drawn_to_the_shallow_ones(tmp_path: Path) -> None:
    objective = own_teacher(tmp_path, distillation_weight=0.0, feature_weight=1.0).objective.eval()
    unlabelled = batch(torch.full((NUM,), UNLABELLED))
    objective(unlabelled).total.backward()
    last = objective.student.model.blocks[-1]
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in last.parameters())
    assert objective.student.model.blocks[0].attn.qkv.weight.grad.any()


def test_a_mixed_picture_has_the_labels_of_both(objective: Objective) -> None:
    partners, share = LABELS.roll(1), torch.linspace(0, 1, NUM)
    mixed = objective(replace(batch(), mixed=Mixed(partners, share))).terms["cross_entropy"]
    expected = 0.0
    for z in answers(objective)[0]:
        for row in range(NUM):
            q = np.log(probabilities(z[row]))
            expected -= (share[row].item() * q[LABELS[row]] + (1 - share[row].item()) * q[partners[row]]) / NUM
    assert mixed.item() == pytest.approx(expected, rel=1e-5)


def test_equal_classifiers_and_maps_cost_nothing_but_the_labels(tmp_path: Path) -> None:
    objective: Any = own_teacher(tmp_path, blocks=(1, 3), **SETTINGS).objective.eval()

    class Same(torch.nn.Module):
        def forward(self, shallow: Tensor) -> tuple[Tensor, Tensor]:
            return logits, last

    with torch.no_grad():
        logits, maps = objective.student.forward_stages(batch().images)
        last = maps[-1]
    objective.exits = torch.nn.ModuleList([Same(), Same()])
    terms = objective(batch()).terms
    assert abs(terms["distillation_kl"]) < 1e-6
    assert abs(terms["squared_distance"]) < 1e-6
    assert terms["cross_entropy"].item() == pytest.approx(3 * torch.nn.functional.cross_entropy(logits, LABELS).item(), rel=1e-5)


def test_class_weights_weigh_the_labels_of_every_classifier(tmp_path: Path) -> None:
    terms = [
        own_teacher(tmp_path, class_weights=weights, **SETTINGS).objective.eval()(batch()).terms
        for weights in ("none", "balanced")
    ]
    objective = own_teacher(tmp_path, class_weights="balanced", **SETTINGS).objective.eval()
    expected = 0.0
    for z in answers(objective)[0]:
        for row, label in enumerate(LABELS.tolist()):
            expected -= WEIGHTS[label] * np.log(probabilities(z[row])[label]) / NUM
    assert terms[1]["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)
    assert terms[1]["cross_entropy"].item() != pytest.approx(terms[0]["cross_entropy"].item(), rel=1e-3)
    for name in ("distillation_kl", "squared_distance"):
        assert terms[1][name].item() == pytest.approx(terms[0][name].item(), rel=1e-6)
