"""A teacher's targets on disk: logits per (sample, view) in fp16 and, where it is distilled, the attended representation."""

import shutil
from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.stores.packed import Fingerprint, PackedArray, PackedWriter, is_stored, read_header, tell_nobody
from picturebook.stores.sharing import Share
from picturebook.stores.top_k import TopK, packing_of
from picturebook.types import Batch, Targets, to_device


class TargetStore:
    """Targets that were written earlier by `TargetWriter`: the live teacher's in the run's precision, up to fp16.

    Of more than 256 classes the largest logits and the others' mass were kept (`stores.top_k`); such targets are read for a
    temperature, the one at which a student learns.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, *, num_classes: int, with_representation: bool) -> None:
        """Open a store.

        Raises:
            StoreError: there is none, or it is of another teacher, other views, other data or other classes: the field is named.
        """
        self._packing = packing_of(num_classes)
        self._logits = PackedArray.open(folder / "logits", _with_packing(fingerprint, self._packing))
        self._representation = PackedArray.open(folder / "representation", fingerprint) if with_representation else None
        self.temperature = 1.0

    def at(self, temperature: float) -> "TargetStore":
        """The same targets for a student that learns at a temperature."""
        other = copy(self)
        other.temperature = temperature
        return other

    @property
    def ids(self) -> Int64[np.ndarray, " samples"]:
        """Sample ids, ascending."""
        return self._logits.ids

    def rows(self, rows: slice | np.ndarray) -> Float[np.ndarray, "rows views classes"]:
        """The targets of some samples, by their places in `ids`, in fp32."""
        stored = np.array(self._logits.values[rows])
        return self._whole(stored, torch.device("cpu")).numpy()

    def read(self, batch: Batch) -> Targets:
        """Targets of the batch's samples at its views, on the batch's device, in fp32."""
        ids, views = batch.ids.numpy(), batch.views.numpy()
        logits = self._whole(self._logits.read(ids, views), batch.device)
        if self._representation is None:
            return Targets(logits)
        return Targets(logits, to_device(self._representation.read(ids, views), batch.device).float())

    def _whole(self, stored: np.ndarray, device: torch.device) -> Tensor:
        if self._packing is None:
            return to_device(stored, device).float()
        return self._packing.unpack(stored, temperature=self.temperature, device=device)


def target_bytes(num_classes: int, *, representation_width: int | None = None) -> int:
    """Bytes that the targets of one view of one picture take on disk."""
    width, dtype = _record(num_classes)
    return (width + (representation_width or 0)) * np.dtype(dtype).itemsize


def _record(num_classes: int) -> tuple[int, type[np.generic]]:
    """Values of a record of logits, and their kind, which takes 2 bytes as that of representations does."""
    packing = packing_of(num_classes)
    return (num_classes, np.float16) if packing is None else (packing.words, np.uint16)


def _with_packing(fingerprint: Fingerprint, packing: TopK | None) -> Fingerprint:
    return (
        fingerprint if packing is None else {**fingerprint, "logits": f"the {packing.largest} largest of {packing.num_classes}"}
    )


def stored_error(folder: Path) -> str | None:
    """What is lost of a store's targets, in a sentence; None where all logits are there."""
    error = read_header(folder / "logits").get("note")
    return None if error is None else str(error)


def targets_are_stored(folder: Path, *, with_representation: bool, say: Callable[[str], None] = tell_nobody) -> bool:
    """Whether all that a labelling writes is there and whole; what is broken is removed, to be written again, which `say` tells.

    Raises:
        StoreError: the machine does not let it be read.
    """
    whole = is_stored(folder / "logits", say=say)
    if with_representation and not is_stored(folder / "representation", say=say) and whole:
        shutil.rmtree(folder / "logits")  # whose records would else count as labelled
        whole = False
    return whole


class TargetWriter:
    """Fills a target store; an earlier, interrupted try is taken up."""

    def __init__(
        self,
        folder: Path,
        fingerprint: Fingerprint,
        *,
        ids: np.ndarray,
        num_views: int,
        num_classes: int,
        representation_width: int | None,
    ) -> None:
        def start(name: str, width: int, identity: Fingerprint, dtype: type[np.generic]) -> PackedWriter | None:
            if is_stored(folder / name):
                return None  # this half was finished before the interruption
            return PackedWriter.start(
                folder / name, ids=ids, num_views=num_views, record=(width,), dtype=dtype, fingerprint=identity
            )

        self._packing = packing = packing_of(num_classes)
        width, dtype = _record(num_classes)
        self._logits = start("logits", width, _with_packing(fingerprint, packing), dtype)
        self._representation = (
            None if representation_width is None else start("representation", representation_width, fingerprint, np.float16)
        )

    def take(self, share: Share) -> None:
        """Hold this process's part of the store against all others, and label no other from now on.

        Raises:
            StoreError: another process holds some of it.
        """
        for writer in (self._representation, self._logits):
            if writer is not None:
                writer.take(share)

    def missing(self) -> tuple[np.ndarray, np.ndarray]:
        """(ids, views) that are still to be labelled, here in this process where a part was taken."""
        if self._logits is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return self._logits.missing(*([] if self._representation is None else [self._representation]))

    def write(self, ids: np.ndarray, views: np.ndarray, targets: Targets) -> None:
        """Store the targets of one batch.

        Raises:
            StoreError: a value is not finite, or past the range of fp16.
        """
        if self._representation is not None:
            assert targets.representation is not None
            self._representation.write(ids, views, targets.representation.float().cpu().numpy())
        assert self._logits is not None
        if self._packing is None:
            self._logits.write(ids, views, targets.logits.float().cpu().numpy())
            return
        records = self._packing.pack(targets.logits)
        self._logits.refuse_not_finite(self._packing.halves(records))
        self._logits.write(ids, views, records)

    def finish(self) -> None:
        """Give the store its name."""
        if self._representation is not None:
            self._representation.finish()
        if self._logits is not None:
            self._logits.finish(note=None if self._packing is None else self._packing.describe_errors(self._logits.values))
