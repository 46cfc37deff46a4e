"""What every objective promises. A new objective, or a variant of one, gets one entry in objective_cases.BUILDERS."""

from pathlib import Path

import numpy as np
import pytest
import torch
from objective_cases import BUILDERS, LABELS, NUM, Built, batch, train
from torch import Tensor

from picturebook.models.image_encoders import weights_fingerprint
from picturebook.objectives import OBJECTIVES
from picturebook.types import UNLABELLED, Batch


def rows_of(whole: Batch, rows: slice) -> Batch:
    return whole[torch.arange(NUM)[rows]]


@pytest.fixture(params=BUILDERS)
def built(request: pytest.FixtureRequest, tmp_path: Path) -> Built:
    made = BUILDERS[request.param](tmp_path / "tokens")
    assert type(made.objective) is OBJECTIVES[request.param.split("/")[0]]
    return made


def loss_of(built: Built) -> Tensor:
    torch.manual_seed(0)
    return built.objective(batch()).total


def test_every_objective_has_a_case() -> None:
    assert {name.split("/")[0] for name in BUILDERS} == set(OBJECTIVES)


def test_the_loss_is_a_finite_number_that_falls(built: Built) -> None:
    built.objective.train()
    for name in built.counters:
        built.objective.get_buffer(name).fill_(1.0)  # the rise of a weight is no rise of the loss
    loss = built.objective(batch()).total
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    losses = train(built.objective, 30)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * loss.item()


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
    assert [name for name, parameter in parameters.items() if parameter.requires_grad and parameter.grad is None] == []
    assert {name.split(".")[0] for name in built.objective.state_dict()} == built.trained | built.counters | built.carried


def test_a_saved_state_gives_the_same_loss(built: Built, tmp_path: Path) -> None:
    built.objective.eval()
    train(built.objective, 2)
    state = {name: value.clone() for name, value in built.objective.state_dict().items()}
    expected = loss_of(built)
    train(built.objective, 2)
    assert loss_of(built) != expected
    built.objective.load_state_dict(state)
    assert torch.equal(loss_of(built), expected)


def test_rows_without_a_label_teach_nothing_about_labels(built: Built) -> None:
    built.objective.eval()
    some = LABELS.clone()
    some[:5] = UNLABELLED
    whole = batch(some)
    found = built.objective(whole).terms
    of_the_labelled = built.objective(rows_of(whole, slice(5, NUM))).terms
    for name in found.keys() & {"cross_entropy", "virtual_teacher_kl", "decoupled_distillation"}:
        torch.testing.assert_close(NUM * found[name], (NUM - 5) * of_the_labelled[name], rtol=1e-5, atol=1e-5)


def test_parts_of_a_batch_add_up_to_it(built: Built) -> None:
    built.objective.eval()
    labels = LABELS.clone()
    labels[[0, 1, 2, 6]] = UNLABELLED  # the parts differ in size, and in how many labels they have
    whole = built.objective(batch(labels))
    parts = {num: built.objective(rows_of(batch(labels), rows)) for num, rows in ((5, slice(0, 5)), (7, slice(5, NUM)))}
    if not built.within_a_batch:
        total = sum(num / NUM * loss.total for num, loss in parts.items())
        torch.testing.assert_close(total, whole.total, rtol=1e-5, atol=1e-6)
    for name, value in whole.terms.items():
        if name in built.within_a_batch:
            continue
        torch.testing.assert_close(sum(num / NUM * loss.terms[name] for num, loss in parts.items()), value, rtol=1e-5, atol=1e-6)


def test_a_batch_without_any_label_still_takes_a_step(built: Built) -> None:
    losses = train(built.objective.train(), 2, torch.full((NUM,), UNLABELLED))
    assert np.isfinite(losses).all()
    assert built.objective(batch(torch.full((NUM,), UNLABELLED))).terms.get("cross_entropy", 0) == 0
