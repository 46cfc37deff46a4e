import errno
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_sample import arm, attention, curve, report

from picturebook.errors import RunError
from picturebook.report import write_report
from picturebook.report.page import render_page

VOID = {"meta", "img", "br", "link", "input", "hr"}
ATTACK = "<script>alert('x')</script> \"quoted\" & $\\frac{1}{2}$"


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return render_page(report())


def test_every_element_that_opens_closes_in_order(text: str) -> None:
    assert Page(text).open == []


def test_nothing_is_fetched_from_elsewhere(text: str) -> None:
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not page.all("link")
    assert set(re.findall(r"https?://[\w./]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in text


def test_the_policy_allows_the_one_script_and_no_other(text: str) -> None:
    policy = next(meta["content"] for meta in Page(text).all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'$", policy)
    assert len(Page(text).all("script")) == 1


def test_pictures_have_words_and_figures_have_names(text: str) -> None:
    page = Page(text)
    assert len(page.all("img")) == 4
    assert all(image["alt"] for image in page.all("img"))
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert len(page.all("svg")) == 3
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= ids
    assert all(figure["role"] == "img" and figure["aria-labelledby"] for figure in page.all("svg"))


def test_ids_are_unique_and_inner_links_lead_somewhere(text: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(text).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", text)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_words_of_users_are_shown_as_text_everywhere() -> None:
    hostile = report(
        title=ATTACK,
        sentence=ATTACK,
        setting=((ATTACK, ATTACK),),
        arms=(arm(label=ATTACK, note=ATTACK),),
        curves_accuracy=(curve("student"), curve(ATTACK)),
        attention=(attention(text=ATTACK, label=ATTACK, prediction=ATTACK),),
        cost=((ATTACK, 1.0),),
        commands=(ATTACK,),
        notes=(ATTACK,),
        credits=ATTACK,
    )
    text = render_page(hostile)
    page = Page(text)
    assert page.open == []
    assert len(page.all("script")) == 1
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert") >= 12


def test_equal_reports_give_equal_bytes(tmp_path: Path) -> None:
    write_report(report(), tmp_path / "a.html")
    write_report(report(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_file_replaces_an_older_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    path.parent.mkdir()
    path.write_text("old", encoding="utf-8")
    write_report(report(), path)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_older_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"cannot be written \(disk full\)"):
        write_report(report(), path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_place_of_the_file_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"name a file in it"):
        write_report(report(), tmp_path)


@pytest.mark.parametrize(
    ("empty", "heading"),
    [
        ({"arms": ()}, "results"),
        ({"curves_accuracy": (), "curves_loss": ()}, "learning"),
        ({"attention": ()}, "attention"),
        ({"setting": ()}, "setting"),
        ({"cost": ()}, "cost"),
        ({"commands": ()}, "commands"),
        ({"notes": ()}, "notes"),
    ],
)
def test_an_empty_part_is_left_out(text: str, empty: dict[str, object], heading: str) -> None:
    assert f'<h2 id="{heading}">' in text
    assert f'"{heading}"' not in render_page(report(**empty))


def test_a_report_of_one_sentence_is_a_page() -> None:
    nothing = {field.name: () for field in fields(report()) if isinstance(getattr(report(), field.name), tuple)}
    page = Page(render_page(report(**nothing, majority=float("nan"), credits="")))
    assert page.open == []
    assert not page.all("section")


def test_curves_without_a_finite_point_are_left_out() -> None:
    gone = (curve("student", float("nan")),)
    assert '"learning"' not in render_page(report(curves_accuracy=gone, curves_loss=gone))


def test_the_highest_accuracy_is_marked_in_words_ties_too() -> None:
    arms = (arm("a", accuracy=0.6), arm("b", accuracy=0.6), arm("c", accuracy=0.5), arm("d", accuracy=float("nan")))
    assert render_page(report(arms=arms)).count(">best</span>") == 2


def test_what_was_not_measured_is_a_dash_and_no_bar() -> None:
    nan = float("nan")
    text = render_page(report(arms=(arm(accuracy=nan, low=nan, high=nan, nll=nan, ece=float("inf"), seconds=nan),)))
    assert 'class="bar"' not in text
    assert text.count('">–</td>') == 3
    assert "best</span>" not in text


def test_bars_stay_inside_their_cell_when_an_interval_does_not() -> None:
    text = render_page(report(arms=(arm("a", accuracy=1.0, low=-0.2, high=1.3), arm("b"))))
    bars = re.findall(r"left: ([-\d.]+)%; width: ([-\d.]+)%", text)
    assert bars[0] == ("0.0", "100.0")
    assert all(0 <= float(start) <= float(start) + float(width) <= 100 for start, width in bars)


def test_right_and_wrong_are_said_in_words(text: str) -> None:
    assert text.count("✓ right") == 1
    assert text.count("✗ wrong") == 1


def test_numbers_of_pictures_stand_in_the_rows_where_arms_differ(text: str) -> None:
    assert "All on the same 1,200 test pictures." in text
    differing = render_page(report(arms=(arm("a"), arm("b", num_test=7))))
    assert "All on the same" not in differing
    assert 'data-value="7">7</td>' in differing


def luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def themes(text: str) -> tuple[dict[str, str], dict[str, str]]:
    blocks = re.findall(r":root \{([^}]*)\}", text)
    assert len(blocks) == 4  # colours of the page and of the series, light and dark
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", both)) for both in (blocks[0] + blocks[2], blocks[1] + blocks[3])
    )
    return light, dark


def test_words_and_series_reach_a_contrast_of_4_5_in_light_and_dark(text: str) -> None:
    light, dark = themes(text)
    assert len(light) == len(dark) == 14
    for theme in (light, dark):
        for ground in ("--page", "--card"):
            for name in {*theme} - {"--page", "--card", "--line", "--shade"}:
                high, low = sorted((luminance(theme[name]), luminance(theme[ground])), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)


def test_a_caption_of_a_thousand_words_is_cut_with_a_mark() -> None:
    text = render_page(report(attention=(attention(text="word " * 1000),)))
    assert text.count("word ") < 100
    assert "word...</q>" in text
