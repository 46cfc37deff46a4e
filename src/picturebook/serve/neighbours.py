"""The training pictures that look most alike to a student: cosine on its pooled features, computed once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16, Int64
from torch.nn import functional

from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures
from picturebook.data.thumbnails import thumbnail
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.stores.packed import PackedArray, PackedWriter, locked
from picturebook.types import UNLABELLED, Progress, no_progress

_CHUNK = 8192
"""Rows compared at once: features of a large data set stay on disk."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One training picture."""

    row: int
    """Its row in the data, by which its thumbnail is asked for."""
    name: str
    label: str | None
    """Its class; None where it has no label in training."""
    similarity: float
    """Cosine of the pooled features, in [-1, 1]."""


class Neighbours:
    """Pictures to compare with.

    Args:
        pictures: the data.
        rows: those to compare with, in the order of `features`.
        features: of unit length; memory-mapped.
    """

    def __init__(
        self, pictures: Pictures, rows: Int64[np.ndarray, " rows"], features: Float16[np.ndarray, "rows feature_width"]
    ) -> None:
        self._pictures, self._rows, self._features = pictures, rows, features
        self._known = frozenset(rows.tolist())

    def __len__(self) -> int:
        return len(self._rows)

    def nearest(self, features: Float[np.ndarray, " feature_width"], *, num: int) -> list[Neighbour]:
        """The `num` nearest, nearest first; fewer where there are fewer."""
        asked = features / max(float(np.linalg.norm(features)), 1e-12)
        places, similarities = np.empty(0, np.int64), np.empty(0, np.float32)
        for start in range(0, len(self._rows), _CHUNK):
            found = self._features[start : start + _CHUNK].astype(np.float32) @ asked.astype(np.float32)
            places = np.concatenate([places, np.arange(start, start + len(found))])
            similarities = np.concatenate([similarities, found])
            best = np.argsort(-similarities, kind="stable")[:num]
            places, similarities = places[best], similarities[best]
        return [
            self._neighbour(int(self._rows[place]), float(similarity))
            for place, similarity in zip(places.tolist(), similarities.tolist(), strict=True)
        ]

    def thumbnail(self, row: int) -> bytes | None:
        """A PNG of the picture at `row`, or None where that is no picture to compare with."""
        if row not in self._known:
            return None
        height, width = self._pictures.sizes[row].tolist()
        return thumbnail(np.asarray(self._pictures.canvases[row]), height=height, width=width)

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        label = int(self._pictures.labels[row])
        name = None if label == UNLABELLED else self._pictures.classes[label]
        return Neighbour(row, self._pictures.names[row], name, min(1.0, max(-1.0, similarity)))


def find_neighbours(
    encoder: ImageEncoder, pictures: Pictures, ids: np.ndarray, *, cache: Path, progress: Progress = no_progress
) -> Neighbours:
    """Features of the pictures with these ids, from the cache, or computed in batches and kept there.

    Args:
        encoder: the student.
        pictures: the data.
        ids: int64 [n] of the pictures to compare with; those that the data do not hold any more are left out.
        cache: folder of stores.
        progress: called with (pictures done, pictures in all).
    """
    ids = np.intersect1d(ids, pictures.ids)
    order = np.argsort(pictures.ids)
    rows = order[np.searchsorted(pictures.ids[order], ids)]
    identity = {
        "student": weights_fingerprint(encoder),
        "canvases": pictures.canvas_fingerprint,
        "pictures": hashlib.blake2b(ids.tobytes(), digest_size=16).hexdigest(),
    }
    key = hashlib.blake2b("\0".join(identity.values()).encode(), digest_size=16).hexdigest()
    folder = cache / "neighbours" / key
    with locked(folder):
        if not folder.is_dir():
            _fill(encoder, pictures, dict(zip(ids.tolist(), rows.tolist(), strict=True)), folder, identity, progress)
    return Neighbours(pictures, rows, PackedArray.open(folder, identity).values[:, 0])


@torch.no_grad()
def _fill(
    encoder: ImageEncoder, pictures: Pictures, rows: dict[int, int], folder: Path, identity: dict[str, str], progress: Progress
) -> None:
    ids = np.array(list(rows), dtype=np.int64)
    width = encoder.feature_width
    writer = PackedWriter.start(folder, ids=ids, num_views=1, record=(width,), dtype=np.float16, fingerprint=identity)
    missing, _ = writer.missing()
    asked = np.array([rows[number] for number in missing.tolist()], dtype=np.int64)
    done = len(ids) - len(missing)
    device = encoder.mean.device
    for batch in evaluation_batches(pictures, asked, image_size=encoder.image_size, device=device, batch_size=64):
        assert batch.images is not None
        features = functional.normalize(encoder.forward_features(batch.images)[1].float(), dim=1)
        writer.write(batch.ids.cpu().numpy(), batch.views.cpu().numpy(), features.cpu().numpy())
        done += len(batch)
        progress(done, len(ids))
    writer.finish()
