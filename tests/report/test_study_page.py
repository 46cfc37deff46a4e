import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from test_page import ATTACK, VOID, Page

from picturebook.report import render_study
from picturebook.report.study_content import ArmRow, ContrastRow, StudyReport
from picturebook.report.study_plots import forest_plot, runs_plot

BUDGET = {"steps": 100, "batch_size": 16, "epochs": 5, "views": 5, "image_size": 64, "parameters": 12345, "trials": 0}
ARM = ArmRow(
    "image_text", ((0, 61.5), (1, 63.5)), mean=62.5, sd=1.41, low=49.8, high=75.2, nll=1.234, ece=4.5, seconds=75.0,
    stages={"student": 60.0}, teacher_seconds=15.0, budget=BUDGET, budget_differences=("steps 100, not 50",),
    marks=("unequal budget: steps 100, not 50",),
)  # fmt: skip
CONTRAST = ContrastRow(
    "image_text", "distil", ((0, 2.5), (1, -0.5)), mean=1.0, sd=2.1, low=-18.1, high=20.1, interval="seeds", p=0.6, p_holm=0.7,
    p_equivalence=0.4, correlation=0.5, reading="no claim under 8 seeds", audit="WARN",
)  # fmt: skip


def report(**changes: object) -> StudyReport:
    whole = StudyReport(
        title="Study: words",
        sentence="image_text - distil: +1.0 points.",
        warnings=("2 seeds: no claim under 8 seeds.",),
        contrasts=(CONTRAST,),
        arms=(ARM, ArmRow("distil", ())),
        margin=0.3,
        trials=(("image_text", "a = 1", "50.0 %", "chosen"),),
        setting=(("seeds", "0, 1"),),
        commands=("picturebook compare STUDY.toml",),
        notes=("Last epoch.",),
    )
    return replace(whole, **changes)


def words(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def dots(svg: str) -> int:
    """Marks of Matplotlib's markers, which are drawn by reference."""
    return len(re.findall("<use ", svg))


def test_the_page_is_whole_and_shows_every_number() -> None:
    text = render_study(report())
    page = Page(text)
    assert not set(page.open) - VOID
    for shown in ("62.5", "49.8 … 75.2", "+1.00", "-18.10 … +20.10", "over seeds", "WARN", "⚠ 100", "12,345", "75.2", "chosen"):
        assert shown in text, shown
    assert text == render_study(report())
    assert text.index("no claim under 8 seeds") < text.index("Differences between arms")


def test_the_page_fetches_nothing() -> None:
    page = Page(render_study(report()))
    assert not any("src" in attributes for _, attributes in page.elements)
    assert all(attributes.get("href", "#").startswith("#") for _, attributes in page.elements)


def test_words_are_escaped() -> None:
    hostile = replace(ARM, name=ATTACK, marks=(ATTACK,))
    text = render_study(
        report(title=ATTACK, sentence=ATTACK, warnings=(ATTACK,), arms=(hostile,), contrasts=(replace(CONTRAST, a=ATTACK),))
    )
    assert "<script>alert" not in text


def test_a_study_of_which_nothing_finished_has_a_page_without_figures() -> None:
    text = render_study(report(arms=(ArmRow("a", ()),), contrasts=(ContrastRow("a", "b", ()),)))
    assert "<svg" not in text


def test_the_forest_has_a_dot_for_every_seed_and_one_for_the_mean() -> None:
    svg = forest_plot([CONTRAST, ContrastRow("x", "y", ())], margin=0.3, name="forest")
    assert {"image_text - distil", "+1.0"} <= set(words(svg))
    assert "x - y" not in words(svg)
    one = forest_plot([replace(CONTRAST, runs=CONTRAST.runs[:1])], margin=0.3, name="forest")
    assert dots(svg) - dots(one) == 1
    assert "single seeds +2.5, -0.5" in svg


@pytest.mark.parametrize("low", [None, 49.8])
def test_arms_are_drawn_with_and_without_an_interval(low: float | None) -> None:
    svg = runs_plot([replace(ARM, low=low, high=None if low is None else 75.2)], name="runs")
    assert ("95 % interval" in svg) == (low is not None)
    assert "single runs 61.5, 63.5" in svg


def test_equal_values_can_be_drawn() -> None:
    svg = runs_plot([ArmRow("a", ((0, 50.0),), mean=50.0)], name="runs")
    assert not math.isnan(len(svg))
    assert "a" in words(svg)
