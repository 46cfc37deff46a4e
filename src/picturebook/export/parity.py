"""Whether an exported file answers as PyTorch does, on real pictures of the run."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.data.findings import quantity
from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.errors import DataError, ModelError
from picturebook.evaluate import Classifier
from picturebook.export.source import Source
from picturebook.predict.onnx_model import OnnxModel
from picturebook.types import Progress, Reporter, no_progress

LIMIT = 1e-4
"""Greatest difference of a probability from PyTorch's."""
WANTED, MOST = 100, 256
"""Pictures that are compared at least (where there are as many), and at most."""
BATCH = 48
"""So that batches of several sizes are asked."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two models' answers are apart."""

    num: int
    """Pictures."""
    splits: tuple[str, ...]
    """Where they are from."""
    max_difference: float
    """Of any class's probability."""
    agreement: float
    """Share of pictures with the same likeliest class."""

    def to_dict(self) -> dict[str, Any]:
        """All of it as values that `json` writes."""
        return asdict(self) | {"splits": list(self.splits)}

    def sentence(self) -> str:
        """For a person."""
        pictures = f"{quantity(self.num, 'picture')} ({', '.join(self.splits)})"
        return (
            f"greatest difference of a probability {self.max_difference:.1e}, "
            f"same likeliest class in {100 * self.agreement:.1f} % of {pictures}"
        )


def open_pictures(source: Source, *, cache: Path, reporter: Reporter) -> Pictures:
    """The run's own pictures, split as the run split them.

    Raises:
        DataError: they cannot be read, or have other classes by now.
    """
    classifier = source.classifier
    assert classifier.data is not None, "a run knows its data"
    with reporter.stage("decoding pictures") as progress:
        pictures = load_pictures(classifier.data, cache=cache, progress=progress)
    if pictures.classes != classifier.classes:
        raise DataError(
            f"{classifier.data.root} has other classes than {source.run.path} was trained on: exporting compares answers on the "
            "run's own pictures, so it needs these data as they were."
        )
    return pictures


def compared_rows(pictures: Pictures) -> tuple[Int64[np.ndarray, " rows"], tuple[str, ...]]:
    """Rows to compare on and the splits that they are from: test and validation, and training ones where these are few."""
    rows = np.concatenate([pictures.rows["test"], pictures.rows["val"]])
    splits = [split for split in ("test", "val") if len(pictures.rows[split])]
    if len(rows) < WANTED:
        rows = np.concatenate([rows, evenly(pictures.rows["train"], WANTED - len(rows))])
        splits.append("train")
    return evenly(rows, MOST), tuple(splits)


def evenly(rows: Int64[np.ndarray, " _"], most: int) -> Int64[np.ndarray, " _"]:
    """At most so many of the rows, spread over all of them."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def images_of(
    pictures: Pictures, rows: Int64[np.ndarray, " _"], *, image_size: int, progress: Progress = no_progress
) -> Iterator[Float[Tensor, "batch 3 size size"]]:
    """What the model sees of the pictures at `rows`, batch by batch."""
    done = 0
    for batch in evaluation_batches(pictures, rows, image_size=image_size, device=torch.device("cpu"), batch_size=BATCH):
        assert batch.images is not None
        yield batch.images
        done += len(batch)
        progress(done, len(rows))


def measure_parity(classifier: Classifier, exported: OnnxModel, pictures: Pictures, reporter: Reporter) -> Parity:
    """Compare an exported file with PyTorch."""
    rows, splits = compared_rows(pictures)
    greatest, same = 0.0, 0
    with reporter.stage("comparing with PyTorch") as progress:
        for images in images_of(pictures, rows, image_size=classifier.encoder.image_size, progress=progress):
            ours, theirs = classifier.probabilities(images), exported.probabilities(images)
            greatest = max(greatest, float((ours - theirs).abs().max()))
            same += int((ours.argmax(dim=1) == theirs.argmax(dim=1)).sum())
    return Parity(len(rows), splits, greatest, same / len(rows))


def check_parity(parity: Parity) -> None:
    """Refuse a file that answers otherwise than the student.

    Raises:
        ModelError: a probability differs by more than LIMIT.
    """
    if not parity.max_difference <= LIMIT:  # nan is refused too
        raise ModelError(
            f"The exported file does not answer as the student does: {parity.sentence()}, and {LIMIT:g} is allowed. "
            "Nothing was kept. Take --to timm, and tell us about this architecture."
        )
