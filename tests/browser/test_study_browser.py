"""A study's page in a real browser, opened from disk."""

import sys
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from visiting import LOOKS, Visit, low_contrasts

from picturebook.study.cells import Cell
from picturebook.study.command import compare
from picturebook.types import Silence

sys.path.append(str(Path(__file__).parent.parent / "study"))
from toy_study import Pretending

pytestmark = pytest.mark.browser

STUDY = """\
out = "{out}"
seeds = [0, 1]
[run]
data = {{ root = "birds" }}
student = {{ model = "resnet10t", model_args = {{ channels = [8, 8, 8, 8] }}, image_size = 16 }}
train = {{ epochs = 2, batch_size = 16 }}
[arms.supervised]
recipe = "supervised"
[arms.smoothed-a-little]
recipe = "supervised"
loss.label_smoothing = 0.1
[arms.smoothed-a-lot]
recipe = "supervised"
loss.label_smoothing = 0.5
"""


def accuracy(cell: Cell) -> float:
    return float(np.random.default_rng((cell.seed, len(cell.arm))).uniform(0.4, 0.8))


@pytest.fixture(scope="session")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three arms on two seeds; one run has a page of its own."""
    folder = tmp_path_factory.mktemp("study")
    file = folder / "STUDY.toml"
    file.write_text(STUDY.format(out=(folder / "out").as_posix()))
    for _ in range(2):  # the second time with the link
        compare(file, reporter=Silence(), runner=Pretending(accuracy))
        (folder / "out/runs/supervised/seed-1/report.html").write_text("<!DOCTYPE html><title>a run</title>")
    return folder / "out" / "report.html"


def test_every_part_is_there_and_nothing_is_asked_for(visit: Visit, study_page: Path) -> None:
    visit.page.goto(study_page.as_uri())
    for heading in (
        "Differences between arms", "Arms on the test pictures", "Budgets", "Learning curves", "Class by class",
        "What is taken for what", "How sure, how right", "What was run", "Commands to repeat this", "Single runs",
    ):  # fmt: skip
        expect(visit.page.get_by_role("heading", name=heading)).to_be_visible()
    assert visit.requests == [study_page.as_uri()]
    visit.page.get_by_role("link", name="supervised, seed 1").click()
    expect(visit.page).to_have_title("a run")


def test_classes_sort_by_gain(visit: Visit, study_page: Path) -> None:
    visit.page.goto(study_page.as_uri())
    table = visit.page.get_by_role("table", name="Class by class")
    table.locator("thead button").nth(3).click()
    gains = [float(row.locator("td").nth(2).locator("strong").inner_text()) for row in table.locator("tbody tr").all()]
    assert gains in (sorted(gains), sorted(gains, reverse=True))
    assert len(gains) == 3


@pytest.mark.parametrize(("look", "visit"), list(LOOKS.items()), indirect=["visit"])
def test_a_study_fits_desktop_phone_and_dark(visit: Visit, study_page: Path, look: str) -> None:
    visit.page.goto(study_page.as_uri())
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= visit.page.viewport_size["width"]
    assert low_contrasts(visit) == []
    visit.shoot(f"study-{look}")
