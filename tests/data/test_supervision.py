from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from picturebook.data.rows import sample_ids
from picturebook.data.supervision import Supervision, SupervisionOptions, supervise
from picturebook.errors import DataError
from picturebook.types import UNLABELLED


def supervised(
    labels: Sequence[int], *, units: Sequence[int] | None = None, train: Sequence[int] | None = None, **settings: object
) -> Supervision:
    num = len(labels)
    names = tuple(f"{index}.png" for index in range(num))
    return supervise(
        SupervisionOptions.model_validate(settings),
        ids=sample_ids(names),
        labels=np.array(labels, dtype=np.int64),
        units=np.array(range(num) if units is None else units, dtype=np.int64),
        train=np.array(range(num) if train is None else train, dtype=np.int64),
        names=names,
        classes=tuple(f"class {index}" for index in range(max(labels) + 1)),
    )


def kept(known: Supervision) -> set[int]:
    return set(np.flatnonzero(known.labels != UNLABELLED).tolist())


THREE = [0] * 200 + [1] * 60 + [2] * 4


def test_by_default_nothing_changes() -> None:
    known = supervised([*THREE, UNLABELLED])
    assert known.labels.tolist() == [*THREE, UNLABELLED]
    assert known.train.tolist() == list(range(265))
    assert known.findings == ()


def test_a_share_keeps_that_share_of_each_class_and_one_picture_at_least() -> None:
    labels = np.array(THREE)
    for share, counts in ((0.1, [20, 6, 1]), (0.25, [50, 15, 1]), (0.5, [100, 30, 2])):
        known = supervised(THREE, labelled_share=share)
        has_label = known.labels != UNLABELLED
        assert np.bincount(labels[has_label]).tolist() == counts
        assert (known.labels[has_label] == labels[has_label]).all()
        assert known.train.tolist() == list(range(264)), "the others stay, without a label"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [[1] * 90, [3] * 30, [40, 20, 10, 5, 5, *[2] * 5], [90]])
def test_smaller_shares_are_parts_of_larger_ones(sizes: list[int], seed: int) -> None:
    # Units that hold two classes too: near duplicates may have different labels.
    units = [unit for unit, size in enumerate(sizes) for _ in range(size)]
    labels = [min(index // 40, 1) if index % 7 else 2 for index in range(90)]
    before: set[int] = set()
    for share in (0.01, 0.1, 0.25, 0.5, 0.75, 0.99):
        now = kept(supervised(labels, units=units, labelled_share=share, seed=seed))
        assert before <= now
        assert {labels[row] for row in now} == {0, 1, 2}, "each class keeps one at least"
        before = now


def test_units_keep_their_labels_or_lose_them_as_a_whole() -> None:
    units = [index // 5 for index in range(264)]
    known = supervised(THREE, units=units, labelled_share=0.25)
    assert len(kept(known)) == pytest.approx(66, abs=6)
    for unit in set(units):
        rows = [row for row, other in enumerate(units) if other == unit]
        assert (known.labels[rows] == UNLABELLED).all() or (known.labels[rows] != UNLABELLED).all()


def test_a_unit_that_is_half_of_its_class_does_not_take_its_small_shares() -> None:
    labels, units = [0] * 100 + [1] * 100, [*[0] * 50, *range(1, 51), *range(51, 151)]
    for seed in range(10):
        known = supervised(labels, units=units, labelled_share=0.25, seed=seed)
        assert np.bincount(known.labels[known.labels != UNLABELLED]).tolist() == [25, 25]


def test_what_is_kept_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    names = [f"{index}.png" for index in range(264)]
    order = np.random.default_rng(0).permutation(264)
    for settings in ({"labelled_share": 0.25}, {"label_noise": 0.3}):
        known = supervised(THREE, **settings)
        shuffled = supervise(
            SupervisionOptions.model_validate(settings),
            ids=sample_ids(names)[order],
            labels=np.array(THREE)[order],
            units=order,
            train=np.arange(264),
            names=tuple(names[row] for row in order),
            classes=("class 0", "class 1", "class 2"),
        )
        np.testing.assert_array_equal(shuffled.labels, known.labels[order])
        assert not np.array_equal(supervised(THREE, seed=1, **settings).labels, known.labels)


def test_dropped_pictures_leave_the_training_and_keep_no_label() -> None:
    known = supervised([*THREE, UNLABELLED, UNLABELLED], labelled_share=0.1, unlabelled="drop")
    assert known.train.tolist() == sorted(kept(known))
    assert len(known.train) == 27
    (finding,) = known.findings
    assert (finding.level, finding.count) == ("skipped", 266 - 27)
    assert finding.kind == 'no training label (data.supervision.labelled_share = 0.1, unlabelled = "drop")'


def test_withheld_labels_are_found_and_pictures_without_one_are_not_among_them() -> None:
    (finding,) = supervised([*THREE, UNLABELLED, UNLABELLED], labelled_share=0.1).findings
    assert (finding.level, finding.count) == ("warned", 264 - 27)
    assert finding.kind == "training label withheld (data.supervision.labelled_share = 0.1)"


@pytest.mark.parametrize(("kind", "steps"), [("symmetric", {1, 2, 3, 4}), ("pair", {1})])
def test_noise_replaces_labels_by_other_classes(kind: str, steps: set[int]) -> None:
    labels = np.repeat(np.arange(5), 400)
    known = supervised(labels.tolist(), label_noise=0.4, noise_kind=kind)
    wrong = known.labels != labels
    # 5 standard deviations of a binomial share: 0.011 of 2,000, 0.024 of 400.
    assert wrong.mean() == pytest.approx(0.4, abs=0.055)
    assert all(wrong[labels == label].mean() == pytest.approx(0.4, abs=0.12) for label in range(5))
    counts = np.bincount((known.labels - labels)[wrong] % 5)
    assert set(np.flatnonzero(counts).tolist()) == steps
    assert counts[1:].max() <= 1.4 * counts[counts > 0].min()
    (finding,) = known.findings
    assert (finding.kind, finding.count) == ("training label replaced (data.supervision.label_noise = 0.4)", int(wrong.sum()))


def test_labels_that_are_wrong_stay_wrong_in_the_same_way_at_more_noise_and_at_another_share() -> None:
    labels = np.array(THREE)
    little, much = (supervised(THREE, label_noise=noise).labels for noise in (0.2, 0.4))
    wrong = little != labels
    assert wrong.any()
    np.testing.assert_array_equal(much[wrong], little[wrong])
    some = supervised(THREE, label_noise=0.2, labelled_share=0.5).labels
    np.testing.assert_array_equal(some[some != UNLABELLED], little[some != UNLABELLED])


def test_at_full_noise_every_label_is_wrong() -> None:
    labels = [0, 1] * 30
    assert supervised(labels, label_noise=1.0).labels.tolist() == [1, 0] * 30


def test_pictures_outside_of_the_training_keep_their_labels() -> None:
    train = list(range(0, 264, 2))
    known = supervised(THREE, train=train, labelled_share=0.2, label_noise=0.5)
    outside = np.setdiff1d(np.arange(264), train)
    np.testing.assert_array_equal(known.labels[outside], np.array(THREE)[outside])
    assert known.train.tolist() == train


def test_a_class_that_noise_leaves_without_a_label_is_refused() -> None:
    sentence = r"label_noise = 1 leaves 1 class without a training label \(class 0\): lower it, raise labelled_share"
    with pytest.raises(DataError, match=sentence):
        supervised([0, *[1] * 40, *[2] * 40], label_noise=1.0, noise_kind="pair", train=[*range(41)])


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"labelled_share": 0.0}, "labelled_share"),
        ({"labelled_share": 1.1}, "labelled_share"),
        ({"label_noise": -0.1}, "label_noise"),
        ({"label_noise": 1.5}, "label_noise"),
        ({"noise_kind": "some"}, "noise_kind"),
        ({"unlabelled": "hide"}, "unlabelled"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        SupervisionOptions.model_validate(settings)
