"""Label-blind words pass in a study whose students beat the controls of their targets."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from toy_study import Pretending, plan, study

from picturebook.audit.verdict import Evidence
from picturebook.study.analysis import Arm, gather
from picturebook.study.verdicts import control_arms
from picturebook.writing import write_json

EVIDENCE = Evidence(
    kind="label_blind",
    num=5000,
    num_classes=3,
    chance=1 / 3,
    leak=0.7,
    follow=0.9,
    text_bits=1.0,
    gap=30.0,
    targets_out_of_fold=True,
    calibrated=True,
)
WORDS: dict[str, Any] = {
    "recipe": "image_text",
    "text": {"source": "column", "kind": "label_blind"},
    "teacher": {"head": {"mode": "own"}},
}
ARMS = {
    "words": WORDS,
    "mean": WORDS | {"targets": {"control": "class_mean"}},
    "shuffled": WORDS | {"targets": {"control": "within_class_shuffle"}},
    "other": WORDS | {"targets": {"control": "class_mean"}, "loss": {"temperature": 4.0}},
}


def gathered(
    tmp_path: Path,
    accuracies: dict[str, float],
    *,
    evidence: Evidence = EVIDENCE,
    arms: Any = ARMS,
    seeds: Sequence[int] = range(3),
) -> dict[str, Arm]:
    ours = plan(study(tmp_path, arms=arms, seeds=list(seeds)))
    pretending = Pretending(lambda cell: accuracies.get(cell.arm, 0.5) + 0.01 * cell.seed)
    for cell in ours.cells():
        pretending.finish(cell)
        kept = {name: value for name, value in asdict(evidence).items() if name != "controls"}
        write_json(cell.run.audit, {"verdict": "WARN", "reasons": ["S1 was not run."], "evidence": kept})
    return gather(ours, {})


def verdict(tmp_path: Path, accuracies: dict[str, float], **settings: Any) -> str | None:
    return gathered(tmp_path, accuracies, **settings)["words"].row.audit


def test_the_controls_of_an_arm_differ_from_it_by_the_targets_alone() -> None:
    ours = plan(study(arms=ARMS))
    cells = {name: ours.cell(name, 0) for name in ARMS}
    assert control_arms("words", cells) == {"S1": "mean", "S2": "shuffled"}
    assert control_arms("mean", cells) == {}


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ({"words": 0.9}, "PASS"),
        ({"words": 0.9, "mean": 0.9}, "WARN"),
        ({"words": 0.9, "shuffled": 0.95}, "WARN"),
    ],
)
def test_words_pass_when_both_controls_are_beaten(tmp_path: Path, accuracies: dict[str, float], expected: str) -> None:
    assert verdict(tmp_path, accuracies) == expected


def test_a_control_has_the_verdict_and_the_reasons_of_the_teacher_that_it_shares(tmp_path: Path) -> None:
    arms = gathered(tmp_path, {"words": 0.9})
    assert {name: arm.row.audit for name, arm in arms.items()} == {
        "words": "PASS", "mean": "PASS", "shuffled": "PASS", "other": "WARN",
    }  # fmt: skip
    assert "beats S1 and S2" in arms["words"].reasons[0]
    assert arms["words"].reasons == arms["mean"].reasons
    assert arms["other"].reasons == ("S1 was not run.",)


def test_one_seed_beats_no_control(tmp_path: Path) -> None:
    assert verdict(tmp_path, {"words": 0.9}, seeds=(0,)) == "WARN"


def test_without_one_of_the_controls_the_doubt_stays(tmp_path: Path) -> None:
    assert verdict(tmp_path, {"words": 0.9}, arms={name: ARMS[name] for name in ("words", "mean")}) == "WARN"


def test_controls_do_not_make_up_for_targets_of_pictures_that_taught(tmp_path: Path) -> None:
    told = Evidence(**(asdict(EVIDENCE) | {"targets_out_of_fold": False}))
    assert verdict(tmp_path, {"words": 0.9}, evidence=told) == "WARN"
