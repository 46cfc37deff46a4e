"""docs/speed.md and docs/speed.json from rows that were measured here and beside peers."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from picturebook.writing import write_json

SPEED = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SPEED))
    module = importlib.import_module("table")
    for name in ("RESULTS", "PEERS", "DOCS"):
        monkeypatch.setattr(module, name, tmp_path / name)
        (tmp_path / name).mkdir()
    return module


def row(what: str, ratio: float | None, target: str) -> dict[str, object]:
    known = {"low": ratio, "high": ratio, "runs": 3, "device": "CPU, 2 threads", "commit": "abc1234", "details": {"ours": 1.0}}
    return {"what": what, "ratio": ratio, "target": target, **known}


def test_rows_of_both_folders_are_merged_and_misses_are_named(table: ModuleType, tmp_path: Path) -> None:
    write_json(tmp_path / "RESULTS" / "stored.json", row("a step", 1.1, "≤ 1.05"))
    write_json(tmp_path / "RESULTS" / "gpu.json", row("a GPU's share", None, "≥ 0.9"))
    write_json(tmp_path / "PEERS" / "case-peer-best.json", row("over a peer", 3.6, "≥ 3.5"))
    write_json(tmp_path / "PEERS" / "case-slow-best.json", row("over another", 1.9, "≥ 2"))
    speeds = {"picturebook bare": [2.0, 4.0, 9.0], "peer best": [1.0], "slow best": [2.0]}
    write_json(tmp_path / "rates.json", {"cases": {"case": {"images_per_second": speeds}}})
    table.main()
    rows = json.loads((tmp_path / "DOCS" / "speed.json").read_text(encoding="utf-8"))
    assert [list(one) for one in rows] == [["what", "ratio", "target", "low", "high", "runs", "device", "commit"]] * 4
    page = (tmp_path / "DOCS" / "speed.md").read_text(encoding="utf-8")
    assert "| a step | 1.100 | ≤ 1.05 | 1.100 to 1.100 | 3 | CPU, 2 threads | abc1234 |" in page
    assert "| a GPU's share | not measured | ≥ 0.9 |" in page
    assert "- a step: 1.100 against ≤ 1.05, 4.8% past it." in page
    assert (
        "- over another: 1.900 against ≥ 2, 5.0% past it. picturebook's own supervised training, without any teacher, is 2.00"
        in page
    )
    assert "- over a peer" not in page


def test_without_misses_the_page_says_so(table: ModuleType, tmp_path: Path) -> None:
    write_json(tmp_path / "RESULTS" / "stored.json", row("a step", 1.01, "≤ 1.05"))
    table.main()
    assert "Every target that was measured is met." in (tmp_path / "DOCS" / "speed.md").read_text(encoding="utf-8")
