"""The studies that are kept with the project can be run: every setting of every arm is read."""

import subprocess
from pathlib import Path

import pytest

from picturebook.study.cells import Plan
from picturebook.study.settings import load_study

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
FILES = sorted(path for path in STUDIES.glob("*.toml") if path.stem != "ground")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_of_ours_can_be_run(path: Path) -> None:
    options = load_study(path)
    cells = Plan(options, str(path)).cells()
    assert {(cell.arm, cell.seed) for cell in cells} >= {(arm, seed) for arm in options.arms for seed in options.seeds_of(arm)}
    assert all(len(options.seeds_of(arm)) >= 1 for arm in options.arms)
    assert {cell.options.out for cell in cells} == {str(cell.folder) for cell in cells}
    assert options.labels.family in {"resnet", "vit"}
    assert options.out == f"runs/studies/{path.stem}"


def test_what_a_study_keeps_is_seen_by_git() -> None:
    """Records that git ignores stay on one machine, and the study begins anew on the next."""
    root = STUDIES.parents[1]
    kept = [f"{load_study(path).keep}/runs/arm/seed-0.json" for path in FILES]
    done = subprocess.run(["git", "check-ignore", *kept], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == ""
