from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from picturebook.controls import ClassTargets, ShuffledTargets, class_mean, matched_smoothing
from picturebook.stores.targets import TargetStore, TargetWriter
from picturebook.types import Batch, Targets

IDS = np.array([3, 5, 8, 13, 21, 34, 55])
LABELS = np.array([0, 1, 0, 1, 0, 2, 0])


def stored(folder: Path, values: np.ndarray) -> TargetStore:
    """A target store of logits [n, views, K] of IDS."""
    _, num_views, num_classes = values.shape
    writer = TargetWriter(folder, {}, ids=IDS, num_views=num_views, num_classes=num_classes, representation_width=None)
    ids, views = writer.missing()
    writer.write(ids, views, Targets(torch.from_numpy(values[np.searchsorted(IDS, ids), views])))
    writer.finish()
    return TargetStore(folder, {}, num_classes=num_classes, with_representation=False)


def store(folder: Path, scale: float = 1.0, classes: int = 4) -> TargetStore:
    return stored(folder, scale * np.random.default_rng(0).normal(size=(len(IDS), 2, classes)))


def batch(places: list[int]) -> Batch:
    return Batch(torch.from_numpy(IDS[places]), torch.zeros(len(places), dtype=torch.long), torch.from_numpy(LABELS[places]))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_class_mean_is_the_mean_of_the_softened_targets(tmp_path: Path, temperature: float) -> None:
    logits = store(tmp_path)
    table = class_mean(logits, LABELS, 4, temperature=temperature)
    probs = softmax(logits.rows(slice(None)).astype(np.float64) / temperature, axis=2)
    for label in (0, 1, 2):
        wanted = probs[label == LABELS].mean(axis=(0, 1))
        np.testing.assert_allclose((table[label] / temperature).softmax(dim=0).numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(table[3].softmax(dim=0).numpy(), 0.25, atol=1e-6)  # no sample of this class


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_smoothed_labels_are_as_soft_as_the_targets_in_the_mean(tmp_path: Path, scale: float, temperature: float) -> None:
    logits = store(tmp_path, scale)
    probs = softmax(logits.rows(slice(None)).astype(np.float64) / temperature, axis=2)
    wanted = -(probs * np.log(probs)).sum(axis=2).mean()
    answer = (matched_smoothing(logits, 4, temperature=temperature) / temperature).double().softmax(dim=1)
    assert answer.argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert -(answer * answer.log()).sum(dim=1).mean().item() == pytest.approx(wanted, abs=1e-4)


def test_one_hot_targets_match_labels_without_smoothing(tmp_path: Path) -> None:
    values = np.full((len(IDS), 1, 4), -30000.0)
    values[np.arange(len(IDS)), 0, LABELS] = 0.0
    table = matched_smoothing(stored(tmp_path, values), 4, temperature=1.0)
    torch.testing.assert_close(table.softmax(dim=1), torch.eye(4), atol=1e-6, rtol=0)


def test_class_targets_go_by_the_label_alone() -> None:
    table = torch.arange(16.0).reshape(4, 4)
    assert torch.equal(ClassTargets(table, IDS, LABELS)(batch([1, 5, 0])).logits, table[[1, 2, 0]])


def test_a_shuffle_gives_the_targets_of_another_picture_of_the_class() -> None:
    def own_id(some: Batch) -> Targets:
        return Targets(some.ids[:, None].float())

    shuffled = ShuffledTargets(own_id, IDS, LABELS, seed=0)
    given = shuffled(batch(list(range(len(IDS))))).logits[:, 0].numpy().astype(int)
    assert sorted(given) == sorted(IDS)
    assert [LABELS[IDS.tolist().index(one)] for one in given] == LABELS.tolist()
    alone = LABELS == 2
    assert (given[~alone] != IDS[~alone]).all()
    assert given[alone] == IDS[alone]
    assert shuffled(batch([4])).logits.item() == given[4]  # whatever the company
    other = ShuffledTargets(own_id, IDS, LABELS, seed=1)(batch(list(range(len(IDS))))).logits[:, 0].numpy().astype(int)
    assert (other != given).any()
