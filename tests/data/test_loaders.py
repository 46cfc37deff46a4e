from collections import Counter

import numpy as np
import pytest
import torch

from picturebook.data.loaders import TrainingBatches, ViewMaker, evaluation_batches
from picturebook.data.pictures import Pictures
from picturebook.data.views import ViewOptions, evaluation_views
from picturebook.errors import OptionError
from picturebook.types import Batch

CPU = torch.device("cpu")


def maker(pictures: Pictures, seed: int = 0) -> ViewMaker:
    return ViewMaker(pictures, ViewOptions(), 16, seed, CPU)


def batches(pictures: Pictures, rows: np.ndarray, **changes: object) -> TrainingBatches:
    settings = {"batch_size": 7, "epochs": 3, "num_views": 3, "seed": 0, "with_images": False}
    return TrainingBatches(maker(pictures), rows, **{**settings, **changes})


def pairs(found: list[Batch]) -> list[tuple[int, int]]:
    return [pair for batch in found for pair in zip(batch.ids.tolist(), batch.views.tolist(), strict=True)]


@pytest.fixture
def rows(toy_pictures: Pictures) -> np.ndarray:
    return toy_pictures.rows["train"][:30]


def test_every_sample_comes_exactly_once_an_epoch_in_that_epochs_view(toy_pictures: Pictures, rows: np.ndarray) -> None:
    steps = batches(toy_pictures, rows)
    seen = pairs([steps.at(step) for step in range(steps.num_steps)])
    assert steps.num_steps == 13  # 90 samples: 12 full batches of 7 and one of 6
    assert len(seen) == 90
    ids = set(toy_pictures.ids[rows].tolist())
    for epoch in range(3):
        part = seen[30 * epoch : 30 * epoch + 30]
        assert {sample for sample, _ in part} == ids
        assert {view for _, view in part} == {epoch}


def test_views_take_turns_where_they_are_fewer_than_epochs(toy_pictures: Pictures, rows: np.ndarray) -> None:
    steps = batches(toy_pictures, rows, num_views=2)
    counted = Counter(pairs([steps.at(step) for step in range(steps.num_steps)]))
    assert all(counted[sample, 0] == 2 and counted[sample, 1] == 1 for sample in toy_pictures.ids[rows].tolist())


def test_epochs_differ_in_order_and_seeds_too(toy_pictures: Pictures, rows: np.ndarray) -> None:
    def order(seed: int) -> list[int]:
        steps = batches(toy_pictures, rows, batch_size=30, seed=seed)
        return [sample for sample, _ in pairs([steps.at(step) for step in range(3)])]

    assert order(0)[:30] != order(0)[30:60]
    assert order(0) != order(1)
    assert order(0) == order(0)


def test_a_step_is_a_function_of_its_number(toy_pictures: Pictures, rows: np.ndarray) -> None:
    steps = batches(toy_pictures, rows, with_images=True)
    straight = [steps.at(step) for step in range(steps.num_steps)]
    for step in (12, 4, 5, 0, 11):
        for again in (steps.at(step), batches(toy_pictures, rows, with_images=True).at(step)):
            assert torch.equal(again.ids, straight[step].ids)
            assert torch.equal(again.views, straight[step].views)
            assert again.images is not None
            assert torch.equal(again.images, straight[step].images)


@pytest.mark.parametrize("world", [2, 3])
def test_shares_of_the_processes_are_the_batch_of_one(toy_pictures: Pictures, rows: np.ndarray, world: int) -> None:
    settings = {"batch_size": 13, "with_images": True}
    whole = batches(toy_pictures, rows, **settings)
    shares = [batches(toy_pictures, rows, share=(rank, world), **settings) for rank in range(world)]
    assert {share.num_steps for share in shares} == {whole.num_steps} == {7}  # 90 samples: 6 full batches and one of 12
    for step in range(whole.num_steps):
        parts = [share.at(step) for share in shares]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        for field in ("ids", "views", "labels", "images"):
            joined = torch.cat([getattr(part, field) for part in parts])
            assert torch.equal(joined, getattr(whole.at(step), field))
        assert whole.size(step) == sum(map(len, parts))
        assert {share.size(step) for share in shares} == {whole.size(step)}


@pytest.mark.parametrize(
    ("epochs", "batch_size", "sizes"),
    [
        (1, 7, [7, 7, 7, 7]),  # two samples are left: less than half a batch
        (1, 8, [8, 8, 8, 6]),
        (1, 20, [20, 10]),
        (1, 21, [21]),
        (1, 15, [15, 15]),
        (2, 128, [60]),  # fewer than half a batch in all: there is one step nevertheless
        (3, 40, [40, 40]),
    ],
)
def test_only_the_last_batch_is_smaller_and_one_of_less_than_half_is_left_out(
    toy_pictures: Pictures, rows: np.ndarray, epochs: int, batch_size: int, sizes: list[int]
) -> None:
    for world in (1, 2, 3):
        if batch_size >= 4 * world:
            steps = batches(toy_pictures, rows, epochs=epochs, batch_size=batch_size, share=(world - 1, world))
            assert [steps.size(step) for step in range(steps.num_steps)] == sizes, world


def test_every_process_has_two_samples_of_every_batch(toy_pictures: Pictures, rows: np.ndarray) -> None:
    for world in (1, 2, 3):
        for batch_size in (4 * world, 4 * world + 1, 6 * world - 1, 40):
            for num in (2 * world, 2 * world + 1, 30):
                steps = batches(toy_pictures, rows[:num], epochs=1, batch_size=batch_size, share=(world - 1, world))
                assert min(len(steps.at(step)) for step in range(steps.num_steps)) >= 2, (world, batch_size, num)


@pytest.mark.parametrize(("batch_size", "num", "world", "needed"), [(7, 30, 2, 8), (11, 30, 3, 12), (16, 1, 1, 4), (16, 3, 2, 8)])
def test_batches_too_small_for_the_processes_are_refused(
    toy_pictures: Pictures, rows: np.ndarray, batch_size: int, num: int, world: int, needed: int
) -> None:
    sentence = f"train.batch_size: need at least {needed} for {world} processes, .* got {batch_size}, and {num} pictures"
    with pytest.raises(OptionError, match=sentence):
        batches(toy_pictures, rows[:num], epochs=1, batch_size=batch_size, share=(0, world))


def test_labels_and_images_are_the_pictures_own(toy_pictures: Pictures, rows: np.ndarray) -> None:
    batch = batches(toy_pictures, rows, with_images=True).at(1)
    places = [toy_pictures.ids.tolist().index(sample) for sample in batch.ids.tolist()]
    assert batch.labels.tolist() == toy_pictures.labels[places].tolist()
    assert batch.images is not None
    alone = maker(toy_pictures).batch(np.array(places[2:3]), batch.views.numpy()[2:3])
    assert torch.equal(alone.images, batch.images[2:3])
    other = maker(toy_pictures, seed=1).batch(np.array(places), batch.views.numpy())
    assert not torch.equal(other.images, batch.images)


def test_without_images_the_rest_is_the_same(toy_pictures: Pictures, rows: np.ndarray) -> None:
    with_images, without = (batches(toy_pictures, rows, with_images=some).at(3) for some in (True, False))
    assert without.images is None
    assert torch.equal(without.ids, with_images.ids)


def test_evaluation_goes_through_the_rows_in_their_order(toy_pictures: Pictures) -> None:
    rows = toy_pictures.rows["train"][[4, 1, 3, 0, 2]]
    found = list(evaluation_batches(toy_pictures, rows, image_size=16, device=CPU, batch_size=2))
    assert [len(batch) for batch in found] == [2, 2, 1]
    assert [sample for batch in found for sample in batch.ids.tolist()] == toy_pictures.ids[rows].tolist()
    assert [label for batch in found for label in batch.labels.tolist()] == toy_pictures.labels[rows].tolist()
    expected = evaluation_views(
        torch.from_numpy(toy_pictures.canvases[rows]), toy_pictures.sizes[rows].astype(np.int64), image_size=16
    )
    assert torch.equal(torch.cat([batch.images for batch in found if batch.images is not None]), expected)


def test_a_row_that_stands_several_times_is_shown_in_as_many_views(toy_pictures: Pictures, rows: np.ndarray) -> None:
    repeated = np.concatenate([rows[:10], rows[:4], rows[:2]])
    steps = batches(toy_pictures, repeated, batch_size=16)
    for epoch in range(3):
        views: dict[int, list[int]] = {}
        for sample, view in pairs([steps.at(epoch)]):
            views.setdefault(sample, []).append(view)
        for place, row in enumerate(rows[:10]):
            count = 1 + (place < 4) + (place < 2)
            assert sorted(views[int(toy_pictures.ids[row])]) == list(range(count * epoch, count * epoch + count))


def test_views_of_repeated_rows_take_turns_too(toy_pictures: Pictures, rows: np.ndarray) -> None:
    steps = batches(toy_pictures, np.concatenate([rows[:10], rows[:5]]), batch_size=15, num_views=2)
    counted = Counter(pairs([steps.at(step) for step in range(3)]))
    twice, once = (int(toy_pictures.ids[row]) for row in (rows[0], rows[9]))
    assert [counted[twice, view] for view in range(5)] == [2, 2, 1, 1, 0]
    assert [counted[once, view] for view in range(3)] == [2, 1, 0]


def uneven(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which 9 are of one class, 6 of another and 3 of the third, and their labels."""
    train = pictures.rows["train"]
    rows = np.concatenate([train[pictures.labels[train] == label][:num] for label, num in enumerate((9, 6, 3))])
    return rows, pictures.labels[rows]


def test_balanced_classes_come_equally_often_and_pictures_that_come_again_in_other_views(toy_pictures: Pictures) -> None:
    rows, labels = uneven(toy_pictures)
    steps = batches(toy_pictures, rows, batch_size=9, epochs=4, num_views=4, balanced=labels)
    assert steps.num_steps == 8
    for epoch in range(4):
        found = [steps.at(2 * epoch), steps.at(2 * epoch + 1)]
        assert Counter(label for batch in found for label in batch.labels.tolist()) == {0: 6, 1: 6, 2: 6}
        assert len(set(pairs(found))) == 18
    counted = Counter(pairs([steps.at(step) for step in range(8)]))
    rare, common = int(toy_pictures.ids[rows[-1]]), int(toy_pictures.ids[rows[0]])
    assert [counted[rare, view] for view in range(5)] == [2, 2, 2, 2, 0]  # 8 times in 4 views, those that targets are stored of
    assert [counted[common, view] for view in (0, 1, 3)] == [1, 1, 0]


@pytest.mark.parametrize("world", [2, 3])
def test_balanced_shares_of_the_processes_are_the_batch_of_one(toy_pictures: Pictures, world: int) -> None:
    rows, labels = uneven(toy_pictures)
    whole = batches(toy_pictures, rows, batch_size=13, balanced=labels)
    shares = [batches(toy_pictures, rows, batch_size=13, share=(rank, world), balanced=labels) for rank in range(world)]
    for step in (3, 0, 2):
        assert pairs([share.at(step) for share in shares]) == pairs([whole.at(step)])
