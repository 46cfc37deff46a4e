from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from picturebook.errors import ModelError
from picturebook.models.image_encoders import create_image_encoder
from picturebook.models.zero_shot import ZeroShotClassifier, class_vectors, load_zero_shot, save_zero_shot
from toy_runs import VIT

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classifier() -> ZeroShotClassifier:
    encoder = create_image_encoder(VIT["model"], num_classes=3, image_size=16, model_args=VIT["model_args"], seed=5)
    torch.manual_seed(0)
    return ZeroShotClassifier(encoder, nn.Linear(32, 6), torch.randn(3, 6), 14.0).eval()


@torch.no_grad()
def test_logits_are_the_scaled_cosines(classifier: ZeroShotClassifier) -> None:
    logits, features = classifier.forward_features(IMAGES)
    assert torch.equal(logits, classifier(IMAGES))
    assert torch.equal(features, classifier.encoder.forward_features(IMAGES)[1])
    projected = features.double().numpy() @ classifier.projection.weight.double().numpy().T
    projected = projected + classifier.projection.bias.double().numpy()
    vectors = classifier.class_vectors.double().numpy()
    expected = [[14.0 * (u @ v) / np.linalg.norm(u) / np.linalg.norm(v) for v in vectors] for u in projected]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert classifier.feature_width == 32


def test_a_class_is_the_mean_direction_of_its_sentences() -> None:
    tower = nn.Identity()
    vectors = class_vectors(tower, torch.tensor([[[9.0, 0.0], [0.0, 0.1]], [[0.0, 2.0], [0.0, 5.0]]]))
    torch.testing.assert_close(vectors, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))


@torch.no_grad()
def test_what_is_saved_answers_as_before(classifier: ZeroShotClassifier, tmp_path: Path) -> None:
    save_zero_shot(classifier, tmp_path / "teacher", classes=("ape", "bat", "cat"))
    save_zero_shot(classifier, tmp_path / "teacher", classes=("ape", "bat", "cat"))  # a resumed run writes again
    loaded, classes = load_zero_shot(tmp_path / "teacher")
    assert classes == ("ape", "bat", "cat")
    assert not loaded.training
    torch.testing.assert_close(loaded(IMAGES), classifier(IMAGES))


def test_a_folder_without_one_is_refused_with_what_would_have_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no zero-shot classifier: name the folder of a finished run of clip"):
        load_zero_shot(tmp_path)
