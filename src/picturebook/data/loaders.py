"""Batches of views. Which samples a step holds is a function of (seed, step), and a view one of (seed, id, view number)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from picturebook.data.mixing import Mixes, Partners, draw_mixes, mix_images
from picturebook.data.pictures import Pictures
from picturebook.data.sampling import ClassesAlike, EachOnce, Sampling
from picturebook.data.views import ViewOptions, evaluation_views, training_views
from picturebook.errors import OptionError
from picturebook.types import Batch, Mixed, to_device


@runtime_checkable  # so that the tests' type checks can look at it
class BatchMaker(Protocol):
    """Makes batches of training views, each a pure function of (sample id, view number)."""

    def batch(self, rows: np.ndarray, views: np.ndarray, *, with_images: bool = True) -> Batch:
        """The samples at `rows` int64 [B] in their views `views` int64 [B]; `with_images` off leaves the pictures undecoded."""
        ...

    def expect(self, rows: np.ndarray) -> None:
        """Say which rows the next batch will hold."""
        ...


@dataclass(frozen=True, slots=True)
class ViewMaker:
    """Makes batches of training views on one device. Where the options mix pictures, say first `among` which."""

    pictures: Pictures
    options: ViewOptions
    image_size: int
    """Height and width of a view."""
    seed: int
    device: torch.device
    partners: Partners | None = None
    """What views are mixed with; see `among`."""

    def among(self, rows: np.ndarray) -> "ViewMaker":
        """The same maker with partners from `rows` for mixup and cutmix; the order of `rows` does not count."""
        return replace(self, partners=Partners(self.pictures.ids, rows)) if self.options.mixes else self

    def batch(self, rows: np.ndarray, views: np.ndarray, *, with_images: bool = True) -> Batch:
        """The samples at `rows` int64 [B] in their views `views` int64 [B]; `with_images` off leaves the pictures undecoded."""
        batch = labelled_batch(self.pictures, rows, views)
        mixes = self._mixes(rows, views)
        mixed = None if mixes is None else _mixed_labels(self.pictures, batch.labels, mixes)
        images = self._images(rows, views) if with_images else None
        if images is not None and mixes is not None and len(mixes.places):
            images = mix_images(images, self._images(mixes.rows, mixes.views), mixes)
        return replace(batch, images=images, mixed=mixed).to(self.device)

    def expect(self, rows: np.ndarray) -> None:
        """Say which rows the next batch will hold, so that they are decoded meanwhile where no canvases are kept."""
        self.pictures.expect(rows)

    def _mixes(self, rows: np.ndarray, views: np.ndarray) -> Mixes | None:
        options = self.options
        if not options.mixes:
            return None
        assert self.partners is not None, "a maker that mixes needs to know whom with: maker.among(rows)"
        ids = self.pictures.ids[rows]
        return draw_mixes(
            self.seed, ids, views, self.partners, mixup=options.mixup, cutmix=options.cutmix, image_size=self.image_size
        )

    def _images(self, rows: np.ndarray, views: np.ndarray) -> Float[Tensor, "batch 3 _ _"]:
        return training_views(
            to_device(self.pictures.canvases[rows], self.device),
            self.pictures.sizes[rows].astype(np.int64),
            self.pictures.ids[rows],
            views,
            seed=self.seed,
            image_size=self.image_size,
            options=self.options,
        )


@dataclass(frozen=True, slots=True)
class MixedAfterwards:
    """Mixes of views that a teacher answers for whole: pass n over a picture shows its view n mod `num_views` in a new mix.

    The mix is a function of (sample id, n), and of the partner it shows one of the same `num_views` views.
    """

    whole: ViewMaker
    """Makes the views, unmixed."""
    options: ViewOptions
    """How they are mixed."""
    partners: Partners
    num_views: int
    """Views of each picture that are answered for."""

    def batch(self, rows: np.ndarray, views: np.ndarray, *, with_images: bool = True) -> Batch:
        """The samples at `rows` int64 [B] in their passes `views` int64 [B]; `with_images` off leaves the pictures undecoded."""
        whole, pictures = self.whole, self.whole.pictures
        batch = whole.batch(rows, views % self.num_views, with_images=with_images)
        options, side = self.options, whole.image_size
        mixes = draw_mixes(
            whole.seed, pictures.ids[rows], views, self.partners, mixup=options.mixup, cutmix=options.cutmix, image_size=side
        )
        mixes = replace(mixes, views=mixes.views % self.num_views)
        mixed = _mixed_labels(pictures, torch.from_numpy(pictures.labels[rows]), mixes)
        ids, shown = batch.ids.clone(), batch.views.clone()
        ids[mixes.places] = torch.from_numpy(pictures.ids[mixes.rows])
        shown[mixes.places] = torch.from_numpy(mixes.views)
        images = batch.images
        if images is not None and len(mixes.places):
            partners = whole.batch(mixes.rows, mixes.views).images
            assert partners is not None
            images = mix_images(images, partners, mixes)
        return replace(batch, images=images, mixed=replace(mixed, ids=ids, views=shown).to(whole.device))

    def expect(self, rows: np.ndarray) -> None:
        """Say which rows the next batch will hold, so that they are decoded meanwhile where no canvases are kept."""
        self.whole.expect(rows)


class TrainingBatches:
    """Step → batch. Epochs follow each other without a gap, so every batch is full but the last, which holds what is left.

    A last batch of less than half the size is left out. The rule knows nothing of the number of processes, so one process and
    many take the same steps; a batch needs four samples a process, so that half a batch still has two for batch statistics.
    A row that stands in `rows` c times is shown in c different views an epoch, and in c · num_views in all. Balanced classes
    show rows of rare classes more often, whose views take turns as ever, so that stored targets have all of them.
    """

    def __init__(
        self,
        maker: BatchMaker,
        rows: np.ndarray,
        *,
        batch_size: int,
        epochs: int,
        num_views: int,
        seed: int,
        share: tuple[int, int] = (0, 1),
        with_images: bool = True,
        balanced: np.ndarray | None = None,
    ) -> None:
        """`share` is (this process's number, number of processes): each takes its part of every batch.

        `balanced` has the class of each of `rows`, or UNLABELLED, where every class is to be shown equally often.

        Raises:
            OptionError: a batch too small for the processes, or too few classes to be balanced.
        """
        self._maker, self._rows, self._num_views = maker, rows, num_views
        self._sampling: Sampling = EachOnce(len(rows), seed=seed) if balanced is None else ClassesAlike(balanced, seed=seed)
        self._with_images = with_images
        self._batch_size, self._total = batch_size, epochs * len(rows)
        self._rank, self._world = share
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._repeats, self._counts = _repeats(rows)
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
        places, views = self._share(step)
        batch = self._maker.batch(self._rows[places], views, with_images=self._with_images)
        if self._with_images and step + 1 < self.num_steps:
            self._maker.expect(self._rows[self._share(step + 1)[0]])
        return batch

    def _share(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """This process's places among the rows at a step, and the views of them."""
        start = step * self._batch_size
        positions = np.array_split(np.arange(start, start + self.size(step)), self._world)[self._rank]
        epochs, places = np.divmod(positions, len(self._rows))
        passes = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            order, before = self._epoch(int(epoch))
            passes[here], places[here] = before[places[here]], order[places[here]]
        counts = self._counts[places]
        views = (passes * counts + self._repeats[places]) % (self._num_views * counts)
        return places, views

    def size(self, step: int) -> int:
        """Samples of the batch of `step` over all processes."""
        return min(self._batch_size, self._total - step * self._batch_size)

    def _epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number not in self._epochs:
            self._epochs = {old: shown for old, shown in self._epochs.items() if old == number - 1}
            self._epochs[number] = self._sampling.epoch(number)
        return self._epochs[number]


def evaluation_batches(
    pictures: Pictures, rows: np.ndarray, *, image_size: int, device: torch.device, batch_size: int = 128
) -> Iterator[Batch]:
    """The samples at `rows` in their order, centre-cropped; the view number is 0."""
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        pictures.expect(rows[start : start + 2 * batch_size])
        canvases = to_device(pictures.canvases[part], device)
        images = evaluation_views(canvases, torch.from_numpy(pictures.sizes[part].astype(np.int64)), image_size=image_size)
        batch = labelled_batch(pictures, part, np.zeros_like(part)).to(device)
        yield Batch(batch.ids, batch.views, batch.labels, images)


def _repeats(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each place, how often its row stood before it, and how often it stands in all."""
    _, numbers, counts = np.unique(rows, return_inverse=True, return_counts=True)
    order = np.argsort(numbers, kind="stable")
    before = np.empty_like(order)
    before[order] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return before, counts[numbers]


def labelled_batch(pictures: Pictures, rows: np.ndarray, views: np.ndarray) -> Batch:
    """The samples at `rows` int64 [B] without their images, on the host."""
    return Batch(
        ids=torch.from_numpy(pictures.ids[rows]), views=torch.from_numpy(views), labels=torch.from_numpy(pictures.labels[rows])
    )


def _mixed_labels(pictures: Pictures, labels: Tensor, mixes: Mixes) -> Mixed:
    """The partners' labels and the own shares; where nothing was mixed in, the own label and 1."""
    partners, share = labels.clone(), torch.ones(len(labels))
    partners[mixes.places] = torch.from_numpy(pictures.labels[mixes.rows])
    share[mixes.places] = torch.from_numpy(mixes.share.astype(np.float32))
    return Mixed(partners, share)
