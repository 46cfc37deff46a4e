"""What belongs together forms a unit, and a unit is never cut: numbered, counted, and dealt into folds."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from picturebook.data.counter import counter_uniforms
from picturebook.data.rows import sample_ids
from picturebook.types import UNLABELLED

_FOLD_STREAM = 104
"""Keeps the numbers of folds apart from those of other parts."""


def number_units(
    ids: Int64[np.ndarray, " rows"], groups: tuple[str, ...] | None, clusters: Int64[np.ndarray, " rows"] | None
) -> Int64[np.ndarray, " rows"]:
    """Number what belongs together: rows linked by a group, by a near duplicate, or by a chain of both.

    Args:
        ids: sample ids.
        groups: the group column; "" is a group of its own; None links nothing.
        clusters: number of the near-duplicate cluster of each row; None links nothing.

    Returns:
        The number of each row's unit; numbers depend on the order of rows, `unit_keys` does not.
    """
    n = len(ids)
    links = [np.arange(n)]
    if groups is not None:
        group_ids = np.where(np.array(groups) == "", ids, sample_ids(f"group\0{group}" for group in groups))
        links.append(np.unique(group_ids, return_inverse=True)[1])
    if clusters is not None:
        links.append(np.unique(clusters, return_inverse=True)[1])
    # Rows and the groups and clusters that they are in, as one graph.
    offsets = n * np.arange(1, len(links))
    ends = np.concatenate([link + offset for link, offset in zip(links[1:], offsets, strict=True)] or [np.arange(n)])
    starts = np.tile(np.arange(n), max(len(links) - 1, 1))
    size = n * len(links)
    graph = coo_array((np.ones(len(ends), dtype=np.int8), (starts, ends)), shape=(size, size))
    numbers: np.ndarray = connected_components(graph, directed=False)[1]
    return numbers[:n].astype(np.int64)


def unit_keys(
    ids: Int64[np.ndarray, " rows"], units: Int64[np.ndarray, " rows"]
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " units"]]:
    """Number the units from 0 and give each its smallest sample id as a key that does not depend on the order of rows."""
    _, number = np.unique(units, return_inverse=True)
    keys = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(keys, number, ids)
    return number.astype(np.int64), keys


def count_classes(
    number: Int64[np.ndarray, " rows"], labels: Int64[np.ndarray, " rows"], num_units: int, num_classes: int
) -> csr_array:
    """Count the labelled pictures of each unit by class, [units, classes]."""
    labelled = labels != UNLABELLED
    ones = np.ones(int(labelled.sum()), dtype=np.int64)
    counts = coo_array((ones, (number[labelled], labels[labelled])), shape=(num_units, num_classes)).tocsr()
    counts.sum_duplicates()
    return counts


def deal_folds(
    ids: Int64[np.ndarray, " rows"],
    labels: Int64[np.ndarray, " rows"],
    units: Int64[np.ndarray, " rows"],
    num_classes: int,
    *,
    num: int,
    seed: int,
) -> Int64[np.ndarray, " rows"]:
    """Deal units into `num` folds, each class (and what has no label, as a class of its own) as evenly as units allow.

    Large units go first, within one size in the order of hashes of (seed, unit); each goes to the fold where it adds least to
    Σ_k (share of class k in the fold)², the smaller fold where two are equal.

    Returns:
        0 … num - 1 for each row, whatever the order of rows; equal within a unit.
    """
    number, keys = unit_keys(ids, units)
    strata = np.where(labels == UNLABELLED, num_classes, labels)
    counts = count_classes(number, strata, len(keys), num_classes + 1)
    uniforms = counter_uniforms(seed, keys, np.zeros_like(keys), 1, stream=_FOLD_STREAM)[:, 0]
    sizes = counts.sum(axis=1)
    order = np.lexsort((uniforms, -sizes))
    folds = np.empty(len(keys), dtype=np.int64)
    folds[order] = _deal(counts[order], num)
    dealt: np.ndarray = folds[number]
    return dealt


def _deal(counts: csr_array, num: int) -> Int64[np.ndarray, " units"]:
    class_sizes: Float64[np.ndarray, " classes"] = np.maximum(counts.sum(axis=0), 1).astype(np.float64)
    shares = np.zeros((num, counts.shape[1]))
    rows = np.zeros(num, dtype=np.int64)
    folds = np.empty(counts.shape[0], dtype=np.int64)
    for unit, (start, end) in enumerate(pairwise(counts.indptr.tolist())):
        classes, taken = counts.indices[start:end], counts.data[start:end]
        added = taken / class_sizes[classes]
        # Rounding must not decide ties, or equal classes would be dealt unequally.
        cost = np.round(shares[:, classes] @ added, 12)
        fold = np.lexsort((rows, cost))[0]
        folds[unit] = fold
        shares[fold, classes] += added
        rows[fold] += taken.sum()
    return folds
