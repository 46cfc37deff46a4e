"""The page of `picturebook serve`, used as a person uses it."""

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from visiting import LOOKS, Visit, low_contrasts

from picturebook.runs import RunFolder
from served import MAX_BYTES, SVG, ZIP, app_of, bomb, live, open_run
from toys import CLASSES

pytestmark = pytest.mark.browser

DROP = """
([selector, files, kind]) => {
  const transfer = new DataTransfer();
  for (const [name, type, content] of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { bubbles: true, clipboardData: transfer })
    : new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer });
  document.querySelector(selector).dispatchEvent(event);
}
"""
LARGE = b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES)


def give(visit: Visit, *files: tuple[str, bytes], kind: str = "drop") -> None:
    """Drop or paste files on the page."""
    encoded = [(name, "image/png", base64.b64encode(content).decode()) for name, content in files]
    visit.page.evaluate(DROP, ["#drop", encoded, kind])


@pytest.fixture(scope="session")
def addresses(finished_run: Callable[[str], RunFolder], toy_cache: Path) -> Iterator[Callable[[str], str]]:
    """Where the run of a case is served."""
    managers: list[Any] = []
    found: dict[str, str] = {}

    def address(case: str) -> str:
        if case not in found:
            app = app_of(open_run(finished_run(case), toy_cache))
            managers.append(app)
            server = live(app.__enter__())
            managers.append(server)
            found[case] = f"http://127.0.0.1:{server.__enter__()}/"
        return found[case]

    yield address
    for manager in reversed(managers):
        manager.__exit__(None, None, None)


@pytest.fixture
def files(toy_data: Path) -> list[tuple[str, bytes]]:
    return [(f"{path.parent.name}-{path.name}", path.read_bytes()) for path in sorted(toy_data.glob("*/*.png"))]


def read_answer(visit: Visit) -> dict[str, float]:
    """Classes and percentages as they stand on the page."""
    rows = visit.page.locator("#classes li")
    expect(rows).to_have_count(len(CLASSES))
    texts = [row.locator("span").all_inner_texts() for row in rows.all()]
    return {text[0]: float(text[1].removesuffix(" %")) for text in texts}


@pytest.mark.parametrize("kind", ["drop", "paste", "choose"])
def test_a_picture_is_answered(visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]], kind: str) -> None:
    visit.page.goto(addresses("supervised"))
    if kind == "choose":
        name, content = files[0]
        visit.page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    else:
        give(visit, files[0], kind=kind)
    answer = read_answer(visit)
    assert set(answer) == set(CLASSES)
    assert sum(answer.values()) == pytest.approx(100, abs=0.2)
    assert list(answer.values()) == sorted(answer.values(), reverse=True)
    expect(visit.page.locator("#status")).to_contain_text(next(iter(answer)))
    expect(visit.page.locator("#near li")).to_have_count(6)
    for image in visit.page.locator("img:visible").all():
        assert image.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") > 0
        assert image.get_attribute("alt") is not None
    assert all(url.startswith((addresses("supervised"), "blob:", "data:")) for url in visit.requests)
    assert visit.page.context.cookies() == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (SVG, "This is no picture that can be read here"),
        (ZIP, "This is no picture that can be read here"),
        (bomb(), "This picture has too many pixels"),
        (b"", "This file is empty"),
        (LARGE, "This file is too large: at most 0.1 MB are read."),
    ],
)
def test_a_hostile_file_shows_a_sentence_and_the_page_goes_on(
    visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]], content: bytes, sentence: str
) -> None:
    visit.page.goto(addresses("supervised"))
    give(visit, ("holiday.png", content))
    expect(visit.page.get_by_role("alert").filter(has_text=sentence)).to_be_visible()
    expect(visit.page.locator("#classes li")).to_have_count(0)
    give(visit, files[0])
    expect(visit.page.locator("#classes li")).to_have_count(3)
    expect(visit.page.locator("#problem")).to_have_text("")


def test_a_name_is_shown_and_never_run(visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]]) -> None:
    visit.page.goto(addresses("supervised"))
    name = "<img src=x onerror=alert(1)>.png"
    give(visit, (name, files[0][1]), files[1])
    expect(visit.page.locator("#entries")).to_contain_text(name)


def test_fifty_at_once_are_all_answered(visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]]) -> None:
    visit.page.goto(addresses("supervised"))
    fifty = [(f"{number}.png", files[number % len(files)][1]) for number in range(49)]
    give(visit, *fifty, ("49.png", SVG))
    entries = visit.page.locator("#entries li")
    expect(entries).to_have_count(50)
    expect(entries.filter(has_text="%")).to_have_count(49)
    expect(entries.filter(has_text="no answer")).to_have_count(1)
    entries.nth(49).get_by_role("button").click()
    expect(visit.page.locator("#problem")).to_contain_text("This is no picture")
    visit.shoot("serve-fifty")


def test_fifty_requests_of_a_page_are_answered_or_told_to_wait(
    visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]]
) -> None:
    visit.page.goto(addresses("supervised"))
    told = visit.page.evaluate(
        """async (content) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const ask = () => fetch("/api/predict", { method: "POST", body: bytes });
          const answers = await Promise.all([...Array(50)].map(ask));
          return answers.map((answer) => [answer.status, answer.headers.get("Retry-After")]);
        }""",
        base64.b64encode(files[0][1]).decode(),
    )
    assert len(told) == 50
    assert {tuple(answer) for answer in told} <= {(200, None), (503, "1")}
    assert [200, None] in told


@pytest.mark.parametrize("mode", ["own", "bank"])
def test_typed_words_see_the_map(
    visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]], mode: str
) -> None:
    visit.page.goto(addresses(mode))
    visit.page.get_by_role("textbox", name="Words").fill("a photo of one")
    visit.page.get_by_role("button", name="Look").click()
    expect(visit.page.locator("#words-problem")).to_have_text(re.compile("Choose a picture first"))
    give(visit, files[0])
    expect(visit.page.locator("#classes li")).to_have_count(3)
    visit.page.get_by_role("textbox", name="Words").press("Enter")
    overlay = visit.page.get_by_alt_text(re.compile("the words “a photo of one” look "))
    expect(overlay).to_be_visible()
    assert overlay.get_attribute("src").startswith("data:image/png;base64,")
    expect(visit.page.locator("#looked-words")).to_contain_text("“a photo of one” looks ")
    give(visit, files[1])
    expect(visit.page.locator("#looked")).to_be_hidden()


def test_everything_is_reached_by_the_keyboard(
    visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]]
) -> None:
    visit.page.goto(addresses("own"))
    give(visit, *files[:3])
    expect(visit.page.locator("#entries li").filter(has_text="%")).to_have_count(3)
    reached = []
    for _ in range(8):
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
    assert reached[:6] == ["file", "button", "button", "button", "typed", "button"]
    buttons = visit.page.locator("#entries button")
    buttons.nth(2).focus()
    visit.page.keyboard.press("Enter")
    expect(buttons.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(visit.page.locator("#picture")).to_have_attribute("alt", files[2][0])


@pytest.mark.parametrize(("look", "visit"), list(LOOKS.items()), indirect=["visit"])
def test_it_fits_desktop_phone_and_dark(
    visit: Visit, addresses: Callable[[str], str], files: list[tuple[str, bytes]], look: str
) -> None:
    visit.page.goto(addresses("own"))
    visit.shoot(f"serve-empty-{look}")
    give(visit, *files[:3])
    expect(visit.page.locator("#entries li").filter(has_text="%")).to_have_count(3)
    visit.page.get_by_role("textbox", name="Words").fill("three photo")
    visit.page.get_by_role("button", name="Look").click()
    expect(visit.page.locator("#looked")).to_be_visible()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= visit.page.viewport_size["width"]
    assert low_contrasts(visit) == []
    visit.shoot(f"serve-{look}")
