import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from report_sample import arm, curve

from picturebook.report import Curve
from picturebook.report.plots import accuracy_span, interval_plot, learning_curves, spread
from picturebook.report.svg import SERIES_LIGHT

NAN = float("nan")


def words(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def draw(*curves: Curve, quantity: str = "accuracy", labels: dict[str, str] | None = None) -> str:
    return learning_curves(curves, name="figure", title="Title", quantity=quantity, labels=labels or {})


@pytest.mark.parametrize(
    ("values", "majority", "span"),
    [
        ((0.41, 0.45, 0.59), 0.33, (0.3, 0.6)),
        ((0.4, 0.5, 0.6), 0.4, (0.4, 0.6)),
        ((-0.3, 0.5, 1.4), NAN, (0.0, 1.0)),
        ((NAN, 0.72, NAN), NAN, (0.7, 0.8)),
        ((1.0, 1.0, 1.0), 1.0, (0.9, 1.0)),
        ((0.0, 0.0, 0.0), 0.0, (0.0, 0.1)),
        ((NAN, NAN, NAN), NAN, (0.0, 1.0)),
    ],
)
def test_the_span_is_whole_tens_around_everything(
    values: tuple[float, float, float], majority: float, span: tuple[float, float]
) -> None:
    low, accuracy, high = values
    assert accuracy_span([arm(low=low, accuracy=accuracy, high=high)], majority) == pytest.approx(span)


def test_labels_that_have_room_stay_where_they_are() -> None:
    assert spread([10.0, 50.0, 90.0], [10.0, 10.0, 10.0], 100.0) == [10.0, 50.0, 90.0]


@pytest.mark.parametrize("centres", [[50.0, 50.0, 50.0], [0.0, 1.0, 2.0], [98.0, 99.0, 100.0], [2.0, 3.0, 100.0]])
def test_crowded_labels_lie_side_by_side_and_inside(centres: list[float]) -> None:
    sizes = [20.0, 30.0, 10.0]
    places = spread(centres, sizes, 100.0)
    ends = [(place - size / 2, place + size / 2) for place, size in zip(places, sizes, strict=True)]
    assert ends[0][0] >= 0
    assert ends[-1][1] <= 100
    assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(ends))


def test_lines_carry_their_arms_words_and_colour() -> None:
    svg = draw(curve("b"), curve("a", 0.5), labels={"a": "First", "b": "Second"})
    assert {"First", "Second"} <= set(words(svg))
    second = re.search(r'<text style="[^"]*fill: ([^"]*?); paint[^>]*>Second', svg)
    assert second is not None
    assert second[1] == f"var(--series-1, {SERIES_LIGHT[1]})"


def test_many_lines_are_named_in_a_legend_each_once() -> None:
    curves = [curve(f"an arm with a long name {i}", 0.1 * i) for i in range(9)]
    assert all(words(draw(*curves)).count(each.name) == 1 for each in curves)


def test_points_that_are_not_finite_are_left_out() -> None:
    broken = Curve("student", ((1.0, NAN), (2.0, 0.5), (3.0, math.inf)))
    assert "student: 50.0\u202f% at epoch 2." in draw(broken)


def test_a_single_point_and_a_flat_line_can_be_drawn() -> None:
    assert "one" in words(draw(Curve("one", ((1.0, 0.5),)), quantity="loss"))
    assert "flat" in words(draw(Curve("flat", ((1.0, 0.0), (2.0, 0.0)))))


def test_words_outside_the_plots_own_font_and_dollars_stay_as_they_are() -> None:
    svg = interval_plot([arm(label="画像 🎈 $5 & $x_1$ <b>")], 0.3, name="figure")
    assert "画像 🎈 $5 & $x_1$ <b>" in words(svg)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.5), (NAN, NAN), (0.8, 0.9), (0.6, 0.6)])
def test_any_interval_is_drawn_inside_the_figure(low: float, high: float) -> None:
    svg = interval_plot([arm(low=low, high=high), arm("other")], 0.25, name="figure")
    assert "nan" not in svg.lower().replace("–", "")
    width = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[2])
    places = [float(x) for path in re.findall(r' d="([^"]*)"', svg) for x in re.findall(r"[ML] ([-\d.]+) ", path)]
    assert all(-6 <= x <= width for x in places)  # markers are drawn around 0


def test_the_majority_rate_is_named_where_it_is_known() -> None:
    assert "most frequent class 25.0\u202f%" in words(interval_plot([arm()], 0.25, name="figure"))
    assert not any("frequent" in text for text in words(interval_plot([arm()], NAN, name="figure")))


def test_a_figure_says_its_numbers_to_those_who_cannot_see_it() -> None:
    root = ElementTree.fromstring(interval_plot([arm()], 0.25, name="figure"))
    described = {element.tag.rpartition("}")[2]: element.text for element in root[:2]}
    assert described["title"] == "Test accuracy with 95 % intervals"
    assert described["desc"] == "The student: 60.0\u202f%, 95 % interval 55.0–65.0\u202f%; most frequent class: 25.0\u202f%."


def test_ink_follows_the_page() -> None:
    svg = draw(curve())
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "font-family: " not in svg


def test_the_epoch_that_was_kept_is_ringed_and_said() -> None:
    line = ((1.0, 0.5), (2.0, 0.7), (3.0, 0.6))
    plain, ringed = draw(Curve("student", line)), draw(Curve("student", line, kept=(2.0, 0.7)))
    assert "kept of student: 70.0\u202f% at epoch 2." in ringed
    assert "kept" not in plain
    assert ringed.count("<use ") == plain.count("<use ") + 1
