"""What DINO's objective carries from step to step, and how it tells that it has collapsed."""

import math
from dataclasses import replace

import pytest
import torch
from dino_cases import HEAD, dino
from objective_cases import batch, encoder, train
from torch import Tensor

from picturebook.errors import OptionError, TrainingError
from picturebook.losses import multi_crop_cross_entropy
from picturebook.models.projection_heads import PrototypeHead
from picturebook.objectives.dino import Dino, DinoOptions
from picturebook.options import validate


def made(**settings: object) -> Dino:
    objective: Dino = dino(None, **settings).objective  # the folder is not looked at
    return objective


def teacher_outputs(objective: Dino) -> Tensor:
    """[2, B, K] of the two global views."""
    whole = batch()
    assert whole.images is not None
    return torch.stack([objective.teacher(view)[1] for view in (whole.images, whole.crops[0])])


def test_the_loss_is_that_of_every_view_looked_at_alone() -> None:
    objective, whole = made().eval(), batch()
    assert whole.images is not None
    outputs = [objective.student(view)[1] for view in (whole.images, *whole.crops)]
    expected = multi_crop_cross_entropy(
        torch.stack(outputs),
        teacher_outputs(objective),
        centre=objective.centre,
        teacher_temperature=0.04,
        student_temperature=0.1,
    )
    torch.testing.assert_close(objective(whole).total, expected)


def test_after_a_step_teacher_centre_and_temperature_are_where_the_formulae_lead_them() -> None:
    objective = made(momentum=0.9, teacher_temperature_warmup=0.5, frozen_prototypes=0.2).train()
    old, centre = objective.teacher.network.head.prototypes.clone(), objective.centre.clone()
    outputs = teacher_outputs(objective)
    objective(batch())
    with torch.no_grad():
        objective.student.head.prototypes.add_(1.0)
    objective.after_step(2, 10)
    momentum = 1 - 0.1 * 0.5 * (1 + math.cos(math.pi * 2 / 10))
    new = momentum * old + (1 - momentum) * objective.student.head.prototypes.detach()
    torch.testing.assert_close(objective.teacher.network.head.prototypes, new)
    torch.testing.assert_close(objective.centre, 0.9 * centre + 0.1 * outputs.mean(dim=(0, 1)))
    assert objective.teacher_temperature.item() == pytest.approx(0.04 + 0.03 * 0.3 / 0.5)
    assert objective.prototype_gradient == 1.0


def test_a_batch_in_parts_moves_the_centre_as_a_whole_one_does() -> None:
    whole, parted = made().train(), made().train()
    whole(batch())
    for places in (torch.arange(5), torch.arange(5, 12)):
        parted(batch()[places])
    for objective in (whole, parted):
        objective.after_step(0, 10)
    torch.testing.assert_close(parted.centre, whole.centre)


def test_a_step_that_is_not_finite_does_not_reach_the_centre() -> None:
    objective, centre = made().train(), made().centre
    whole = batch()
    assert whole.images is not None
    objective(replace(whole, images=whole.images * math.nan))
    objective.after_step(0, 10)
    assert torch.equal(objective.centre, centre)


def test_prototypes_are_frozen_for_their_share_of_the_training() -> None:
    objective = made(frozen_prototypes=0.3, momentum=0.5).train()
    first = objective.student.head.prototypes.clone()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(6):
        optimizer.zero_grad()
        objective(batch()).total.backward()
        optimizer.step()
        objective.after_step(step, 10)
        assert torch.equal(objective.student.head.prototypes, first) == (step < 3)


def test_terms_tell_alike_answers_from_different_ones() -> None:
    objective = made().eval()
    different = objective(batch()).terms
    assert different["mean_output_entropy"] > different["output_entropy"] + 0.1
    assert different["feature_spread"] > 0.1
    whole = batch()
    assert whole.images is not None
    same = whole.images[:1].expand(12, -1, -1, -1)
    alike = objective(replace(whole, images=same, crops=(same, same))).terms
    assert alike["mean_output_entropy"].item() == pytest.approx(alike["output_entropy"].item(), abs=1e-5)
    assert alike["feature_spread"].item() == pytest.approx(0.0, abs=1e-3)


def test_the_spread_of_features_is_their_standard_deviation_at_length_one() -> None:
    objective, whole = made().eval(), batch()
    assert whole.images is not None
    features = objective.teacher(torch.cat([whole.images, whole.crops[0]]))[0].double()
    directions = features / features.norm(dim=1, keepdim=True)
    expected = (directions - directions.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    assert objective(whole).terms["feature_spread"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("settings", [{"teacher_temperature": (1.0, 1.0)}, {"momentum": 0.9}])
def test_neither_centring_nor_sharpening_ends_in_a_collapse_that_is_said(settings: dict[str, object]) -> None:
    # From a centre at 0 one prototype wins at once; flat answers are those of a teacher that is not sharpened.
    objective = Dino(encoder(1), PrototypeHead(32, HEAD, seed=0), DinoOptions(centre_momentum=1.0, **settings)).train()
    with pytest.raises(TrainingError, match=r"DINO has collapsed: for \d+ of 120 steps .* alike"):
        train(objective, 120)


def test_a_training_that_goes_well_is_not_stopped() -> None:
    objective = made().train()
    train(objective, 120)
    assert objective.alike_steps < 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_temperature": [0.04]}, "loss: teacher_temperature"),
        ({"teacher_temperature": [0.0, 0.07]}, r"needs two positive numbers, got \[0.0, 0.07\]"),
        ({"momentum": 1.0}, "less than 1"),
        ({"student_temperature": 0.0}, "greater than 0"),
        ({"collapse_after": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        validate(DinoOptions, settings, source="loss")
