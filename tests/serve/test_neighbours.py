"""Nearest training pictures against a slow search, and their features in the cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.serve import neighbours as module
from picturebook.serve.neighbours import find_neighbours
from picturebook.types import UNLABELLED


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    arguments = {"channels": [8, 8, 8, 8]}
    return create_image_encoder("resnet10t", num_classes=3, image_size=16, model_args=arguments, seed=1).eval()


@torch.no_grad()
def slow_features(encoder: ImageEncoder, pictures: Pictures, rows: np.ndarray) -> np.ndarray:
    features = []
    for row in rows:
        (batch,) = evaluation_batches(pictures, np.array([row]), image_size=16, device=torch.device("cpu"))
        features.append(encoder.forward_features(batch.images)[1][0].double().numpy())
    return np.stack(features)


@pytest.mark.parametrize("chunk", [5, 8192])
def test_the_nearest_are_those_of_a_slow_search(
    encoder: ImageEncoder, toy_pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    rows = toy_pictures.rows["train"]
    found = find_neighbours(encoder, toy_pictures, toy_pictures.ids[rows], cache=tmp_path)
    features = slow_features(encoder, toy_pictures, rows)
    (asked,) = slow_features(encoder, toy_pictures, toy_pictures.rows["test"][:1])
    cosines = features @ asked / np.linalg.norm(features, axis=1) / np.linalg.norm(asked)
    near = found.nearest(asked.astype(np.float32), num=4)
    assert [one.similarity for one in near] == pytest.approx(np.sort(cosines)[::-1][:4], abs=2e-3)
    assert near[0].row == rows[cosines.argmax()]
    assert near[0].name == toy_pictures.names[near[0].row]
    assert near[0].label == toy_pictures.classes[toy_pictures.labels[near[0].row]]


def test_features_are_computed_once(
    encoder: ImageEncoder, toy_pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = toy_pictures.ids[toy_pictures.rows["train"]]
    counted: list[tuple[int, int]] = []
    find_neighbours(encoder, toy_pictures, ids, cache=tmp_path, progress=lambda done, total: counted.append((done, total)))
    assert counted[-1] == (len(ids), len(ids))
    monkeypatch.setattr(module, "evaluation_batches", None)
    find_neighbours(encoder, toy_pictures, ids, cache=tmp_path)


def test_other_weights_are_computed_anew(encoder: ImageEncoder, toy_pictures: Pictures, tmp_path: Path) -> None:
    ids = toy_pictures.ids[toy_pictures.rows["train"]]
    find_neighbours(encoder, toy_pictures, ids, cache=tmp_path)
    other = create_image_encoder("resnet10t", num_classes=3, image_size=16, model_args={"channels": [8, 8, 8, 8]}, seed=2)
    find_neighbours(other.eval(), toy_pictures, ids, cache=tmp_path)
    assert len([path for path in (tmp_path / "neighbours").iterdir() if path.is_dir()]) == 2


def test_pictures_that_are_gone_are_left_out(encoder: ImageEncoder, toy_pictures: Pictures, tmp_path: Path) -> None:
    ids = toy_pictures.ids[toy_pictures.rows["train"]]
    found = find_neighbours(encoder, toy_pictures, np.concatenate([ids[:3], [1, 2]]), cache=tmp_path)
    assert len(found) == 3
    assert len(found.nearest(np.ones(8, np.float32), num=6)) == 3
    assert len(find_neighbours(encoder, toy_pictures, np.array([1, 2]), cache=tmp_path)) == 0


def test_a_picture_without_a_label_has_none(encoder: ImageEncoder, toy_pictures: Pictures, tmp_path: Path) -> None:
    ids = toy_pictures.ids[toy_pictures.rows["train"]]
    nameless = replace(toy_pictures, labels=np.full(len(toy_pictures), UNLABELLED))
    assert find_neighbours(encoder, nameless, ids, cache=tmp_path).nearest(np.ones(8, np.float32), num=1)[0].label is None
