"""docs/scaling.md: python benchmarks/scaling/run.py [--tables] [--minutes M]

Measures the points of POINTS that results/points.jsonl lacks, smallest first, each in a process of its own, and writes the page
from all that are there. A point is a line, kept as soon as it is measured, with its commit: run it again and it goes on. A line
that is removed is measured anew. `--tables` measures nothing; `--minutes` begins no point after so many.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import page
import points
import torch

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "points.jsonl"
POINTS = [
    *[(part, rows, 10, 1) for rows in (1_000, 10_000, 100_000) for part in ("sampling", "tar", "parquet")],
    *[
        ("targets", rows, classes, processes)
        for rows in (1_000, 10_000, 100_000)
        for classes in (10, 100, 1_000, 10_000)
        for processes in (1, 2)
    ],
    ("sampling", 1_300_000, 10, 2),
    ("sampling", 1_300_000, 10, 1),
]
"""(part, rows, classes, processes)."""


def measured() -> dict[tuple[str, int, int, int], dict[str, Any]]:
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    found = [json.loads(line) for line in lines]
    return {(one["part"], one["rows"], one["classes"], one["processes"]): one for one in found}


def commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--minutes", type=float, default=15.0)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    torch.set_num_threads(1)  # and before any other work, since a fork has none of its parent's threads
    if not options.tables:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="picturebook-scaling-") as folder:
            for point in sorted(dict.fromkeys(POINTS), key=lambda point: point[1] * point[2]):
                if point in measured() or time.monotonic() > end:
                    continue
                names = dict(zip(("part", "rows", "classes", "processes"), point, strict=True))
                if point[0] in ("tar", "parquet"):
                    points.measure("data", *point[1:], Path(folder))
                line = json.dumps({**names, **points.measure(*point, Path(folder)), "commit": commit()})
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                print(line, flush=True)
    (ROOT / "docs" / "scaling.md").write_text(page.page(measured(), POINTS), encoding="utf-8")


if __name__ == "__main__":
    main()
