from dataclasses import replace

import numpy as np
import pytest
import torch

from picturebook.data.loaders import MixedAfterwards, TrainingBatches, ViewMaker
from picturebook.data.mixing import Partners, draw_mixes, mix_images
from picturebook.data.pictures import Pictures
from picturebook.data.views import ViewOptions
from picturebook.types import UNLABELLED

NUM = 3000
IDS = np.arange(NUM) * 10**12 - 7
VIEWS = np.arange(NUM) % 4


def draws(mixup: float, cutmix: float, *, some: np.ndarray | slice = slice(None), seed: int = 0):
    partners = Partners(IDS, np.arange(0, NUM, 3))
    return draw_mixes(seed, IDS[some], VIEWS[some], partners, mixup=mixup, cutmix=cutmix, image_size=16)


def maker(pictures: Pictures, **options: float) -> ViewMaker:
    return ViewMaker(pictures, ViewOptions(**options), 16, 0, torch.device("cpu"))


def test_probabilities_and_shares_are_kept() -> None:
    mixes = draws(0.2, 0.5)
    pasted = mixes.boxes[:, 2] > 0
    assert len(mixes.places) / NUM == pytest.approx(0.7, abs=0.03)
    assert 0 <= mixes.views.min() < mixes.views.max() < 2**53
    assert (mixes.views % 2).mean() == pytest.approx(0.5, abs=0.05)  # to the last bit
    assert pasted.mean() == pytest.approx(0.5 / 0.7, abs=0.04)
    for shares in (mixes.share[pasted], mixes.share[~pasted]):
        np.testing.assert_allclose(np.quantile(shares, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.06)


def test_pasted_squares_lie_anywhere_in_the_view_and_nowhere_else() -> None:
    left, top, width, height = draws(0.0, 1.0).boxes.T
    assert (width == height).all()
    for place in (left, top):
        assert place.min() >= 0
        assert (place + width).max() <= 16
        assert set(place[width == 8].tolist()) == set(range(9))


def test_partners_come_from_their_rows_alone_each_as_likely_in_views_of_their_own() -> None:
    mixes = draws(1.0, 0.0)
    assert len(mixes.places) == NUM
    assert (mixes.rows % 3 == 0).all()
    counts = np.bincount(mixes.rows // 3, minlength=NUM // 3)
    assert counts.mean() == 3
    assert counts.var() == pytest.approx(3, rel=0.2)
    assert len(set(mixes.views)) == NUM
    assert mixes.views.min() >= 0


def test_the_order_of_the_rows_does_not_count_but_the_set_does() -> None:
    rows = np.arange(0, 90, 3)
    one, shuffled, other = (Partners(IDS, some) for some in (rows, rows[::-1], rows[1:]))
    np.testing.assert_array_equal(one.rows, shuffled.rows)
    assert one.fingerprint == shuffled.fingerprint != other.fingerprint
    reordered = Partners(IDS[::-1], NUM - 1 - rows)
    np.testing.assert_array_equal(IDS[::-1][reordered.rows], IDS[one.rows])
    assert reordered.fingerprint == one.fingerprint


def test_a_mix_is_drawn_alone_as_in_any_batch() -> None:
    mixes, order = draws(0.4, 0.4), np.random.default_rng(0).permutation(NUM)
    shuffled = draws(0.4, 0.4, some=order)
    back = np.argsort(order[shuffled.places])
    np.testing.assert_array_equal(np.sort(order[shuffled.places]), mixes.places)
    for name in ("rows", "views", "share", "boxes"):
        np.testing.assert_array_equal(getattr(shuffled, name)[back], getattr(mixes, name))
    assert not np.array_equal(draws(0.4, 0.4, seed=1).places, mixes.places)


def test_mixing_is_its_formula_and_the_share_is_the_exact_area() -> None:
    mixes = draws(0.4, 0.4, some=slice(0, 60))
    generator = np.random.default_rng(0)
    images = generator.random((60, 3, 16, 16), dtype=np.float32)
    partners = generator.random((len(mixes.places), 3, 16, 16), dtype=np.float32)
    mixed = mix_images(torch.from_numpy(images), torch.from_numpy(partners), mixes).numpy()
    expected = images.astype(np.float64)
    for number, place in enumerate(mixes.places):
        left, top, width, height = mixes.boxes[number]
        share = mixes.share[number]
        if width:
            expected[place][:, top : top + height, left : left + width] = partners[number][
                :, top : top + height, left : left + width
            ]
            assert (expected[place] == images[place]).all(axis=0).mean() == pytest.approx(share, abs=1e-12)
        else:
            expected[place] = share * images[place] + (1 - share) * partners[number]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    assert mixed.shape[0] == 60
    assert 30 < len(mixes.places) < 60


def test_what_is_not_mixed_keeps_its_bits(toy_pictures: Pictures) -> None:
    rows, views = toy_pictures.rows["train"], np.zeros(len(toy_pictures.rows["train"]), dtype=np.int64)
    plain = maker(toy_pictures).batch(rows, views)
    assert plain.mixed is None
    mixed = maker(toy_pictures, mixup=0.3, cutmix=0.3).among(rows).batch(rows, views)
    assert mixed.mixed is not None
    assert plain.images is not None
    assert mixed.images is not None
    same = (mixed.images == plain.images).flatten(1).all(dim=1)
    untouched = mixed.mixed.share == 1
    assert torch.equal(same, untouched)
    assert 0.2 < untouched.float().mean() < 0.6
    assert torch.equal(mixed.mixed.labels[untouched], mixed.labels[untouched])
    assert torch.equal(mixed.labels, plain.labels)


def test_a_mix_holds_the_partners_own_view_and_label(toy_pictures: Pictures) -> None:
    rows = toy_pictures.rows["train"]
    mixing = maker(toy_pictures, mixup=1.0).among(rows)
    views = np.full(len(rows), 2)
    batch = mixing.batch(rows, views)
    drawn = draw_mixes(0, toy_pictures.ids[rows], views, mixing.partners, mixup=1.0, cutmix=0.0, image_size=16)
    partner = maker(toy_pictures).batch(drawn.rows, drawn.views)
    own = maker(toy_pictures).batch(rows, views)
    assert batch.mixed is not None
    assert torch.equal(batch.mixed.labels, partner.labels)
    share = batch.mixed.share[:, None, None, None]
    torch.testing.assert_close(batch.images, own.images * share + partner.images * (1 - share), atol=1e-6, rtol=0)


def test_a_partner_without_a_label_stays_without(toy_pictures: Pictures) -> None:
    rows = toy_pictures.rows["train"]
    labels = toy_pictures.labels.copy()
    labels[rows[::2]] = UNLABELLED
    pictures = replace(toy_pictures, labels=labels)
    batch = maker(pictures, cutmix=1.0).among(rows[::2]).batch(rows[1::2], np.zeros(len(rows[1::2]), dtype=np.int64))
    assert batch.mixed is not None
    assert (batch.mixed.labels == UNLABELLED).all()
    assert (batch.labels != UNLABELLED).all()


def test_mixed_batches_replay_in_any_order_and_share(toy_pictures: Pictures) -> None:
    rows = toy_pictures.rows["train"][:24]
    mixing = maker(toy_pictures, mixup=0.4, cutmix=0.4, randaugment=2, blur=0.5).among(rows)
    settings = {"batch_size": 12, "epochs": 2, "num_views": 2, "seed": 0}
    whole, half = TrainingBatches(mixing, rows, **settings), TrainingBatches(mixing, rows, **settings, share=(1, 2))
    for step in (3, 1):
        batch, part = whole.at(step), half.at(step)
        again = mixing.batch(np.array([rows[toy_pictures.ids[rows].tolist().index(i)] for i in batch.ids]), batch.views.numpy())
        tokens = TrainingBatches(mixing, rows, **settings, with_images=False).at(step)
        assert batch.mixed is not None
        for other, place in ((again, slice(None)), (part, slice(6, 12)), (tokens, slice(None))):
            assert other.mixed is not None
            assert torch.equal(other.mixed.labels, batch.mixed.labels[place])
            assert torch.equal(other.mixed.share, batch.mixed.share[place])
            assert other.images is None or torch.equal(other.images, batch.images[place])


def test_a_maker_that_mixes_must_know_whom_with(toy_pictures: Pictures) -> None:
    rows = toy_pictures.rows["train"]
    with pytest.raises(AssertionError, match="among"):
        maker(toy_pictures, mixup=0.1).batch(rows, np.zeros_like(rows))
    assert maker(toy_pictures).among(rows).partners is None


def afterwards(pictures: Pictures, num_views: int = 2, **options: float) -> MixedAfterwards:
    partners = Partners(pictures.ids, pictures.rows["train"])
    return MixedAfterwards(maker(pictures), ViewOptions(**options), partners, num_views)


def test_views_that_are_mixed_afterwards_are_those_that_were_whole(toy_pictures: Pictures) -> None:
    rows = toy_pictures.rows["train"]
    passes = np.arange(len(rows)) % 6
    mixing, whole = afterwards(toy_pictures, mixup=0.4, cutmix=0.4), maker(toy_pictures)
    batch = mixing.batch(rows, passes)
    assert batch.mixed is not None
    assert torch.equal(batch.views, torch.from_numpy(passes % 2))
    assert torch.equal(batch.ids, torch.from_numpy(toy_pictures.ids[rows]))
    partners = batch.partners
    assert partners is not None
    assert set(partners.views.tolist()) <= {0, 1}
    place = {id_: row for row, id_ in enumerate(toy_pictures.ids.tolist())}
    met = np.array([place[id_] for id_ in partners.ids.tolist()])
    own, theirs = whole.batch(rows, passes % 2).images, whole.batch(met, partners.views.numpy()).images
    assert batch.images is not None
    assert own is not None
    assert theirs is not None
    share, alone = batch.mixed.share, batch.mixed.share == 1
    assert 0 < int(alone.sum()) < len(rows) / 2
    assert torch.equal(batch.images[alone], own[alone])
    assert torch.equal(partners.ids[alone], batch.ids[alone])
    blended = share[:, None, None, None] * own + (1 - share[:, None, None, None]) * theirs
    pasted = (batch.images == own) | (batch.images == theirs)
    for number in range(len(rows)):
        assert torch.allclose(batch.images[number], blended[number], atol=1e-6) or pasted[number].all()
    assert torch.equal(partners.labels, torch.from_numpy(toy_pictures.labels[met]))


def test_a_view_that_is_shown_again_is_in_a_new_mix_and_a_pass_always_in_the_same(toy_pictures: Pictures) -> None:
    rows = toy_pictures.rows["train"]
    mixing = afterwards(toy_pictures, cutmix=1.0)
    first, again, later = (mixing.batch(rows, np.full(len(rows), number)) for number in (1, 1, 3))
    assert first.images is not None
    assert again.images is not None
    assert later.images is not None
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.views, later.views)
    assert first.mixed is not None
    assert later.mixed is not None
    assert not torch.equal(first.mixed.share, later.mixed.share)
    assert torch.equal(mixing.batch(rows[4:7], np.ones(3, dtype=np.int64)).images, first.images[4:7])  # whatever the batch
    unseen = mixing.batch(rows, np.full(len(rows), 1), with_images=False)
    assert unseen.images is None
    assert unseen.partners is not None
    assert first.partners is not None
    assert torch.equal(unseen.partners.ids, first.partners.ids)
