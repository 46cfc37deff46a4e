"""The averaged network: no parameters, weights that follow, batch statistics of its own."""

import pytest
import torch
from torch import nn

from picturebook.models.averaged import AveragedNetwork


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_it_starts_as_a_copy_without_parameters_whose_state_has_the_same_names() -> None:
    student = network()
    teacher = AveragedNetwork(student)
    assert list(teacher.parameters()) == []
    assert {f"network.{name}" for name in student.state_dict()} == set(teacher.state_dict())
    student[0].weight.data.zero_()
    assert teacher.network[0].weight.abs().sum() > 0


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weights_follow_and_batch_statistics_do_not(momentum: float) -> None:
    student = network()
    teacher = AveragedNetwork(student)
    old = teacher.network[0].weight.clone()
    with torch.no_grad():
        student[0].weight.add_(1.0)
        student[1].running_mean.add_(5.0)
    teacher.follow(student, momentum=momentum)
    torch.testing.assert_close(teacher.network[0].weight, momentum * old + (1 - momentum) * student[0].weight.detach())
    assert torch.equal(teacher.network[1].running_mean, torch.zeros(4))


def test_while_training_it_normalises_by_the_batch_and_drops_nothing() -> None:
    student = network().train()
    teacher = AveragedNetwork(student).train()
    inputs = torch.randn(16, 3) + 2.0
    first = teacher(inputs)
    assert torch.equal(first, teacher(inputs))
    assert not first.requires_grad
    hidden = student[0](inputs)
    expected = student[3]((hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, correction=0) + 1e-5).sqrt())
    torch.testing.assert_close(first, expected.detach())
    moved = teacher.network[1].running_mean.clone()
    assert moved.abs().sum() > 0
    teacher.eval()
    teacher(inputs)
    assert torch.equal(teacher.network[1].running_mean, moved)
