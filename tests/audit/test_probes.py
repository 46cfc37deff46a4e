"""The probes on teachers whose answers are written down."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from known_teachers import K, as_queries, even, pictures, reads, run, sees
from torch import Tensor

from picturebook.audit import COLUMNS, default_num_noise, summary_rows
from picturebook.audit.audited import Kind
from picturebook.audit.influence import num_swept
from picturebook.types import Queries


@pytest.mark.parametrize("kind", ["privileged", "unknown"])
@pytest.mark.parametrize("with_class_texts", [True, False])
def test_a_teacher_that_looks_passes(kind: Kind, with_class_texts: bool) -> None:
    data = pictures(even(1000), class_texts=as_queries(torch.eye(K)) if with_class_texts else None)
    audit = run(sees, data, kind, num_noise=None)
    assert audit.verdict == "PASS", audit.reasons
    assert audit["R2"].value == audit["R6a"].value == audit["R7a"].value == 1
    assert audit["R3"].value == audit["R6b"].value == 0
    assert audit["R8"].value == pytest.approx(0, abs=1e-9)
    assert audit["R9"].value == pytest.approx(2, abs=0.01)  # all of log2 4
    assert audit["R3"].expectation == "≤ about 0.250"
    assert audit["R12"].value == 0


@pytest.mark.parametrize("with_class_texts", [True, False])
def test_a_teacher_that_reads_fails_and_its_own_accuracy_is_not_tabulated(with_class_texts: bool) -> None:
    labels = even(200)
    data = pictures(
        labels,
        class_texts=as_queries(torch.eye(K)) if with_class_texts else None,
        image_only={"linear probe": 5 * torch.eye(K)[torch.from_numpy(labels)], "learned": 0.5},
    )
    audit = run(reads, data, "privileged")
    assert audit.verdict == "FAIL"
    assert audit.label == "label-privileged"
    assert audit.required_controls == ("S1", "S2", "S3")
    assert [audit[id_].value for id_ in ("R2", "R3", "R4a", "R4b", "R5", "R6b", "L")] == [1] * 7
    assert audit["R6a"].value == 0
    assert audit["R8"].value == pytest.approx(2, abs=0.01)
    assert audit["R9"].value == pytest.approx(0, abs=1e-9)
    assert audit["R12"].value == pytest.approx(75, abs=1)  # untold it can only guess
    assert audit["R12"].value % 0.5 == pytest.approx(0, abs=1e-9)  # points, of 200 pictures
    assert audit["R1a"].low == pytest.approx(1 / (1 + 1.96**2 / 200), abs=1e-4)  # Wilson's
    assert audit["R1b"].low is None
    rows = {row[0]: row for row in summary_rows(audit)}
    assert rows["R1a"][2] == "100.0 %"
    assert rows["R1b"][2] == "50.0 %"
    assert rows["R2"][2] == "not shown"
    assert "privileged" in rows["R2"][1]
    assert audit.to_dict()["label_privileged"] is True


def test_label_blind_words_are_reported_as_read_and_decide_nothing() -> None:
    audit = run(reads, pictures(even(200)), "label_blind")
    assert audit.verdict == "WARN"
    assert audit.label == "reads captions"
    rows = {row[0]: row for row in summary_rows(audit)}
    assert rows["R2"][2] == "100.0 %"
    for id_ in ("L", "R8", "R12"):
        assert "decides nothing" in rows[id_][5]


@pytest.mark.parametrize("kind", ["bank", "image_only"])
def test_where_no_own_words_enter_their_probes_are_said_not_to_apply(kind: Kind) -> None:
    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        assert texts is None
        return sees(positions, tokens, texts)

    audit = run(answer, pictures(even(1000)), kind, num_noise=None)
    assert audit.verdict == "PASS", audit.reasons
    assert not {"R2", "R3", "R6a", "R6b", "R7a"} & {probe.id for probe in audit.probes}
    assert "R2, R3, R6 and R7 do not apply" in audit["acc"].note
    assert audit["R8"].value == audit["R12"].value == 0
    assert (audit["R12"].expectation, audit["R12"].unit) == ("0", "points")
    assert audit["R5"].value == 1 / K


def test_a_bank_that_looks_the_label_up_is_found_out() -> None:
    """Positions are the only way by which a label could reach a bank."""
    labels = torch.from_numpy(even(400))

    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        return torch.eye(K)[labels[positions]]

    audit = run(answer, pictures(even(400)), "bank")
    assert audit["L"].value == 1
    assert audit.verdict == "FAIL"


def test_an_audit_is_a_function_of_its_seed_and_json() -> None:
    first, second, other = (run(reads, pictures(even(60)), "unknown", seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert first != other
    document = json.loads(json.dumps(first.to_dict()))
    assert {probe["id"] for probe in document["probes"]} >= {f"R{i}" for i in (2, 3, 5, 8, 9, 10, 12)} | {"L", "R0a", "R4a"}
    assert {"name", "value", "low", "high", "expectation", "note"} <= set(document["probes"][0])
    for row in summary_rows(first):
        assert len(row) == len(COLUMNS)


@pytest.mark.parametrize("kind", ["bank", "unknown"])
@pytest.mark.parametrize("empty", [None, as_queries(torch.zeros(1, K))])
def test_progress_ends_where_it_said_it_would(kind: Kind, empty: Queries | None) -> None:
    seen: list[tuple[int, int]] = []
    answer = sees if kind == "bank" else reads
    run(answer, pictures(even(30), empty_text=empty), kind, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len({total for _, total in seen}) == 1


def test_numbers_in_bits_are_given_at_1_and_at_the_temperature() -> None:
    audit = run(reads, pictures(even(60)), "unknown", temperature=4.0)
    assert [probe.temperature for probe in audit.probes if probe.id == "R8"] == [1.0, 4.0]
    assert [audit[id_].expectation for id_ in ("R8", "R9", "R10")] == ["0", "high", "> 0"]
    assert len([probe for probe in run(reads, pictures(even(60)), "unknown", temperature=1.0).probes if probe.id == "R8"]) == 1


def test_tokens_in_half_precision_are_asked_in_single() -> None:
    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        assert tokens.dtype == torch.float32
        return sees(positions, tokens, texts)

    data = pictures(even(40))
    assert run(answer, pictures(even(40), tokens=data.tokens.half()), "bank")["acc"].value == 1


# intervals


def test_intervals_are_over_groups_where_groups_are_given() -> None:
    rng = np.random.default_rng(0)
    labels = even(400)
    wrong = np.repeat(rng.random(20) < 0.5, 20)  # whole groups are wrong
    logits = torch.eye(K)[torch.from_numpy(np.where(wrong, (labels + 1) % K, labels))]

    def answer(positions: Tensor, tokens: Tensor, texts: Queries | None) -> Tensor:
        return logits[positions]

    def width(**more: Any) -> float:
        probe = run(answer, pictures(labels, **more), "bank")["acc"]
        assert probe.low is not None
        assert probe.high is not None
        assert probe.value is not None
        assert probe.low < probe.value < probe.high
        return probe.high - probe.low

    assert width(groups=np.repeat(np.arange(20), 20)) > 2.5 * width()


def test_the_default_noise_makes_the_threshold_three_standard_errors_wide() -> None:
    for num_classes in (2, 10, 35):
        num = default_num_noise(100, num_classes)
        assert num >= 2000
        assert (1 / (num * (num_classes - 1))) ** 0.5 <= 0.02 / 3 + 1e-9
    assert default_num_noise(5000, 35) == 5000


def test_a_sweep_is_bounded() -> None:
    assert num_swept(1000, 35) == 1000
    assert num_swept(50_000, 35) == 1142
    assert num_swept(50_000, 1000) == 100


def test_a_sub_sample_of_the_sweep_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picturebook.audit.influence._MAX_SWEEP", 480)
    seen: list[tuple[int, int]] = []
    audit = run(reads, pictures(even(150)), "unknown", progress=lambda done, total: seen.append((done, total)))
    assert "120 of 150 pictures" in audit["R8"].note
    assert seen[-1][0] == seen[-1][1]
