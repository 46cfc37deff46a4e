from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from picturebook.data.rows import sample_ids
from picturebook.data.splits import SplitOptions, split_rows
from picturebook.errors import DataError
from picturebook.types import UNLABELLED


def split(names: list[str], labels: list[int], *, clusters: list[int] | None = None, **arguments: object) -> dict[str, set[str]]:
    columns = {key: arguments.pop(key, None) for key in ("splits", "groups", "domains")}
    rows = split_rows(
        ids=sample_ids(names),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(f"class {index}" for index in range(max(labels) + 1)),
        splits=columns["splits"] and tuple(columns["splits"]),
        groups=columns["groups"] and tuple(columns["groups"]),
        clusters=None if clusters is None else np.array(clusters, dtype=np.int64),
        options=SplitOptions(**arguments),
        domains=columns["domains"] and tuple(columns["domains"]),
    )
    for positions in rows.values():
        assert positions.dtype == np.int64
        assert (np.diff(positions) > 0).all()
    assert sum(map(len, rows.values())) == len(set(np.concatenate(list(rows.values())).tolist()))
    return {name: {names[row] for row in positions} for name, positions in rows.items()}


def named(*sizes: int) -> tuple[list[str], list[int]]:
    pairs = [(f"{label}/{index}.png", label) for label, size in enumerate(sizes) for index in range(size)]
    return [name for name, _ in pairs], [label for _, label in pairs]


def shares_of(parts: dict[str, set[str]]) -> dict[str, Counter[str]]:
    return {name: Counter(member.split("/")[0] for member in members) for name, members in parts.items()}


def test_stratified_gives_each_class_its_shares() -> None:
    names, labels = named(100, 40, 10)
    counts = shares_of(split(names, labels))
    assert counts["test"] == {"0": 20, "1": 8, "2": 2}
    assert counts["val"] == {"0": 10, "1": 4, "2": 1}
    assert counts["train"] == {"0": 70, "1": 28, "2": 7}


def test_classes_too_small_to_be_cut_still_give_the_shares_of_all() -> None:
    names, labels = named(*[4] * 100)
    parts = split(names, labels)
    assert len(parts["test"]) == 80
    assert len(parts["val"]) == 40
    assert min(shares_of(parts)["train"].values()) >= 1


@pytest.mark.parametrize("by", ["stratified", "hash", "group"])
def test_a_split_depends_on_the_seed_and_not_on_the_order_of_rows(by: str) -> None:
    names, labels = named(60, 60)
    groups = [name[:4] for name in names]
    order = np.random.default_rng(0).permutation(len(names))
    first = split(names, labels, by=by, groups=groups)
    assert first == split([names[i] for i in order], [labels[i] for i in order], by=by, groups=[groups[i] for i in order])
    assert first != split(names, labels, by=by, groups=groups, seed=1)


def test_by_hash_new_files_leave_the_old_ones_where_they_are() -> None:
    names, labels = named(200, 200)
    before = split(names, labels, by="hash")
    after = split([*(f"new{index}" for index in range(100)), *names], [0] * 100 + labels, by="hash")
    assert all(before[part] <= after[part] for part in before)
    assert len(before["test"]) / 400 == pytest.approx(0.2, abs=0.06)
    assert len(before["val"]) / 400 == pytest.approx(0.1, abs=0.05)


def test_no_group_spans_two_splits_and_classes_stay_balanced() -> None:
    names, labels = named(100, 60)
    groups = [f"{label}-{index // 4}" for label, size in ((0, 100), (1, 60)) for index in range(size)]
    parts = split(names, labels, by="group", groups=groups)
    where = {name: part for part, members in parts.items() for name in members}
    assert all(len({where[name] for name, other in zip(names, groups, strict=True) if other == group}) == 1 for group in groups)
    counts = shares_of(parts)
    assert counts["test"] == {"0": 20, "1": 12}
    assert counts["val"]["0"] == pytest.approx(10, abs=2)
    assert counts["val"]["1"] == pytest.approx(6, abs=2)


def test_a_row_without_a_group_is_a_group_of_its_own() -> None:
    names, labels = named(50, 50)
    assert {len(part) for part in split(names, labels, by="group", groups=[*[""] * 99, "x"]).values()} == {70, 10, 20}


def test_by_group_without_a_group_column_is_refused() -> None:
    with pytest.raises(DataError, match=r'data.split.by is "group", but there is no group column'):
        split(*named(10, 10), by="group")


@pytest.mark.parametrize("by", ["stratified", "hash", "group"])
def test_near_duplicates_stay_together(by: str) -> None:
    names, labels = named(80, 80)
    clusters = [index // 2 for index in range(160)]
    parts = split(names, labels, by=by, clusters=clusters, groups=names)
    where = {name: part for part, members in parts.items() for name in members}
    assert all(where[first] == where[second] for first, second in zip(names[::2], names[1::2], strict=True))
    assert all(parts.values())


def test_a_near_duplicate_joins_two_groups() -> None:
    names, labels = named(20, 20)
    groups = [str(index // 2) for index in range(40)]
    clusters = [0 if index in {1, 2, 39} else index + 1 for index in range(40)]
    parts = split(names, labels, by="group", clusters=clusters, groups=groups)
    where = {name: part for part, members in parts.items() for name in members}
    assert len({where[names[index]] for index in (0, 1, 2, 3, 38, 39)}) == 1


def test_given_splits_are_honoured_and_missing_val_comes_from_train() -> None:
    names, labels = named(20, 20)
    splits = ["test" if index % 20 < 4 else "train" for index in range(40)]
    parts = split(names, labels, splits=splits, val=0.25)
    assert parts["test"] == {name for name, part in zip(names, splits, strict=True) if part == "test"}
    assert shares_of(parts)["val"] == {"0": 4, "1": 4}


def test_val_comes_from_train_by_group() -> None:
    names, labels = named(20, 20)
    groups = [str(index // 4) for index in range(40)]
    parts = split(
        names, labels, splits=["test" if index % 20 < 4 else "train" for index in range(40)], by="group", groups=groups, val=0.25
    )
    assert {groups[names.index(name)] for name in parts["val"]}.isdisjoint(groups[names.index(name)] for name in parts["train"])
    assert shares_of(parts)["val"] == {"0": 4, "1": 4}


def test_three_given_splits_stay_as_they_are() -> None:
    names, labels = named(3, 3)
    splits = ["train", "val", "test"] * 2
    parts = split(names, labels, splits=splits, by="hash", test=0.9, val=0.05)
    assert all(parts[part] == {name for name, other in zip(names, splits, strict=True) if other == part} for part in parts)


def test_train_alone_is_split_as_if_nothing_were_given() -> None:
    names, labels = named(20, 20)
    assert split(names, labels, splits=["train"] * 40) == split(names, labels)


def test_a_half_filled_split_column_is_refused() -> None:
    with pytest.raises(DataError, match="1 labelled picture of 20 have no split"):
        split(*named(10, 10), splits=[*["train"] * 10, *["test"] * 9, ""])


def test_given_splits_without_train_are_refused() -> None:
    with pytest.raises(DataError, match="every picture in test, none in train"):
        split(*named(2, 2), splits=["test"] * 4)


def test_a_class_without_training_pictures_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 class without a training picture \(class 1\)"):
        split(*named(2, 2), splits=["train", "train", "test", "test"])


def test_a_test_without_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="No picture is left for the test: 4 pictures in 2 classes"):
        split(*named(2, 2), clusters=[0, 0, 1, 1])


def test_unlabelled_rows_are_in_train_unless_they_belong_to_a_test_picture() -> None:
    names, labels = named(40, 40)
    names += [f"unlabelled {index}" for index in range(80)]
    clusters = [*range(80), *range(80)]
    parts = split(names, [*labels, *[UNLABELLED] * 80], clusters=clusters)
    assert len(parts["test"]) == 16
    for index, name in enumerate(names[:80]):
        assert (f"unlabelled {index}" in parts["train"]) == (name in parts["train"])
    assert not any(name.startswith("unlabelled") for name in parts["test"] | parts["val"])


def test_shares_that_leave_nothing_for_train_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"test \+ val: need < 1"):
        SplitOptions(test=0.6, val=0.4)
    assert SplitOptions.model_validate({"test": 0.5, "by": "group"}).by == "group"


def test_a_class_of_one_group_is_trained_on() -> None:
    names, labels = named(30, 6)
    parts = split(names, labels, by="group", groups=[*map(str, range(30)), *["x"] * 6], test=0.6, val=0.3)
    assert shares_of(parts)["train"]["1"] == 6
    assert shares_of(parts)["test"] == {"0": 18}


def test_each_labelled_picture_is_in_the_test_of_one_fold_whatever_the_data_say() -> None:
    names, labels = named(60, 40)
    groups = [f"g{index // 4}" for index in range(100)]
    given = ["test" if index < 5 else "train" for index in range(100)]
    tests = []
    for fold in range(5):
        parts = split(names, labels, groups=groups, splits=given, folds=5, fold=fold, val=0.25, test=0.1)
        assert len(parts["test"]) == 20
        assert shares_of(parts)["test"] == {"0": 12, "1": 8}
        assert len(parts["val"]) == pytest.approx(20, abs=4)
        where = {name: part for part, members in parts.items() for name in members}
        assert all(len({where[name] for name in names[start : start + 4]}) == 1 for start in range(0, 100, 4)), "no group is cut"
        tests.append(parts["test"])
    assert sum(map(len, tests)) == len(set.union(*tests)) == 100


def test_unlabelled_rows_are_no_fold_of_the_test() -> None:
    names, labels = named(20, 20)
    names += [f"unlabelled {index}" for index in range(40)]
    groups = [*map(str, range(40)), *["0"] * 10, *map(str, range(50, 80))]
    for fold in range(2):
        parts = split(names, [*labels, *[UNLABELLED] * 40], groups=groups, folds=2, fold=fold, val=0.0)
        assert shares_of(parts)["test"] == {"0": 10, "1": 10}
        unlabelled = {name for name in parts["train"] if name.startswith("unlabelled")}
        assert len(unlabelled) == (30 if names[0] in parts["test"] else 40)


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"data.split.folds = 4, but groups and near duplicates.*leave 2 units with a label"):
        split(*named(10, 10), groups=["a"] * 10 + ["b"] * 10, folds=4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fold": 1}, "fold = 1 needs folds"),
        ({"folds": 3, "fold": 3}, r"fold: need 0 to 2 \(folds = 3\), got 3"),
        ({"folds": 1}, "folds"),
        ({"folds": 3, "by": "hash"}, "folds exclude each other"),
    ],
)
def test_folds_that_cannot_be_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SplitOptions.model_validate(settings)


def test_a_held_out_domain_is_met_in_the_test_alone_and_nothing_else_is() -> None:
    names, labels = named(40, 40)
    domains = [("noto", "blob", "open", "")[index % 4] for index in range(80)]
    groups = [str(index // 4) for index in range(80)]
    domain_of = dict(zip(names, domains, strict=True))
    whole = split(names, labels, groups=groups, by="group")
    parts = split(names, labels, groups=groups, by="group", domains=domains, held_out=["open"])
    assert parts["test"] == {name for name in whole["test"] if domain_of[name] == "open"}
    for part in ("train", "val"):
        assert parts[part] == {name for name in whole[part] if domain_of[name] != "open"}
    assert all(parts.values())


@pytest.mark.parametrize(
    ("domains", "held_out", "sentence"),
    [
        (None, ["open"], "held_out names open, but there is no domain column: name it in data.columns.domain"),
        (["noto", "open"], ["opne"], "data.split.held_out: There is no domain 'opne'. Did you mean 'open'?"),
        (["noto", "open"], ["noto", "open"], "names every domain of the data"),
    ],
)
def test_domains_that_cannot_be_held_out_are_refused(domains: list[str] | None, held_out: list[str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        split(*named(20, 20), domains=None if domains is None else domains * 20, held_out=held_out)


def test_a_class_that_only_the_held_out_domain_has_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 class without a training picture \(class 1\).*domain"):
        split(*named(20, 20), domains=["noto"] * 20 + ["open"] * 20, held_out=["open"])
