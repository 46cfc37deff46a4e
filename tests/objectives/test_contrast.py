from math import log
from pathlib import Path

import objective_cases  # first, since its cases hold those of contrastive_cases
import pytest
import torch
from contrastive_cases import TRAINED, contrastive

from picturebook.losses import info_nce
from picturebook.objectives.contrastive import InfoNce, InfoNceOptions, Sigmoid, SigmoidOptions


def test_the_loss_is_that_of_projected_pictures_and_texts_with_equal_texts_as_positives(tmp_path: Path) -> None:
    objective = contrastive(tmp_path, InfoNceOptions(temperature=0.5, label_smoothing=0.2), TRAINED).objective.eval()
    batch = objective_cases.batch()
    images = objective.image_projection(objective.encoder.forward_features(batch.images)[1])
    texts = objective.text_tower(objective._texts.of(batch)[1])
    same = objective_cases.LABELS[:, None] == objective_cases.LABELS
    expected = info_nce(images, texts, scale=2.0, positives=same, label_smoothing=0.2)
    loss = objective(batch)
    torch.testing.assert_close(loss.total, expected)
    assert loss.terms["scale"].item() == pytest.approx(2.0)


@pytest.mark.parametrize("loss", [InfoNceOptions(temperature=0.01), SigmoidOptions(scale=100.0)])
def test_only_the_softmaxs_scale_stops_at_100(tmp_path: Path, loss: InfoNceOptions | SigmoidOptions) -> None:
    objective = contrastive(tmp_path, loss).objective
    with torch.no_grad():
        objective.contrast.log_scale.add_(1.0)
    objective.after_step(0, 10)
    limit = 100.0 if isinstance(loss, InfoNceOptions) else 100.0 * torch.e
    assert objective.contrast.log_scale.exp().item() == pytest.approx(limit, rel=1e-5)


def test_the_scale_starts_at_one_over_the_temperature() -> None:
    assert InfoNce(InfoNceOptions()).log_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-6)


def test_the_sigmoids_bias_starts_at_the_log_odds_of_a_pair_that_fits() -> None:
    assert Sigmoid(SigmoidOptions(), positive_share=1 / 128).bias.item() == pytest.approx(-log(127), rel=1e-6)
    assert Sigmoid(SigmoidOptions(), positive_share=1 / 32768).bias.item() == pytest.approx(-10.4, abs=0.01)
    assert Sigmoid(SigmoidOptions(bias=-10.0), positive_share=1 / 128).bias.item() == -10.0


def test_a_bias_for_large_batches_costs_more_at_the_start(tmp_path: Path) -> None:
    def first(bias: float | None) -> float:
        return contrastive(tmp_path, SigmoidOptions(bias=bias)).objective.eval()(objective_cases.batch()).total.item()

    assert first(None) < 0.7 * first(-10.0)


def test_the_classifier_has_no_part_in_it(tmp_path: Path) -> None:
    objective = contrastive(tmp_path, InfoNceOptions()).objective
    frozen = {name for name, parameter in objective.named_parameters() if not parameter.requires_grad}
    assert frozen == {"encoder.model.head.weight", "encoder.model.head.bias"}
