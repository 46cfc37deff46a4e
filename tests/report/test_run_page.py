import math
import re

import numpy as np
import pytest
from run_sample import CLASSES, run_report
from test_page import ATTACK, Page, luminance, themes

from picturebook.report.confusion import MOST_CLASSES, ConfusedPair
from picturebook.report.content import Arm
from picturebook.report.run_content import ClassRow
from picturebook.report.run_page import render_run


@pytest.fixture(scope="module")
def text() -> str:
    return render_run(run_report())


def test_the_page_is_whole_and_equal_reports_give_equal_pages(text: str) -> None:
    page = Page(text)
    assert page.open == []
    assert text == render_run(run_report())
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert set(attributes.get("aria-labelledby", "").split()) <= set(ids)


def test_it_fetches_nothing_and_runs_its_one_script(text: str) -> None:
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert set(re.findall(r"https?://[\w./]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert len(page.all("script")) == 1
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'\"", text)


@pytest.mark.parametrize(
    "heading",
    ["warnings", "results", "learning", "confusion", "classes", "reliability", "attention", "activation", "audit", "setting",
     "cost", "commands", "notes"],
)  # fmt: skip
def test_every_part_has_its_heading(text: str, heading: str) -> None:
    assert f'<h2 id="{heading}">' in text


def test_numbers_stand_as_they_were_given(text: str) -> None:
    for shown in ("60.0\u202f%", "55.0–65.0\u202f%", "+10.0", "−2.0 to +20.0", "−50.0 to +10.0", "McNemar p = 0.450"):
        assert shown in text, shown
    assert "privileged teacher" in text
    assert "vehicle taken for animal, example 1" in text


def test_pictures_have_words(text: str) -> None:
    images = Page(text).all("img")
    assert len(images) == 3 + 2 * 3
    assert all(image["alt"] for image in images)


def test_words_of_users_are_escaped() -> None:
    nan = math.nan
    hostile = run_report(
        title=ATTACK,
        sentence=ATTACK,
        warnings=(ATTACK,),
        arms=(Arm("student", ATTACK, 0.5, 0.4, 0.6, 1.0, 0.1, nan, 9, ATTACK),),
        classes=(ATTACK, *CLASSES[1:]),
        pairs=(ConfusedPair(ATTACK, ATTACK, 1, 2, 0, ("data:image/png;base64,AA==",)),),
        class_rows=(ClassRow(ATTACK, 2, 0.5, nan, nan),),
        words_note=ATTACK,
        agreement=ATTACK,
        setting=((ATTACK, ATTACK),),
        cost=((ATTACK, 1.0),),
        commands=(ATTACK,),
        notes=(ATTACK,),
    )
    page = render_run(hostile)
    assert Page(page).open == []
    assert "<script>alert" not in page


def test_what_is_missing_is_left_out_or_said() -> None:
    bare = render_run(
        run_report(
            warnings=(), gain=None, curves_accuracy=(), curves_loss=(), pairs=(), class_rows=(), calibration=None,
            calibration_note="Nothing was kept.", words=(), words_note="", activation=(), activation_note="Not shown: a reason.",
            audit=None, cost=(), notes=(),
        )
    )  # fmt: skip
    for heading in ("warnings", "learning", "classes", "attention", "audit", "cost", "notes"):
        assert f'<h2 id="{heading}">' not in bare
    assert "Nothing was kept." in bare
    assert "Not shown: a reason." in bare
    assert "No picture was named wrongly." in bare
    assert "Gain" not in bare


def test_a_matrix_of_too_many_classes_is_left_to_the_table() -> None:
    many = tuple(f"class {number}" for number in range(MOST_CLASSES + 1))
    page = render_run(run_report(classes=many, confusion=np.eye(len(many), dtype=np.int64)))
    assert '<h3 id="matrix">' not in page
    assert '<h2 id="confusion">' in page


def test_words_reach_a_contrast_of_4_5_in_light_and_dark(text: str) -> None:
    for theme in themes(text):
        for name in {*theme} - {"--page", "--card", "--line", "--shade"}:
            for ground in ("--page", "--card"):
                high, low = sorted((luminance(theme[name]), luminance(theme[ground])), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)
