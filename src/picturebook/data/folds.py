"""Folds for cross-fitting: a model judges the rows that it has not seen."""

import numpy as np
from jaxtyping import Int64

from picturebook.data.findings import Finding, quantity
from picturebook.data.pictures import Pictures
from picturebook.data.units import deal_folds, number_units
from picturebook.errors import DataError
from picturebook.types import UNLABELLED


def fold_numbers(pictures: Pictures, rows: Int64[np.ndarray, " rows"], *, num: int, seed: int) -> Int64[np.ndarray, " rows"]:
    """Deal rows into folds, each class as evenly as what belongs together (a group, near duplicates) allows.

    Rows without a label get a fold too. The folds depend on the set of rows, not on their order.

    Args:
        pictures: where the rows are.
        rows: positions in it, each at most once.
        num: how many folds, 2 or more.
        seed: another seed gives other folds.

    Returns:
        0 … num - 1 for each row. Look at `fold_findings` too: it names the classes that lie in one fold alone.

    Raises:
        DataError: fewer units than folds; a unit is a group, a cluster of near duplicates or a single picture.
    """
    assert num >= 2, f"num: expected 2 or more, got {num}"
    labels = pictures.labels[rows]
    units = units_of(pictures, rows)
    labelled = labels != UNLABELLED
    counted = labelled if labelled.any() else np.ones(len(rows), dtype=bool)
    num_units = len(np.unique(units[counted]))
    if num_units < num:
        raise DataError(
            f"{quantity(int(counted.sum()), 'picture')} cannot be dealt into {num} folds: groups and near duplicates, which are "
            f"never parted, leave {quantity(num_units, 'unit')}. Ask for {num_units} folds or fewer, or add pictures."
        )
    return deal_folds(pictures.ids[rows], labels, units, len(pictures.classes), num=num, seed=seed)


def fold_findings(pictures: Pictures, rows: Int64[np.ndarray, " rows"], folds: Int64[np.ndarray, " rows"]) -> tuple[Finding, ...]:
    """Name the classes that lie in one fold alone: the model that judges this fold was taught nothing of them."""
    labels = pictures.labels[rows]
    alone = tuple(name for index, name in enumerate(pictures.classes) if len(np.unique(folds[labels == index])) == 1)
    kind = "in one fold alone, so that the model that judges this fold has seen none of it"
    return (Finding("warned", kind, alone, "class"),) if alone else ()


def units_of(pictures: Pictures, rows: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
    """Number what belongs together among the rows: by the group column and by near duplicates, where there are any."""
    groups = None if pictures.groups is None else tuple(pictures.groups[row] for row in rows.tolist())
    return number_units(pictures.ids[rows], groups, None if pictures.clusters is None else pictures.clusters[rows])
