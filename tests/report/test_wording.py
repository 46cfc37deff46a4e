import pytest

from picturebook.report.wording import decimals, duration, interval, percent, stage_times


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (3900.0, "1 h 05 min"),
        (90_000.0, "25 h 00 min"),
        (float("nan"), "–"),
    ],
)
def test_times_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds).replace("\u202f", " ") == words


def test_shares_read_in_percent() -> None:
    assert percent(0.6342) == "63.4\u202f%"
    assert percent(0.6342, digits=0) == "63\u202f%"
    assert interval(0.612, 0.655) == "61.2–65.5\u202f%"


def test_what_was_not_measured_is_a_dash() -> None:
    assert percent(float("nan")) == interval(0.1, float("nan")) == decimals(float("inf")) == "–"


def test_numbered_stages_count_together() -> None:
    taken = {"decode": 0.5, "head-fold-1": 20.0, "head-fold-2": 25.0, "targets-1": 3.0, "student": 61.0}
    assert (
        stage_times(taken).replace("\N{NARROW NO-BREAK SPACE}", " ")
        == "decode 0.5 s, head × 2 45 s, targets 3.0 s, student 1 min 01 s"
    )
    assert stage_times({}) == ""
