"""Targets of more classes than are stored whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from picturebook.errors import StoreError
from picturebook.losses import distillation_kl
from picturebook.stores.packed import read_header
from picturebook.stores.targets import TargetStore, TargetWriter, stored_error
from picturebook.stores.top_k import ERROR_TEMPERATURES, LARGEST, TopK, packing_of
from picturebook.types import Batch, Targets

IDS = np.arange(10, 16)
CPU = torch.device("cpu")
PACKING = TopK(300, 20)


def logits(num: int = len(IDS), classes: int = 300) -> Tensor:
    """Some classes stand out, as a teacher's do."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(num, classes, generator=generator)
    values[:, :15] += 4 * torch.rand(num, 15, generator=generator)
    return values


def read(packing: TopK, values: Tensor, temperature: float) -> Tensor:
    return packing.unpack(packing.pack(values), temperature=temperature, device=CPU)


def slow_error(target: np.ndarray, stored: np.ndarray, temperature: float) -> float:
    p, q = (np.exp(z / temperature) / np.exp(z / temperature).sum() for z in (target.astype(float), stored.astype(float)))
    return float((p * np.log(p / q)).sum())


def test_up_to_256_classes_all_logits_are_stored() -> None:
    assert packing_of(256) is None
    assert packing_of(257) == TopK(257, LARGEST)


def test_the_largest_come_back_and_the_others_are_alike() -> None:
    values = logits()
    back = read(PACKING, values, 1.0)
    for row, got in zip(values, back, strict=True):
        order = row.argsort(descending=True)
        torch.testing.assert_close(got[order[:20]], row[order[:20]], rtol=1e-3, atol=1e-3)
        assert len(got[order[20:]].unique()) == 1


def test_the_mass_of_the_others_is_right_at_temperature_1_and_close_at_others() -> None:
    values = logits()
    largest = values.topk(20, dim=1).indices
    for temperature, tolerance in ((1.0, 2e-3), (2.0, 1e-2), (4.0, 1e-2)):
        kept = (values / temperature).softmax(dim=1).gather(1, largest).sum(dim=1)
        stored = (read(PACKING, values, temperature) / temperature).softmax(dim=1).gather(1, largest).sum(dim=1)
        torch.testing.assert_close(stored, kept, rtol=0, atol=tolerance)


def test_the_error_that_is_stored_is_the_error_that_was_made() -> None:
    values = logits()
    noted = PACKING.halves(PACKING.pack(values))[:, -len(ERROR_TEMPERATURES) :]
    for column, temperature in enumerate(ERROR_TEMPERATURES):
        made = [
            slow_error(a.numpy(), b.numpy(), temperature) for a, b in zip(values, read(PACKING, values, temperature), strict=True)
        ]
        np.testing.assert_allclose(noted[:, column], made, rtol=1e-2, atol=1e-4)
    told = PACKING.describe_errors(PACKING.pack(values))
    assert told.startswith("The 20 largest of 300 logits are stored, and the others' mass. KL(target ‖ stored) is in the mean ")
    assert f"{noted[:, 0].astype(float).mean():.2g} at temperature 1 (at most {noted[:, 0].astype(float).max():.2g})" in told


def stored(folder: Path, values: Tensor) -> TargetStore:
    writer = TargetWriter(folder, {"teacher": "t"}, ids=IDS, num_views=2, num_classes=300, representation_width=None)
    ids, views = writer.missing()
    for part in (slice(0, 5), slice(5, None)):
        shifted = values[torch.from_numpy(ids[part] - 10)] + torch.from_numpy(views[part])[:, None]
        writer.write(ids[part], views[part], Targets(shifted))
    writer.finish()
    return TargetStore(folder, {"teacher": "t"}, num_classes=300, with_representation=False)


def gradients(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    student = student.clone().requires_grad_()
    distillation_kl(student, teacher, temperature=temperature).backward()
    assert student.grad is not None
    return student.grad


def test_a_student_is_pulled_as_by_the_live_teacher_up_to_the_stated_error(tmp_path: Path) -> None:
    values = logits()
    store = stored(tmp_path, values)
    assert (tmp_path / "logits" / "values.npy").stat().st_size < 300 * 2 * 2 * len(IDS)
    some = Batch(torch.tensor([12, 10, 15]), torch.tensor([0, 1, 0]), torch.zeros(3, dtype=torch.long))
    student = torch.randn(3, 300, generator=torch.Generator().manual_seed(1))
    for temperature in (1.0, 4.0):
        back, live = store.at(temperature).read(some).logits, values[[2, 0, 5]]
        away = (gradients(student, back, temperature) - gradients(student, live, temperature)).abs().sum(dim=1) * 3 / temperature
        errors = [slow_error(a.numpy(), b.numpy(), temperature) for a, b in zip(live, back, strict=True)]
        assert (away.numpy() <= np.sqrt(2 * np.array(errors)) + 1e-3).all()  # Pinsker: |p - p'| ≤ √(2 KL)
        assert max(errors) < 0.1
    np.testing.assert_array_equal(store.rows(slice(2, 3))[0, 0], store.read(some).logits[0].numpy())
    assert read_header(tmp_path / "logits")["note"] == stored_error(tmp_path)
    assert "128 largest of 300" in str(stored_error(tmp_path))


def test_logits_past_the_range_of_the_store_are_refused(tmp_path: Path) -> None:
    values = logits()
    values[3, 0] = 1e6
    with pytest.raises(StoreError, match="past the range of float16"):
        stored(tmp_path, values)


def test_a_store_of_other_classes_or_another_number_of_logits_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, logits())
    with pytest.raises(StoreError, match="its logits is the 128 largest of 300, this run's is the 128 largest of 400"):
        TargetStore(tmp_path, {"teacher": "t"}, num_classes=400, with_representation=False)
