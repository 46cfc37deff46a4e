"""Which tests reach which line, and which branches none of them takes: one run of pytest under coverage, a context a test."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

_SETTINGS = """[run]
branch = true
include =
{files}
data_file = {folder}/coverage
parallel = true
sigterm = true
context = ${{PICTUREBOOK_TEST}}
"""
IMPORTING = ""
"""The context of what is run while modules are imported."""
ELSEWHERE = " (in a process of its own)"
"""Follows the name of a test in the contexts of the processes that it starts."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a run of tests went through."""

    lines: dict[str, dict[int, list[str]]]
    """File, from the checkout's root → line → contexts: tests, IMPORTING, or a test and ELSEWHERE."""
    seconds: dict[str, float]
    """Test → how long it took, its fixtures with it."""
    coverage: dict[str, dict[str, int]]
    """File → num_statements, covered_lines, num_branches, covered_branches."""


def reach(tests: Sequence[str], files: Sequence[str], *, root: Path, folder: Path) -> Reach:
    """What `tests` reach of `files` (both from the checkout's root); kept in `folder` until one of either changes."""
    told, digest = folder / "reach.json", _digest(tests, files, root)
    found = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
    if found.pop("digest", None) != digest:
        folder.mkdir(parents=True, exist_ok=True)
        found = asdict(_measured(tests, files, root, folder))
        told.write_text(json.dumps(found | {"digest": digest}), encoding="utf-8")
    found["lines"] = {file: {int(line): names for line, names in lines.items()} for file, lines in found["lines"].items()}
    return Reach(**found)


def _digest(tests: Sequence[str], files: Sequence[str], root: Path) -> str:
    """Of what was asked for, of the files, and of all tests, since they share fixtures."""
    digest = hashlib.sha256(json.dumps([*tests, *files]).encode())
    for path in [*(root / file for file in files), *sorted((root / "tests").rglob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _measured(tests: Sequence[str], files: Sequence[str], root: Path, folder: Path) -> Reach:
    from coverage import Coverage

    settings = folder / "settings.ini"
    included = "\n".join(f"    {root / file}" for file in files)
    settings.write_text(_SETTINGS.format(files=included, folder=folder), encoding="utf-8")
    for old in folder.glob("coverage.*.*"):
        old.unlink()
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    # A test's processes read their context from their surroundings, where this module's hooks put it.
    surroundings = os.environ | {
        "COVERAGE_PROCESS_START": str(settings),
        "PICTUREBOOK_TEST": IMPORTING,
        "PICTUREBOOK_SECONDS": str(folder / "seconds.json"),
        "PYTHONPATH": here,
    }
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-p", "reach", "-x", *tests]
    subprocess.run(command, cwd=root, env=surroundings, check=True)
    coverage = Coverage(config_file=str(settings))
    coverage.combine([str(folder)], keep=False)
    coverage.json_report(outfile=str(folder / "report.json"), show_contexts=True)
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))["files"]
    report = {str(Path(file).resolve().relative_to(root.resolve())): found for file, found in told.items()}
    return Reach(
        {file: {int(line): names for line, names in found["contexts"].items()} for file, found in report.items()},
        json.loads((folder / "seconds.json").read_text(encoding="utf-8")),
        {file: {name: found["summary"][name] for name in _COUNTED} for file, found in report.items()},
    )


_COUNTED = ("num_statements", "covered_lines", "num_branches", "covered_branches")

# ---- what pytest calls, in the process that is measured ----------------------------------------------------------------------

_seconds: dict[str, float] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    from coverage import Coverage

    measuring = Coverage.current()
    assert measuring is not None
    os.environ["PICTUREBOOK_TEST"] = item.nodeid + ELSEWHERE
    measuring.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        measuring.switch_context(IMPORTING)
        os.environ["PICTUREBOOK_TEST"] = IMPORTING


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = round(_seconds.get(report.nodeid, 0.0) + report.duration, 4)


def pytest_sessionfinish() -> None:
    Path(os.environ["PICTUREBOOK_SECONDS"]).write_text(json.dumps(_seconds), encoding="utf-8")
