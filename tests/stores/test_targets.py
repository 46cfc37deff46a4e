from pathlib import Path

import numpy as np
import pytest
import torch

from picturebook.errors import StoreError
from picturebook.stores.targets import TargetStore, TargetWriter, targets_are_stored
from picturebook.types import Batch, Targets

IDS = np.array([30, -10, 20], dtype=np.int64)
FINGERPRINT = {"teacher": "t1"}


def writer(folder: Path, *, width: int | None, fingerprint: dict[str, str] = FINGERPRINT) -> TargetWriter:
    return TargetWriter(folder, fingerprint, ids=IDS, num_views=2, num_classes=4, representation_width=width)


def targets(ids: np.ndarray, views: np.ndarray, *, width: int | None) -> Targets:
    base = torch.from_numpy((ids + 100 * views).astype(np.float32))[:, None]
    logits = base / torch.tensor([1.0, 3.0, 7.0, -9.0])
    return Targets(logits, None if width is None else base * torch.linspace(0.1, 1, width))


def fill(store: TargetWriter, *, width: int | None, batches: int | None = None) -> int:
    ids, views = store.missing()
    for number in range(0, len(ids), 2):
        if number // 2 == batches:
            break
        part = slice(number, number + 2)
        store.write(ids[part], views[part], targets(ids[part], views[part], width=width))
    return len(ids)


def batch(ids: list[int], views: list[int]) -> Batch:
    return Batch(torch.tensor(ids), torch.tensor(views), torch.zeros(len(ids), dtype=torch.long))


@pytest.mark.parametrize("width", [None, 5])
def test_targets_come_back_in_fp32_up_to_fp16(tmp_path: Path, width: int | None) -> None:
    store = writer(tmp_path, width=width)
    fill(store, width=width)
    store.finish()
    read = TargetStore(tmp_path, FINGERPRINT, num_classes=4, with_representation=width is not None)
    stored = read.read(batch([20, -10, 20], [1, 0, 0]))
    expected = targets(np.array([20, -10, 20]), np.array([1, 0, 0]), width=width)
    assert stored.logits.dtype == torch.float32
    torch.testing.assert_close(stored.logits, expected.logits, rtol=1e-3, atol=1e-4)
    if width is None:
        assert stored.representation is None
    else:
        torch.testing.assert_close(stored.representation, expected.representation, rtol=1e-3, atol=1e-4)


def test_an_interrupted_labelling_is_taken_up(tmp_path: Path) -> None:
    assert fill(writer(tmp_path, width=5), width=5, batches=1) == 6
    again = writer(tmp_path, width=5)
    assert fill(again, width=5) == 4
    again.finish()
    TargetStore(tmp_path, FINGERPRINT, num_classes=4, with_representation=True).read(batch(IDS.tolist(), [0, 0, 0]))


def test_a_labelling_cut_between_its_two_halves_needs_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = writer(tmp_path, width=5)
    fill(store, width=5)
    assert store._representation is not None
    store._representation.finish()  # and then the power went
    again = writer(tmp_path, width=5)
    assert fill(again, width=5) == 0
    again.finish()
    read = TargetStore(tmp_path, FINGERPRINT, num_classes=4, with_representation=True).read(batch([30], [1]))
    torch.testing.assert_close(read.logits, targets(np.array([30]), np.array([1]), width=5).logits, rtol=1e-3, atol=1e-4)


def test_another_teachers_targets_are_refused(tmp_path: Path) -> None:
    store = writer(tmp_path, width=None)
    fill(store, width=None)
    store.finish()
    with pytest.raises(StoreError, match="its teacher is t1, this run's is t2"):
        TargetStore(tmp_path, {"teacher": "t2"}, num_classes=4, with_representation=False)
    with pytest.raises(StoreError, match="There is no store"):
        TargetStore(tmp_path, FINGERPRINT, num_classes=4, with_representation=True)


def filled(folder: Path, width: int | None) -> Path:
    store = writer(folder, width=width)
    fill(store, width=width)
    store.finish()
    return folder


def test_targets_are_stored_when_all_that_is_distilled_is_there(tmp_path: Path) -> None:
    assert not targets_are_stored(tmp_path / "none", with_representation=False)
    logits, both = filled(tmp_path / "logits", None), filled(tmp_path / "both", 5)
    assert targets_are_stored(logits, with_representation=False)
    assert targets_are_stored(both, with_representation=False)
    assert targets_are_stored(both, with_representation=True)
    assert sorted(path.name for path in both.iterdir() if path.is_dir()) == ["logits", "representation"]


def test_logits_whose_representation_is_cut_off_are_labelled_again_with_it(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    values = store / "representation" / "values.npy"
    values.write_bytes(values.read_bytes()[:-1])
    assert not targets_are_stored(store, with_representation=True)
    assert len(writer(store, width=5).missing()[0]) == 6
    fill(again := writer(store, width=5), width=5)
    again.finish()
    assert targets_are_stored(store, with_representation=True)


def test_a_representation_whose_logits_are_cut_off_stays(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    (store / "logits" / "ids.npy").write_bytes(b"")
    assert not targets_are_stored(store, with_representation=True)
    assert not (store / "logits").exists()
    assert (store / "representation" / "values.npy").exists()
