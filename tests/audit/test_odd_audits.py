"""Audits of little or odd data, what is refused, and whose words are drawn."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from known_teachers import K, as_queries, even, pictures, reads, run, sees
from torch import Tensor

from picturebook.audit import Audit, default_num_noise, summary_rows
from picturebook.audit.asking import Asker, Texts, Words
from picturebook.errors import DataError, ModelError
from picturebook.types import Queries

# degenerate data


def test_a_class_without_pictures_is_still_asked_about_where_it_has_a_text() -> None:
    labels = even(300)[even(300) != 2]
    with_texts = run(sees, pictures(labels, class_texts=as_queries(torch.eye(K))), "privileged")
    assert with_texts["R4a"].expectation == "0.250"
    from_captions = run(sees, pictures(labels), "unknown")
    assert from_captions["R4a"].expectation == "0.333"
    for audit in (with_texts, from_captions):
        assert audit["R2"].value == 1
        assert audit["R8"].value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_a_few_pictures_are_audited_and_warned_of(num: int) -> None:
    audit = run(sees, pictures(np.arange(num)), "label_blind")
    assert audit.verdict == "WARN"
    assert any(f"{num} pictures were audited" in reason for reason in audit.reasons)
    json.dumps(audit.to_dict(), allow_nan=False)


def test_one_class_only_leaves_swaps_and_wrong_words_out() -> None:
    audit = run(sees, pictures(np.zeros(20, dtype=np.int64)), "unknown")
    assert audit.verdict == "WARN"
    for id_ in ("R3", "R6a", "R6b", "L"):
        assert audit[id_].value is None
        assert "one class" in audit[id_].note
    assert [audit[id_].name for id_ in ("R6a", "R6b")] == [
        "words of another class: still right",
        "words of another class: followed",
    ]
    assert audit["R2"].expectation == audit["R7a"].expectation == "about R1"
    assert summary_rows(audit)


def test_two_classes_are_audited() -> None:
    labels = np.arange(1000) % 2
    data = pictures(labels, classes=("a", "b"), own=as_queries(torch.eye(2)[torch.from_numpy(labels)]))
    audit = run(lambda positions, tokens, texts: 5 * tokens.mean(dim=1)[:, :2], data, "unknown", num_noise=None)
    assert audit.num_noise == 22_500
    assert audit.verdict == "PASS", audit.reasons
    assert audit["R11c"].value is None
    assert audit["R14a"].note == audit["R14b"].note == "needs the words as sentences"
    assert (audit["R6a"].value, audit["R6b"].value) == (1, 0)


def test_blank_texts_decide_nothing() -> None:
    """All captions empty: their vectors are equal."""
    data = pictures(even(1000), own=as_queries(torch.ones(1000, K)), own_sentences=("",) * 1000)
    audit = run(lambda positions, tokens, texts: sees(positions, tokens, texts) + texts.mean(), data, "unknown", num_noise=None)
    assert audit.verdict == "PASS", audit.reasons
    assert audit["R8"].value == pytest.approx(0, abs=1e-9)
    assert audit["R14a"].value == 0


def test_words_are_masked_only_where_the_source_says_so() -> None:
    texts = {"own_sentences": ("a thing",) * 100, "class_words": (("thing",), ("b",), ("c",), ("d",))}
    reported, claimed = (run(sees, pictures(even(100), **texts, **more), "label_blind") for more in ({}, {"claims_masked": True}))
    assert {reported[id_].expectation for id_ in ("R14a", "R14b")} == {"report"}
    assert {claimed[id_].expectation for id_ in ("R14a", "R14b")} == {"0: masked"}
    assert reported["R14a"].value == 0.25
    assert reported["R14b"].value == 1
    assert (reported.verdict, claimed.verdict) == ("WARN", "FAIL")
    assert {"The targets are not calibrated.", "The student-side control S1 was not run."} <= set(reported.reasons)
    assert any("not out of fold" in reason for reason in reported.reasons)


# refusals


def test_no_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="hold some out"):
        pictures(np.zeros(0, dtype=np.int64))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"classes": ("a", "b", "c")}, "labels"),
        ({"classes": ("a",)}, "classes"),
        ({"own": as_queries(torch.ones(3, K))}, "own"),
        ({"class_texts": as_queries(torch.ones(3, K))}, "class_texts"),
        ({"groups": np.arange(3)}, "groups"),
        ({"own_sentences": ("a",)}, "own_sentences"),
        ({"image_only": {"probe": torch.zeros(4, 3)}}, "probe"),
        ({"training_labels": np.array([-1])}, "training_labels"),
        ({"training_texts": as_queries(torch.ones(3, K))}, "training_texts"),
        ({"training_sentences": ("a",)}, "training_sentences: expected 0, got 1"),
        ({"labels": np.array([0, 1, 2, -1])}, "labels: expected 4 values in 0 … 3"),
    ],
)
def test_data_of_other_lengths_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pictures(**({"labels": even(4)} | more))


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="diverge"):
        run(lambda positions, tokens, texts: torch.full((len(tokens), K), torch.nan), pictures(even(8)), "bank")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run(sees, pictures(even(8), own=None), "unknown"), "own words"),
        (lambda: run(sees, pictures(even(8)), "bank", temperature=0.0), "temperature"),
        (lambda: run(sees, pictures(even(8)), "bank", num_noise=1), "num_noise"),
        (lambda: run(lambda positions, tokens, texts: torch.zeros(len(tokens), 3), pictures(even(8)), "bank"), "answer"),
    ],
)
def test_an_impossible_audit_is_refused(call: Callable[[], Audit], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(("values", "largest"), [(4_000_001, 1), (1_500_000, 2), (100_000, 40), (30, 256)])
def test_a_batch_holds_at_most_four_million_values_and_256_pictures_and_at_least_one(values: int, largest: int) -> None:
    data = pictures(even(4), tokens=torch.zeros(1, 1).expand(4, values)[:, None])
    sizes: list[int] = []

    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        sizes.append(len(positions))
        return torch.zeros(len(positions), K)

    rows = np.zeros(300, dtype=np.int64)
    asker = Asker(answer, data, total=300, progress=lambda done, total: None)
    asker.ask(rows, lambda part: torch.zeros(len(rows[part]), 1), Texts(None, rows))
    assert max(sizes) == largest
    assert sum(sizes) == 300


# whose words


def test_the_words_of_another_class_member_are_never_the_pictures_own_and_all_others_are_drawn() -> None:
    labels = np.array([0, 1, 0, 2, 0, 1, 0])
    words = Words(pictures(labels), "unknown")
    about = np.repeat(np.arange(7), 400)
    for label in (0, 1):
        rows = words.another_row(np.full(len(about), label), about, np.random.default_rng(0))
        assert (labels[rows] == label).all()
        for picture in range(7):
            others = set(np.flatnonzero(labels == label)) - {picture}
            assert set(rows[about == picture]) == others
    alone = words.another_row(np.array([2]), np.array([3]), np.random.default_rng(0))
    assert alone.tolist() == [3]  # its class has no other


def test_a_swapped_picture_is_of_another_class_and_keeps_its_own_position() -> None:
    labels = even(40)
    seen: list[tuple[Tensor, Tensor]] = []

    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        assert texts is not None
        seen.append((positions, texts.mean().argmax(dim=1)))
        assert len(positions) == len(tokens)
        return reads(positions, tokens, texts)

    run(answer, pictures(labels), "unknown")
    positions, told = seen[1]  # the second question of all is R3
    assert (torch.from_numpy(labels)[positions] != told).all()
    assert (told == torch.from_numpy(labels)).all()


def test_a_picture_of_a_class_may_be_any_of_it_and_any_at_all_where_there_is_none() -> None:
    labels = np.array([1, 0, 3, 1, 3])
    words, rng = Words(pictures(labels), "bank"), np.random.default_rng(0)
    for label in range(K):
        rows = words.row_of_class(np.full(300, label), rng)
        assert set(rows.tolist()) == (set(np.flatnonzero(labels == label).tolist()) or set(range(5)))


def test_one_class_needs_as_many_pictures_of_noise_as_two() -> None:
    assert default_num_noise(1, 1) == default_num_noise(1, 2) == 22_500
    assert default_num_noise(1, 8) == 3215  # 22,500 / 7, and no fewer


def test_nobodys_own_words_stand_for_its_class_whatever_the_sizes_of_the_classes() -> None:
    labels = np.array([0, 1, 0, 1, 1, 0, 1, 2, 2, 2, 2, 2])
    words, about = Words(pictures(labels), "unknown"), np.repeat(np.arange(12), 200)
    rows = words.another_row(labels[about], about, np.random.default_rng(0))
    for picture in range(12):
        assert set(rows[about == picture]) == set(np.flatnonzero(labels == labels[picture])) - {picture}
