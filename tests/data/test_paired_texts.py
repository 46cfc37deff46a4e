import numpy as np
import pytest
import torch

from picturebook.data.paired_texts import PairedTexts, TextNoiseOptions, distinct_sentences
from picturebook.models.vocabulary import END, PAD, START, UNKNOWN
from picturebook.types import UNLABELLED, Batch

IDS = np.arange(400, dtype=np.int64) * 7919 - 1000
TEXTS = [(f"text {row % 100}",) for row in range(400)]


def batch(ids: np.ndarray, view: int = 0) -> Batch:
    sample_ids = torch.from_numpy(ids)
    return Batch(sample_ids, torch.full_like(sample_ids, view), torch.full_like(sample_ids, UNLABELLED))


def paired(texts: list[tuple[str, ...]], ids: np.ndarray = IDS, seed: int = 0, **noise: float) -> PairedTexts:
    """What is read of a sentence is its place among the distinct ones."""
    inputs = torch.arange(len(distinct_sentences(texts)), dtype=torch.float32)[:, None]
    return PairedTexts(ids, texts, inputs, seed=seed, noise=TextNoiseOptions(**noise))


def test_each_picture_is_shown_with_its_own_text_in_any_order() -> None:
    order = np.random.default_rng(0).permutation(400)
    table = paired([TEXTS[row] for row in order], IDS[order])
    numbers, inputs = table.of(batch(IDS[:9]))
    sentences = distinct_sentences([TEXTS[row] for row in order])
    assert [sentences[int(place)] for place in inputs[:, 0]] == [text for (text,) in TEXTS[:9]]
    assert torch.equal(numbers, table.of(batch(IDS[100:109]))[0])  # these have the same texts
    assert len(table) == 100


def test_a_text_of_several_sentences_shows_each_of_them_in_some_views_and_stays_one_text() -> None:
    table = paired([("a", "b", "c"), ("b",), ("d",)], IDS[:3])
    shown = [table.of(batch(IDS[:3], view)) for view in range(40)]
    assert all(torch.equal(numbers, shown[0][0]) for numbers, _ in shown)
    counts = np.bincount([int(inputs[0]) for _, inputs in shown], minlength=3)
    assert counts[:3].min() > 4
    assert {int(inputs[1]) for _, inputs in shown} == {1}
    assert {int(inputs[2]) for _, inputs in shown} == {3}


def test_what_is_shown_depends_on_seed_id_and_view_and_not_on_company() -> None:
    table = paired(TEXTS, swapped=0.5)
    whole, part = table.of(batch(IDS, 3)), table.of(batch(IDS[50:60], 3))
    for all_rows, some in zip(whole, part, strict=True):
        assert torch.equal(all_rows[50:60], some)
    assert not torch.equal(table.of(batch(IDS, 4))[0], whole[0])
    assert not torch.equal(paired(TEXTS, seed=1, swapped=0.5).of(batch(IDS, 3))[0], whole[0])


def test_as_many_texts_are_swapped_as_the_rate_says_and_a_swapped_text_counts_as_the_text_that_it_is() -> None:
    numbers, inputs = paired(TEXTS, swapped=0.25).of(batch(IDS))
    own, _ = paired(TEXTS).of(batch(IDS))
    assert (numbers != own).double().mean().item() == pytest.approx(0.25 * 0.99, abs=0.06)
    assert torch.equal(numbers, inputs[:, 0].long())


def test_hidden_words_are_unknown_ones_and_what_is_no_word_stays() -> None:
    ids = torch.tensor([[START, 10, 11, UNKNOWN, 12, END, PAD]]).expand(100, -1)
    texts = [(f"text {row}",) for row in range(100)]
    table = PairedTexts(IDS[:100], texts, ids, seed=0, noise=TextNoiseOptions(word_dropout=0.4))
    _, shown = table.of(batch(IDS[:100]))
    words = ids[0] > UNKNOWN
    assert torch.equal(shown[:, ~words], ids[:, ~words])
    hidden = shown[:, words] == UNKNOWN
    assert hidden.double().mean().item() == pytest.approx(0.4, abs=0.08)
    assert torch.equal(shown[:, words][~hidden], ids[:, words][~hidden])


def test_the_share_of_pairs_that_fit_is_counted() -> None:
    assert paired([(str(row),) for row in range(400)]).positive_share(16) == pytest.approx(1 / 16)
    generator = np.random.default_rng(0)
    table = paired(TEXTS[:99] + [("text 0",)] * 301)
    numbers = table.of(batch(IDS))[0].numpy()
    drawn = [numbers[generator.permutation(400)[:8]] for _ in range(4000)]
    found = np.mean([(some[:, None] == some).mean() for some in drawn])
    assert table.positive_share(8) == pytest.approx(found, abs=0.01)


def test_the_share_of_batches_with_one_text_alone_is_counted() -> None:
    assert paired([(str(row),) for row in range(400)]).single_text_share(4) == 0.0
    table = paired([("often",)] * 320 + [("seldom",)] * 80)
    numbers, generator = np.array([0] * 320 + [1] * 80), np.random.default_rng(0)
    drawn = [len(np.unique(generator.choice(numbers, 4, replace=False))) == 1 for _ in range(4000)]
    assert table.single_text_share(4) == pytest.approx(np.mean(drawn), abs=0.02)
    assert table.single_text_share(321) == 0.0  # more than there are of one text
    assert table.single_text_share(500) == 0.0  # an epoch has 400


def test_a_sample_without_a_text_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="has no text"):
        paired(TEXTS).of(batch(np.array([5], dtype=np.int64)))
