from collections import Counter

import numpy as np
import pytest

from picturebook.data.sampling import ClassesAlike, EachOnce
from picturebook.errors import OptionError
from picturebook.types import UNLABELLED

UNEVEN = np.repeat([0, 1, 2], [30, 5, 3])
MIXED = np.random.default_rng(0).permutation(np.concatenate([UNEVEN, np.full(7, UNLABELLED)]))


def shown(sampling: ClassesAlike | EachOnce, epochs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [sampling.epoch(number) for number in range(epochs)]


def test_each_place_comes_once_an_epoch() -> None:
    for number, (places, passes) in enumerate(shown(EachOnce(9, seed=0), 3)):
        assert sorted(places.tolist()) == list(range(9))
        assert set(passes.tolist()) == {number}


@pytest.mark.parametrize("labels", [UNEVEN, MIXED])
def test_every_epoch_shows_every_class_as_often_as_the_mean_class_and_is_as_long_as_ever(labels: np.ndarray) -> None:
    for places, _ in shown(ClassesAlike(labels, seed=3), 20):
        assert len(places) == len(labels)
        counted = Counter(labels[places].tolist())
        assert {label: counted[label] for label in (0, 1, 2)}.keys() == {0, 1, 2}
        assert all(abs(counted[label] - 38 / 3) < 1 for label in (0, 1, 2))
    totals = Counter(np.concatenate([labels[places] for places, _ in shown(ClassesAlike(labels, seed=3), 3)]).tolist())
    assert [totals[label] for label in (0, 1, 2)] == [38, 38, 38]  # what is left over goes round


def test_within_a_class_no_picture_gets_ahead_by_more_than_one() -> None:
    epochs = shown(ClassesAlike(UNEVEN, seed=0), 7)
    for number in range(1, 8):
        counted = np.bincount(np.concatenate([places for places, _ in epochs[:number]]), minlength=len(UNEVEN))
        for label in range(3):
            assert np.ptp(counted[label == UNEVEN]) <= 1


def test_a_picture_is_shown_for_the_nth_time_in_its_nth_pass() -> None:
    seen: Counter[int] = Counter()
    for places, passes in shown(ClassesAlike(MIXED, seed=1), 6):
        within = Counter()
        for place, number in sorted(zip(places.tolist(), passes.tolist(), strict=True), key=lambda pair: pair[1]):
            assert number == seen[place] + within[place]
            within[place] += 1
        seen += within


def test_pictures_without_a_label_are_shown_once_an_epoch() -> None:
    unlabelled = np.flatnonzero(MIXED == UNLABELLED).tolist()
    for number, (places, passes) in enumerate(shown(ClassesAlike(MIXED, seed=1), 3)):
        there = MIXED[places] == UNLABELLED
        assert sorted(places[there].tolist()) == unlabelled
        assert set(passes[there].tolist()) == {number}


def test_an_epoch_is_a_function_of_its_number_and_the_seed() -> None:
    def order(seed: int, number: int) -> list[int]:
        return ClassesAlike(MIXED, seed=seed).epoch(number)[0].tolist()

    assert order(0, 5) == order(0, 5)
    assert order(0, 5) != order(0, 6)
    assert order(0, 5) != order(1, 5)


def test_classes_are_mixed_within_an_epoch_and_the_order_within_a_class_is_new_in_each_pass() -> None:
    sampling = ClassesAlike(UNEVEN, seed=0)
    places, _ = sampling.epoch(0)
    assert len(set(UNEVEN[places[:8]].tolist())) > 1
    orders = [tuple(place for place in sampling.epoch(number)[0].tolist() if UNEVEN[place] == 1) for number in range(4)]
    assert len(set(orders)) == 4


@pytest.mark.parametrize("labels", [np.full(5, 2), np.full(5, UNLABELLED)])
def test_fewer_than_two_classes_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(OptionError, match=r"sampling = 'balanced' shows classes equally often: .* Say sampling = 'each'"):
        ClassesAlike(labels, seed=0)
