"""docs/scaling.md: each kind of point is measured at toy size, and the page reads what was found."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCALING = Path(__file__).resolve().parents[1] / "benchmarks" / "scaling"


NAMES = ("page", "points", "run")
"""Programs of other benchmarks have these names too."""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    others = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    monkeypatch.syspath_prepend(str(SCALING))
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(others)


@pytest.mark.parametrize(
    ("part", "classes", "processes", "record"),
    [("sampling", 10, 2, 0), ("tar", 10, 1, 0), ("parquet", 10, 1, 0), ("targets", 10, 2, 20), ("targets", 300, 1, 522)],
)
def test_a_point_is_measured(
    tmp_path: Path, module: Callable[[str], ModuleType], part: str, classes: int, processes: int, record: int
) -> None:
    points, page = module("points"), module("page")
    if part in ("tar", "parquet"):
        points.made(200, classes, processes, tmp_path)
    found = points.PARTS[part](200, classes, processes, tmp_path)
    assert set(found["seconds"]) == set(found["work"]) != set()
    assert found["memory"] >= found["base"] > 0
    if record:
        assert page.record_bytes(classes) == record
        assert found["records_read"] == 200
        assert 200 * record < found["bytes"] < 200 * record + 6_000  # ids, headers


def point(part: str, rows: int, classes: int, processes: int) -> dict[str, Any]:
    steps = {"sampling": ("begin", "steps"), "targets": ("write", "read")}.get(part, ("index", "decode", "open"))
    times = dict.fromkeys(steps, 1e-6 * rows)
    known = {"base": 300_000_000, "memory": 300_000_000 + 400 * rows, "bytes": 7 * rows, "commit": "abc1234"}
    of = {"part": part, "rows": rows, "classes": classes, "processes": processes}
    return of | known | {"seconds": times, "work": times, "steps": 3, "records_read": rows}


def test_the_page_says_what_records_take_and_what_was_not_measured(module: Callable[[str], ModuleType]) -> None:
    page, run = module("page"), module("run")
    found = {one: point(*one) for one in run.POINTS if one[1] < 1_000_000}
    text = page.page(found, run.POINTS)
    assert "Measured at commit abc1234; 2 of" in text
    assert "| targets, V = 1, K = 1,000 | 679 MB | 52.2 GB |" in text
    assert "| targets, V = 1, K = 10,000 | 679 MB | 52.2 GB |" in text
    assert "| targets, V = 1, K = 100 | 260 MB | 20.0 GB |" in text
    assert "N · 400 bytes of private memory" in text
    assert {("targets", rows, classes, number) for rows in (1_000, 100_000) for classes in (10, 10_000) for number in (1, 2)} <= {
        *run.POINTS
    }


def test_points_that_are_kept_are_those_of_the_list(module: Callable[[str], ModuleType]) -> None:
    run = module("run")
    kept = [json.loads(line) for line in run.RESULTS.read_text(encoding="utf-8").splitlines()]
    assert {(one["part"], one["rows"], one["classes"], one["processes"]) for one in kept} <= set(run.POINTS)
