"""A teacher's targets on disk: logits per (sample, view) in fp16 and, where it is distilled, the attended representation."""

import shutil
from pathlib import Path

import numpy as np
import torch

from picturebook.stores.packed import Fingerprint, PackedArray, PackedWriter, is_stored
from picturebook.stores.sharing import Share
from picturebook.types import Batch, Targets


class TargetStore:
    """Targets that were written earlier by `TargetWriter`: the live teacher's in the run's precision, up to fp16."""

    def __init__(self, folder: Path, fingerprint: Fingerprint, *, with_representation: bool) -> None:
        self.logits = PackedArray.open(folder / "logits", fingerprint)
        self._representation = PackedArray.open(folder / "representation", fingerprint) if with_representation else None

    def read(self, batch: Batch) -> Targets:
        """Targets of the batch's samples at its views, on the batch's device, in fp32."""
        ids, views = batch.ids.cpu().numpy(), batch.views.cpu().numpy()
        device = batch.ids.device
        logits = torch.from_numpy(self.logits.read(ids, views)).to(device, torch.float32)
        if self._representation is None:
            return Targets(logits)
        return Targets(logits, torch.from_numpy(self._representation.read(ids, views)).to(device, torch.float32))


def targets_are_stored(folder: Path, *, with_representation: bool) -> bool:
    """Whether all that a labelling writes is there and whole; what is broken is removed, to be written again."""
    whole = is_stored(folder / "logits")
    if with_representation and not is_stored(folder / "representation") and whole:
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
        def start(name: str, width: int) -> PackedWriter | None:
            if is_stored(folder / name):
                return None  # this half was finished before the interruption
            return PackedWriter.start(
                folder / name, ids=ids, num_views=num_views, record=(width,), dtype=np.float16, fingerprint=fingerprint
            )

        self._logits = start("logits", num_classes)
        self._representation = None if representation_width is None else start("representation", representation_width)

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
        """Store the targets of one batch."""
        if self._representation is not None:
            assert targets.representation is not None
            self._representation.write(ids, views, targets.representation.float().cpu().numpy())
        assert self._logits is not None
        self._logits.write(ids, views, targets.logits.float().cpu().numpy())

    def finish(self) -> None:
        """Give the store its name."""
        for writer in (self._representation, self._logits):
            if writer is not None:
                writer.finish()
