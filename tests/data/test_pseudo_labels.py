import numpy as np
import pytest

from picturebook.data.pseudo_labels import Kept, PseudoLabelOptions, cycled, keep


def answers(classes: list[int], confidences: list[float], num_classes: int = 4) -> np.ndarray:
    """Probabilities with the rest spread evenly."""
    probs = np.array([[(1 - sure) / (num_classes - 1)] * num_classes for sure in confidences])
    probs[np.arange(len(classes)), classes] = confidences
    return probs


CLASSES = [0] * 6 + [1] * 2 + [2] * 4
CONFIDENCES = [0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.9, 0.4, 0.35, 0.39, 0.8, 0.6]
IDS = np.arange(12) * 1009 + 5


def kept(ids: np.ndarray = IDS, seed: int = 0, **settings: object) -> Kept:
    return keep(PseudoLabelOptions.model_validate(settings), answers(CLASSES, CONFIDENCES), ids, seed=seed)


def test_pictures_below_the_confidence_are_left_out() -> None:
    found = kept(confidence=0.5, per_class="all")
    assert sorted(found.places.tolist()) == [0, 1, 2, 3, 4, 6, 10, 11]
    assert found.sure.tolist() == found.different.tolist() == [5, 1, 2, 0]
    assert len(kept(confidence=0.95).places) == 0


def test_large_classes_keep_what_is_surest_and_small_ones_repeat_evenly() -> None:
    found = kept(confidence=0.4, per_class=3)
    counts = np.bincount(found.places, minlength=12)
    assert counts[:6].tolist() == [1, 1, 1, 0, 0, 0]
    assert sorted(counts[6:8]) == [1, 2]
    assert counts[8:].tolist()[:2] == [0, 0]
    assert sorted(counts[10:]) == [1, 2]
    assert found.sure.tolist() == [6, 2, 2, 0]
    assert found.different.tolist() == [3, 2, 2, 0]


def test_the_mean_is_that_of_the_classes_that_were_found() -> None:
    assert np.bincount(np.array(CLASSES)[kept().places]).tolist() == [4, 4, 4]
    assert len(kept(confidence=0.4).places) == 3 * 4  # 10 pictures of 3 classes, rounded up


def test_what_is_kept_does_not_depend_on_the_order_of_the_pictures_but_on_seed_and_ids() -> None:
    order = np.random.default_rng(0).permutation(12)
    settings = PseudoLabelOptions(confidence=0.4, per_class=3)
    probs = answers(CLASSES, CONFIDENCES)
    shuffled = keep(settings, probs[order], IDS[order], seed=0)
    plain = kept(confidence=0.4, per_class=3)
    assert sorted(IDS[order][shuffled.places]) == sorted(IDS[plain.places])
    drawn = {tuple(sorted(keep(settings, probs, IDS, seed=seed).places)) for seed in range(8)}
    assert len(drawn) > 1


def test_cycling_shows_every_row_as_often_as_another_or_once_more() -> None:
    rows = np.arange(5) + 100
    counts = np.bincount(cycled(rows, 13, seed=0) - 100, minlength=5)
    assert sorted(counts) == [2, 2, 3, 3, 3]
    assert sorted(cycled(rows, 5, seed=1)) == rows.tolist()
    assert len({tuple(np.bincount(cycled(rows, 7, seed=seed) - 100)) for seed in range(8)}) > 1


@pytest.mark.parametrize("settings", [{"confidence": 1.0}, {"per_class": 0}, {"per_class": "median"}, {"kind": "firm"}])
def test_settings_that_keep_nothing_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PseudoLabelOptions.model_validate(settings)
