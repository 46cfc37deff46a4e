from dataclasses import replace

import pytest

from picturebook.audit.audited import Kind
from picturebook.audit.verdict import Evidence, judge
from picturebook.statistics import Interval

BEATEN = Interval(0.02, 0.01, 0.03)
LOG2_16 = 4.0
CLEAN = Evidence("privileged", num=2000, num_classes=16, chance=0.0625, leak=0.0, follow=0.01, text_bits=0.0, gap=0.0)
BLIND = Evidence(
    "label_blind",
    num=2000,
    num_classes=16,
    chance=0.0625,
    leak=0.7,
    follow=0.6,
    text_bits=2.5,
    gap=35.0,
    targets_out_of_fold=True,
    calibrated=True,
    controls={"S1": BEATEN, "S2": BEATEN},
)


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "PASS", "do not tell the answer"),
        ({"leak": 0.02}, "PASS", ""),
        ({"leak": 0.021}, "WARN", "noise"),
        ({"leak": 0.199}, "WARN", "noise"),
        ({"leak": 0.20}, "FAIL", "noise"),
        ({"leak": None}, "WARN", "one class"),
        ({"follow": 0.082}, "PASS", ""),
        ({"follow": 0.083}, "WARN", "follows"),
        ({"follow": 0.9}, "WARN", "follows"),  # alone it does not fail
        ({"gap": 5.4, "gap_low": 1.5}, "FAIL", "5.4 points"),
        ({"gap": 5.4, "gap_low": 1.5, "num": 130}, "WARN", "5.4 points over not being told (R12), 1.5 at least"),
        ({"gap": 5.0, "gap_low": 1.5, "num": 130}, "WARN", "5.0 points over not being told (R12), 1.5 at least"),
        ({"gap": 9.4, "gap_low": 5.0, "num": 130}, "FAIL", "9.4 points"),
        ({"gap": 5.4, "num": 130}, "FAIL", "5.4 points"),
        ({"gap": 5.4, "gap_low": 1.5, "gap_num": 400}, "WARN", "5.4 points over not being told (R12), 1.5 at least"),
        ({"gap": 5.4, "gap_low": 1.5, "gap_num": 1000}, "FAIL", "5.4 points"),
        ({"text_bits": 0.02 * LOG2_16}, "PASS", ""),
        ({"text_bits": 0.021 * LOG2_16}, "WARN", "log2 K"),
        ({"text_bits": 0.20 * LOG2_16}, "FAIL", "log2 K"),
        ({"gap": 4.9}, "PASS", ""),
        ({"gap": 5.0}, "FAIL", "5.0 points"),
        ({"num": 999}, "WARN", "999 pictures"),
        ({"num": 1999, "num_classes": 100, "text_bits": 0.0}, "WARN", "2000"),
        ({"num": 10, "leak": 0.5}, "FAIL", "noise"),  # few pictures forbid a PASS, not a FAIL
    ],
)
@pytest.mark.parametrize("kind", ["privileged", "unknown"])
def test_words_that_may_come_from_the_label_are_judged_by_what_they_decide(
    kind: Kind, changes: dict[str, float], verdict: str, words: str
) -> None:
    given, reasons = judge(replace(CLEAN, kind=kind, **changes))
    assert given == verdict
    assert words in " ".join(reasons)
    assert ("S1, S2 and S3" in reasons[-1]) == (verdict == "FAIL")


@pytest.mark.parametrize(("kind", "words"), [("bank", "do not tell"), ("image_only", "No words enter")])
def test_a_bank_and_an_image_only_teacher_pass_by_construction(kind: Kind, words: str) -> None:
    verdict, reasons = judge(replace(CLEAN, kind=kind, follow=None, gap=None))
    assert verdict == "PASS"
    assert words in reasons[0]


def test_every_crossed_threshold_is_told() -> None:
    _, reasons = judge(replace(CLEAN, leak=0.9, text_bits=3.0, gap=50.0))
    assert len(reasons) == 4


@pytest.mark.parametrize("blindness", ["declared", "proven"])
def test_label_blind_words_pass_however_much_they_are_read(blindness: str) -> None:
    verdict, reasons = judge(replace(BLIND, label_blindness=blindness))
    assert verdict == "PASS"
    assert blindness in reasons[0]
    assert reasons[1].startswith("Reads captions: L = 0.70, I_text = 0.62 of log2 K, G = 35.0 points.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targets_out_of_fold": False}, "out of fold"),
        ({"calibrated": False}, "calibrated"),
        ({"controls": {}}, "S1 was not run"),
        ({"controls": {"S1": BEATEN}}, "S2 was not run"),
        ({"controls": {"S1": BEATEN, "S2": Interval(0.01, -0.005, 0.02)}}, "does not beat the control S2: +1.0 (-0.5 to +2.0)"),
        ({"controls": {"S1": Interval(0.01, 0.0, 0.02), "S2": BEATEN}}, "does not beat the control S1"),
        ({"claims_masked": True}, "R14 was not run"),
        ({"num": 500}, "500 pictures"),
    ],
)
def test_label_blind_words_warn_while_something_is_missing(changes: dict[str, object], words: str) -> None:
    verdict, reasons = judge(replace(BLIND, **changes))
    assert verdict == "WARN"
    assert words in reasons[0]


@pytest.mark.parametrize(("share", "masked", "told"), [(0.98, False, True), (0.49, False, False), (0.005, True, False)])
def test_label_blind_words_that_often_name_a_class_are_told_of_and_pass(share: float, masked: bool, told: bool) -> None:
    verdict, reasons = judge(replace(BLIND, class_words=share, claims_masked=masked))
    assert verdict == "PASS"
    assert any("98 % of the texts hold a class's name" in reason for reason in reasons) == told


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"label_blindness": "disproved"}, "FAIL"),
        ({"claims_masked": True, "class_words": 0.011}, "FAIL"),
        ({"claims_masked": True, "class_words": 0.01}, "PASS"),
        ({"class_words": 0.9}, "PASS"),  # nobody said that they are masked
    ],
)
def test_label_blind_words_fail_where_they_know_the_label(changes: dict[str, object], verdict: str) -> None:
    given, reasons = judge(replace(BLIND, **changes))
    assert given == verdict
    assert (reasons[-1].startswith("Label-privileged")) == (verdict == "FAIL")
