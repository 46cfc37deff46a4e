"""A run's page in a real browser, opened from disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect
from visiting import LOOKS, Visit, low_contrasts

from picturebook.run_report import write_run_report
from picturebook.runs import RunFolder
from picturebook.types import Silence

pytestmark = pytest.mark.browser


@pytest.fixture(scope="session")
def page_file(
    finished_run: Callable[[str], RunFolder], toy_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The page of a case's run over the supervised one."""
    folder, baseline = tmp_path_factory.mktemp("pages"), finished_run("supervised").path

    def write(case: str) -> Path:
        out = folder / f"{case} 🐦.html"
        if not out.exists():
            write_run_report(finished_run(case).path, baseline=baseline, out=out, cache=toy_cache, reporter=Silence())
        return out

    return write


def column(table: Locator, number: int) -> list[str]:
    return [row.locator("th, td").nth(number).inner_text() for row in table.locator("tbody tr").all()]


def heads(table: Locator) -> Locator:
    return table.locator("thead button")


def test_it_opens_from_disk_and_asks_for_nothing(visit: Visit, page_file: Callable[[str], Path]) -> None:
    path = page_file("own")
    visit.page.goto(path.as_uri())
    expect(visit.page.get_by_role("heading", name="Class by class")).to_be_visible()
    assert all(url == path.as_uri() or url.startswith("data:image/png;base64,") for url in visit.requests)
    images = visit.page.locator("img").all()
    assert images
    for image in images:
        assert image.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") > 0
        assert image.get_attribute("alt")


def test_tables_sort_by_click_and_by_keyboard(visit: Visit, page_file: Callable[[str], Path]) -> None:
    visit.page.goto(page_file("own").as_uri())
    table = visit.page.get_by_role("table", name="Class by class")
    names = column(table, 0)
    heads(table).nth(0).click()
    assert column(table, 0) == sorted(names)
    heads(table).nth(0).focus()
    visit.page.keyboard.press("Enter")
    assert column(table, 0) == sorted(names, reverse=True)
    expect(table.locator("thead th").nth(0)).to_have_attribute("aria-sort", "descending")
    heads(table).nth(2).focus()
    visit.page.keyboard.press("Space")
    shares = [float(cell.removesuffix("\u202f%")) for cell in column(table, 2)]
    assert shares == sorted(shares)
    heads(table).nth(2).click()
    shares = [float(cell.removesuffix("\u202f%")) for cell in column(table, 2)]
    assert shares == sorted(shares, reverse=True)


def test_every_table_that_sorts_has_a_button_in_each_head(visit: Visit, page_file: Callable[[str], Path]) -> None:
    visit.page.goto(page_file("supervised").as_uri())
    tables = visit.page.locator("table[data-sortable]").all()
    assert len(tables) >= 2
    for table in tables:
        assert heads(table).count() == table.locator("thead th").count()


@pytest.mark.parametrize(("look", "visit"), list(LOOKS.items()), indirect=["visit"])
@pytest.mark.parametrize("case", ["own", "supervised"])
def test_it_fits_desktop_phone_and_dark(visit: Visit, page_file: Callable[[str], Path], case: str, look: str) -> None:
    visit.page.goto(page_file(case).as_uri())
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= visit.page.viewport_size["width"]
    assert low_contrasts(visit) == []
    visit.shoot(f"report-{case}-{look}")


def test_what_scrolls_is_reached_by_the_keyboard(visit: Visit, page_file: Callable[[str], Path]) -> None:
    visit.page.goto(page_file("own").as_uri())
    for region in visit.page.locator(".scroll, pre").all():
        assert region.get_attribute("tabindex") == "0"
