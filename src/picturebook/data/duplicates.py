"""Exact and near duplicates, found on canvases.

Two pictures are near duplicates when the root mean square of their difference is at most a tenth of the contrast of the
flatter one, on RGB thumbnails of 16 x 16 block means: saving again as JPEG or another size stays well below, another
drawing in the same template well above. The bound is relative, so pictures of one colour are duplicates only where they
are equal. Mirrored and cropped copies are not found.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from picturebook.data.on_demand import DecodedOnDemand

THUMBNAIL = 16
"""Side of what pictures are compared by, in pixels; canvases of this side will do in place of larger ones."""
_SKETCH = 4
_RELATIVE_DISTANCE = 0.1
_NUM_NEIGHBOURS = 8
_CHUNK = 1024

Canvases = UInt8[np.ndarray, "rows side side 3"] | DecodedOnDemand


def duplicate_groups(canvases: Canvases) -> Int64[np.ndarray, " rows"]:
    """Number the clusters of duplicates, from 0 in the order of their first row; a picture without one is alone in its own.

    Candidates are the nearest rows by grey 4 x 4 block means, a contraction of the distance that is then checked on RGB, so
    time and memory grow as n log n and n. Chains join: a cluster may be wider than the bound.

    Args:
        canvases: [n, S, S, 3], may be memory-mapped or decoded on demand; read in chunks.
    """
    first, exact = _exact(canvases)
    pairs = _near_pairs(canvases, first)
    n = len(canvases)
    starts = np.concatenate([np.arange(n), pairs[:, 0]])
    ends = np.concatenate([exact, pairs[:, 1]])
    graph = coo_array((np.ones(len(starts), dtype=np.int8), (starts, ends)), shape=(n, n))
    numbers = connected_components(graph, directed=False)[1]
    _, firsts, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order: Int64[np.ndarray, " clusters"] = np.argsort(np.argsort(firsts))
    return order[inverse]


def _exact(canvases: Canvases) -> tuple[Int64[np.ndarray, " distinct"], Int64[np.ndarray, " rows"]]:
    """Give the rows that are first of their kind, and for each row the first one that equals it."""
    digests = np.empty((len(canvases), 2), dtype=np.uint64)
    for row, canvas in enumerate(canvases):
        digests[row] = np.frombuffer(hashlib.blake2b(canvas.tobytes(), digest_size=16).digest(), dtype=np.uint64)
    _, first, inverse = np.unique(digests.view("V16")[:, 0], return_index=True, return_inverse=True)
    return np.sort(first).astype(np.int64), first[inverse].astype(np.int64)


def _near_pairs(canvases: Canvases, rows: Int64[np.ndarray, " distinct"]) -> Int64[np.ndarray, "pairs 2"]:
    sketches = np.empty((len(rows), _SKETCH**2), dtype=np.float32)
    contrasts = np.empty(len(rows), dtype=np.float32)
    for chunk in _chunks(len(rows)):
        thumbnails = block_means(canvases[rows[chunk]], THUMBNAIL)
        contrasts[chunk] = np.sqrt(thumbnails.var(axis=(1, 2)).mean(axis=1))
        sketches[chunk] = block_means(thumbnails, _SKETCH).mean(axis=3).reshape(-1, _SKETCH**2)
    pairs = _candidates(sketches, contrasts)
    near = np.zeros(len(pairs), dtype=bool)
    for chunk in _chunks(len(pairs)):
        left, right = (block_means(canvases[rows[pairs[chunk, side]]], THUMBNAIL) for side in (0, 1))
        distances = np.sqrt(np.square(left - right).mean(axis=(1, 2, 3)))
        near[chunk] = distances <= _RELATIVE_DISTANCE * contrasts[pairs[chunk]].min(axis=1)
    found: Int64[np.ndarray, "pairs 2"] = rows[pairs[near]]
    return found


def _candidates(
    sketches: Float32[np.ndarray, "rows blocks"], contrasts: Float32[np.ndarray, " rows"]
) -> Int64[np.ndarray, "pairs 2"]:
    """Pair each row with its nearest ones, as far as their sketches allow that they are near duplicates."""
    if len(sketches) < 2:
        return np.empty((0, 2), dtype=np.int64)
    tree = cKDTree(sketches)
    parts = [_candidates_of(chunk, tree, sketches, contrasts) for chunk in _chunks(len(sketches))]
    distinct: Int64[np.ndarray, "pairs 2"] = np.unique(np.concatenate(parts), axis=0)
    return distinct


def _candidates_of(
    chunk: slice, tree: cKDTree, sketches: Float32[np.ndarray, "rows blocks"], contrasts: Float32[np.ndarray, " rows"]
) -> Int64[np.ndarray, "pairs 2"]:
    """The pairs of some rows, so that memory does not hold all rows' neighbours at once."""
    scale = np.sqrt(sketches.shape[1])  # from root mean square to Euclidean
    bound = float(_RELATIVE_DISTANCE * contrasts.max() * scale)
    k = min(_NUM_NEIGHBOURS + 1, len(sketches))
    distances, neighbours = tree.query(sketches[chunk], k=k, distance_upper_bound=max(bound, 1e-9))
    left = np.repeat(np.arange(len(sketches))[chunk], k)
    right, distances = neighbours.ravel(), distances.ravel()
    found = (right < len(sketches)) & (left != right)
    left, right, distances = left[found], right[found], distances[found]
    # The slack is for rounding in single precision; the check on RGB decides.
    possible = distances <= _RELATIVE_DISTANCE * np.minimum(contrasts[left], contrasts[right]) * scale * 1.001 + 1e-6
    pairs: Int64[np.ndarray, "pairs 2"] = np.sort(np.stack([left[possible], right[possible]], axis=1), axis=1).astype(np.int64)
    return pairs


def block_means(images: np.ndarray, blocks: int) -> Float32[np.ndarray, "rows {blocks} {blocks} 3"]:
    """Average over equal areas, in [0, 1] for bytes; blocks share the pixels that their edges cut."""
    weights = _area_weights(images.shape[1], blocks)
    scale = np.float32(1 / 255 if images.dtype == np.uint8 else 1)
    rows = np.tensordot(images.astype(np.float32) * scale, weights, axes=(1, 1))  # [n, t, c, a]
    means: np.ndarray = np.tensordot(rows, weights, axes=(1, 1))  # [n, c, a, b]
    return means.transpose(0, 2, 3, 1)


def _area_weights(side: int, blocks: int) -> Float32[np.ndarray, "{blocks} {side}"]:
    edges = np.arange(blocks + 1) * side / blocks
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: np.ndarray = np.maximum(overlap, 0) * blocks / side
    return weights.astype(np.float32)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, n, _CHUNK))
