"""k-NN and linear probes: against slow oracles, and on toy features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from picturebook.errors import DataError, ModelError, OptionError
from picturebook.evaluate import evaluate_rows, student_logits
from picturebook.models.image_encoders import create_image_encoder, weights_fingerprint
from picturebook.recipes import probing
from picturebook.recipes.probing import (
    ProbeOptions,
    check_probe,
    classifier_of,
    finish_student,
    fit_linear_probe,
    freeze_classifier,
    neighbour_votes,
    probe,
)
from picturebook.types import UNLABELLED
from toy_runs import VIT, make_stages, merged

Make = Callable[..., Any]


def slow_votes(
    query: np.ndarray, stored: np.ndarray, labels: np.ndarray, num_classes: int, neighbours: int, temperature: float
) -> np.ndarray:
    cosines = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in stored]
    nearest = sorted(range(len(stored)), key=lambda row: -cosines[row])[:neighbours]
    weights = {row: np.exp(cosines[row] / temperature) for row in nearest}
    probs = np.zeros(num_classes)
    for row, weight in weights.items():
        probs[labels[row]] += weight / sum(weights.values())
    return np.log((neighbours * probs + 1 / num_classes) / (neighbours + 1))


@pytest.mark.parametrize("chunk", [4, 7, 1000])
@pytest.mark.parametrize("neighbours", [1, 5, 23])
def test_neighbours_vote_as_the_slow_formula_says_whatever_the_chunk(
    monkeypatch: pytest.MonkeyPatch, chunk: int, neighbours: int
) -> None:
    monkeypatch.setattr(probing, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    queries, stored = torch.randn(6, 5, generator=generator), torch.randn(23, 5, generator=generator)
    labels = torch.arange(23) % 4
    found = neighbour_votes(
        queries, functional.normalize(stored, dim=1), labels, num_classes=5, neighbours=neighbours, temperature=0.3
    )
    for query, row in zip(queries.double().numpy(), found.numpy(), strict=True):
        expected = slow_votes(query, stored.double().numpy(), labels.numpy(), 5, neighbours, 0.3)
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)
        assert np.exp(row).sum() == pytest.approx(1.0, abs=1e-5)


def blobs(seed: int, num: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    features = torch.randn(num, 8, generator=generator)
    features[torch.arange(num), labels] += 5.0
    # Widths and places as far apart as those of raw features, and one feature that never changes.
    features = features * torch.tensor([1e-3, 1.0, 50.0, 1.0, 1e2, 1.0, 1.0, 0.0]) + torch.arange(8) * 10
    return features, labels


def test_a_linear_probe_learns_features_of_any_scale_and_twice_the_same() -> None:
    features, labels = blobs(0)
    held = blobs(1)
    first, second = (fit_linear_probe(features, labels, held, num_classes=3) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    others, theirs = blobs(2)
    assert (first(others).argmax(dim=1) == theirs).float().mean() > 0.9


def test_a_linear_probe_is_where_the_penalised_loss_is_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_PENALTIES", (0.01,))
    features, labels = blobs(0)
    fitted = fit_linear_probe(features, labels, (features, labels), num_classes=3)
    inputs, spread = features.double().numpy(), features.double().std(dim=0, correction=0).numpy()
    spread[spread < 1e-6] = 1.0
    logits = inputs @ fitted.weight.double().numpy().T + fitted.bias.double().numpy()
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    errors = (probs - np.eye(3)[labels.numpy()]) / len(labels)
    standardised = (inputs - inputs.mean(axis=0)) / spread
    gradient = errors.T @ standardised + 0.01 * fitted.weight.double().numpy() * spread
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)
    np.testing.assert_allclose(errors.sum(axis=0), 0.0, atol=1e-3)


def test_the_weight_decay_is_what_the_held_out_pictures_like_best(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(0)
    held = blobs(1)
    chosen = fit_linear_probe(features, labels, held, num_classes=3)
    losses = []
    for penalty in probing._PENALTIES:
        monkeypatch.setattr(probing, "_PENALTIES", (penalty,))
        alone = fit_linear_probe(features, labels, held, num_classes=3)
        losses.append(functional.cross_entropy(alone(held[0]), held[1]).item())
    assert functional.cross_entropy(chosen(held[0]), held[1]).item() == pytest.approx(min(losses))
    assert max(losses) > min(losses)


@pytest.fixture
def stages(recipe_options: Make, tmp_path: Path) -> Any:
    return make_stages(recipe_options("supervised", tmp_path / "run"))


def accuracy(stages: Any, model: Any) -> float:
    rows = stages.pictures.rows["test"]
    return evaluate_rows(model, stages.pictures, rows, image_size=16, device=torch.device("cpu")).accuracy


def test_probing_gives_three_models_and_leaves_the_network_as_it_is(stages: Any) -> None:
    encoder = freeze_classifier(stages.new_student("pretrained"))
    before = weights_fingerprint(encoder)
    models = probe(stages, encoder, ProbeOptions(neighbours=5))
    assert list(models) == ["k-NN", "linear probe", "linear probe of random features"]
    assert len({accuracy(stages, model) >= 0.0 for model in models.values()}) == 1
    student = finish_student(stages, encoder, ProbeOptions(neighbours=5))
    assert weights_fingerprint(encoder) == before != weights_fingerprint(student)
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_a_student_under_its_linear_probe_answers_as_the_probe(stages: Any) -> None:
    encoder = freeze_classifier(stages.new_student("pretrained"))
    options = ProbeOptions(neighbours=5, finish="linear_probe")
    expected = probe(stages, encoder, options)["linear probe"]
    student = finish_student(stages, encoder, options)
    batch = stages.maker.batch(stages.train_rows[:5], np.zeros(5, dtype=np.int64))
    torch.testing.assert_close(student_logits(student.eval())(batch), expected(batch), rtol=1e-4, atol=1e-4)
    assert not stages.seconds.get("student")


def test_a_resumed_probing_reads_what_was_fitted(stages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = stages.new_student("pretrained")
    first = probe(stages, encoder, ProbeOptions(neighbours=5))
    monkeypatch.setattr(probing, "_fit", lambda *arguments: pytest.fail("fitted again"))
    again = probe(stages, encoder, ProbeOptions(neighbours=5))
    batch = stages.maker.batch(stages.train_rows[:5], np.zeros(5, dtype=np.int64))
    for name, model in first.items():
        assert torch.equal(model(batch), again[name](batch))


def test_without_validation_pictures_a_fifth_of_the_training_pictures_chooses(stages: Any) -> None:
    stages.pictures.rows["val"] = stages.pictures.rows["val"][:0]
    models = probe(stages, stages.new_student(), ProbeOptions(neighbours=5))
    assert 0.0 <= accuracy(stages, models["linear probe"]) <= 1.0


def test_what_cannot_be_probed_is_refused_before_any_training(recipe_options: Make, stages: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"probe\.neighbours = 34, but only 33 training pictures have a label"):
        check_probe(stages, ProbeOptions(neighbours=34))
    stages.pictures.labels[stages.train_rows] = UNLABELLED
    with pytest.raises(DataError, match="No training picture has a label"):
        check_probe(stages, ProbeOptions())
    settings = {"model_args": VIT["model_args"], "image_size": 16}
    with pytest.raises(ModelError, match="does not end in one linear layer on its pooled features"):
        classifier_of(create_image_encoder("deit_tiny_distilled_patch16_224", num_classes=3, **settings))
    two_layers = merged({"student": {"model": "convnext_atto", "model_args": {"head_hidden_size": 8}, "image_size": 32}}, {})
    other = make_stages(recipe_options("supervised", tmp_path / "other", **two_layers, data={"canvas_size": 32}))
    assert classifier_of(other.new_student()).in_features == 8
