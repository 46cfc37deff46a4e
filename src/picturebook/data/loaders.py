"""Batches of views. Which samples a step holds is a function of (seed, step), and a view one of (seed, id, view number)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from picturebook.data.counter import permutation
from picturebook.data.pictures import Pictures
from picturebook.data.views import ViewOptions, evaluation_views, training_views
from picturebook.errors import OptionError
from picturebook.types import Batch


@dataclass(frozen=True, slots=True)
class ViewMaker:
    """Makes batches of training views on one device."""

    pictures: Pictures
    options: ViewOptions
    image_size: int
    """Height and width of a view."""
    seed: int
    device: torch.device

    def batch(self, rows: np.ndarray, views: np.ndarray, *, with_images: bool = True) -> Batch:
        """The samples at `rows` int64 [B] in their views `views` int64 [B]; `with_images` off leaves the pictures undecoded."""
        batch = _labels(self.pictures, rows, views).to(self.device)
        if not with_images:
            return batch
        images = training_views(
            torch.from_numpy(self.pictures.canvases[rows]).to(self.device),
            torch.from_numpy(self.pictures.sizes[rows].astype(np.int64)),
            batch.ids.cpu(),
            batch.views.cpu(),
            seed=self.seed,
            image_size=self.image_size,
            options=self.options,
        )
        return Batch(batch.ids, batch.views, batch.labels, images)


class TrainingBatches:
    """Step → batch. Epochs follow each other without a gap, so every batch is full but the last, which holds what is left.

    A last batch of less than half the size is left out. The rule knows nothing of the number of processes, so one process and
    many take the same steps; a batch needs four samples a process, so that half a batch still has two for batch statistics.
    """

    def __init__(
        self,
        maker: ViewMaker,
        rows: np.ndarray,
        *,
        batch_size: int,
        epochs: int,
        num_views: int,
        seed: int,
        share: tuple[int, int] = (0, 1),
        with_images: bool = True,
    ) -> None:
        """`share` is (this process's number, number of processes): each takes its part of every batch."""
        self._maker, self._rows, self._num_views, self._seed = maker, rows, num_views, seed
        self._with_images = with_images
        self._batch_size, self._total = batch_size, epochs * len(rows)
        self._rank, self._world = share
        self._orders: dict[int, np.ndarray] = {}
        if min(batch_size, 2 * self._total) < 4 * self._world:
            raise OptionError(
                f"train.batch_size: need at least {4 * self._world} for {self._world} processes, and half as many pictures; "
                f"got {batch_size}, and {len(rows)} pictures."
            )
        full, rest = divmod(self._total, batch_size)
        self.num_steps = max(1, full + (2 * rest >= batch_size))
        self.steps_per_epoch = len(rows) / batch_size

    def at(self, step: int) -> Batch:
        """This process's share of the batch of `step`."""
        start = step * self._batch_size
        positions = np.array_split(np.arange(start, start + self.size(step)), self._world)[self._rank]
        epochs, places = np.divmod(positions, len(self._rows))
        rows = np.empty_like(places)
        for epoch in np.unique(epochs):
            rows[epochs == epoch] = self._rows[self._order(int(epoch))[places[epochs == epoch]]]
        return self._maker.batch(rows, epochs % self._num_views, with_images=self._with_images)

    def size(self, step: int) -> int:
        """Samples of the batch of `step` over all processes."""
        return min(self._batch_size, self._total - step * self._batch_size)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {old: order for old, order in self._orders.items() if old == epoch - 1}
            self._orders[epoch] = permutation(self._seed, epoch, len(self._rows))
        return self._orders[epoch]


def evaluation_batches(
    pictures: Pictures, rows: np.ndarray, *, image_size: int, device: torch.device, batch_size: int = 128
) -> Iterator[Batch]:
    """The samples at `rows` in their order, centre-cropped; the view number is 0."""
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        canvases = torch.from_numpy(pictures.canvases[part]).to(device)
        images = evaluation_views(canvases, torch.from_numpy(pictures.sizes[part].astype(np.int64)), image_size=image_size)
        batch = _labels(pictures, part, np.zeros_like(part)).to(device)
        yield Batch(batch.ids, batch.views, batch.labels, images)


def _labels(pictures: Pictures, rows: np.ndarray, views: np.ndarray) -> Batch:
    return Batch(
        ids=torch.from_numpy(pictures.ids[rows]), views=torch.from_numpy(views), labels=torch.from_numpy(pictures.labels[rows])
    )
