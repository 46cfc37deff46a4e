from collections.abc import Sequence

import numpy as np
import pytest

from picturebook.data.findings import sentence
from picturebook.data.folds import fold_findings, fold_numbers
from picturebook.data.pictures import Pictures
from picturebook.data.rows import sample_ids
from picturebook.errors import DataError
from picturebook.types import UNLABELLED


def pictures(labels: Sequence[int], *, groups: Sequence[str] | None = None, clusters: Sequence[int] | None = None) -> Pictures:
    num = len(labels)
    names = tuple(f"{index}.png" for index in range(num))
    return Pictures(
        names=names,
        ids=sample_ids(names),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(f"class {index}" for index in range(max(labels) + 1)),
        texts=None,
        groups=None if groups is None else tuple(groups),
        canvases=np.zeros((num, 8, 8, 3), dtype=np.uint8),
        sizes=np.full((num, 2), 8, dtype=np.int32),
        rows={"train": np.arange(num)},
        fingerprint="",
        findings=(),
        read=lambda row: b"",
        clusters=None if clusters is None else np.array(clusters, dtype=np.int64),
    )


def table(labels: np.ndarray, folds: np.ndarray, num: int) -> list[list[int]]:
    """Pictures by class, then by fold."""
    return [np.bincount(folds[labels == label], minlength=num).tolist() for label in np.unique(labels)]


def test_each_class_and_what_has_no_label_is_dealt_evenly() -> None:
    toys = pictures([0] * 50 + [1] * 13 + [2] * 7 + [UNLABELLED] * 22)
    folds = fold_numbers(toys, np.arange(92), num=5, seed=0)
    assert folds.dtype == np.int64
    for counts in table(toys.labels, folds, 5):
        assert max(counts) - min(counts) <= 1
    sizes = np.bincount(folds)
    assert max(sizes) - min(sizes) <= 1, "what one class cannot give evenly, another evens out"


def test_groups_and_near_duplicates_are_never_cut_and_classes_stay_even() -> None:
    labels = [0] * 60 + [1] * 60
    groups = [f"g{index // 4}" for index in range(120)]
    clusters = [7 if index in {3, 4} else 100 + index for index in range(120)]
    toys = pictures(labels, groups=groups, clusters=clusters)
    folds = fold_numbers(toys, np.arange(120), num=3, seed=0)
    for group in set(groups):
        assert len({fold for fold, other in zip(folds.tolist(), groups, strict=True) if other == group}) == 1
    assert folds[3] == folds[4], "one cluster, two groups"
    assert all(16 <= count <= 24 for counts in table(toys.labels, folds, 3) for count in counts)
    parted = fold_numbers(pictures(labels, groups=groups), np.arange(120), num=3, seed=0)
    assert not np.array_equal(parted, folds)


def test_large_groups_do_not_unbalance_the_folds() -> None:
    sizes = [30, 20, 10, *[1] * 60]
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    folds = fold_numbers(pictures([0, 1] * 60, groups=groups), np.arange(120), num=4, seed=0)
    assert np.bincount(folds).tolist() == [30, 30, 30, 30]


def test_folds_depend_on_the_seed_and_on_ids_but_not_on_the_order_of_rows() -> None:
    toys = pictures([0, 1] * 60, groups=[f"g{index // 2}" for index in range(120)])
    rows = np.arange(10, 110)
    order = np.random.default_rng(0).permutation(100)
    folds = fold_numbers(toys, rows, num=5, seed=0)
    np.testing.assert_array_equal(fold_numbers(toys, rows[order], num=5, seed=0), folds[order])
    assert (fold_numbers(toys, rows, num=5, seed=1) == folds).mean() < 0.5


def test_more_folds_than_units_are_refused() -> None:
    toys = pictures([0, 1, 0, 1, UNLABELLED], groups=["a", "a", "b", "b", "c"])
    sentence = r"4 pictures cannot be dealt into 3 folds: groups and near duplicates.*leave 2 units. Ask for 2 folds or fewer"
    with pytest.raises(DataError, match=sentence):
        fold_numbers(toys, np.arange(5), num=3, seed=0)
    assert set(fold_numbers(toys, np.arange(5), num=2, seed=0)[:4].tolist()) == {0, 1}


def test_rows_without_any_label_are_dealt_too() -> None:
    toys = pictures([0, 1, *[UNLABELLED] * 8])
    assert np.bincount(fold_numbers(toys, np.arange(2, 10), num=4, seed=0)).tolist() == [2, 2, 2, 2]


def test_a_class_in_one_fold_alone_is_named() -> None:
    toys = pictures([0] * 10 + [1] * 10 + [2] * 2, groups=[*map(str, range(20)), "x", "x"])
    folds = fold_numbers(toys, np.arange(22), num=4, seed=0)
    (finding,) = fold_findings(toys, np.arange(22), folds)
    assert (finding.names, finding.unit) == (("class 2",), "class")
    assert sentence(finding).startswith("1 class noted: in one fold alone, so that the model that judges this fold has seen none")
    assert fold_findings(toys, np.arange(20), folds[:20]) == ()
