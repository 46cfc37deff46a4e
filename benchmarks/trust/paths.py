"""Where the long forms find the harness that the tests share, and where their numbers go."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "trust" / "results"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "trust")]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a child of a fork has none of its parent's threads
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def keep(name: str, found: dict[str, Any]) -> None:
    """Write what a long form found, with the commit that it looked at."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found | {"commit": commit()}, indent=1) + "\n", encoding="utf-8")


def commit() -> str:
    """The checkout's commit, with "-dirty" where files differ from it but for results and docs."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    looked_at = (".", ":!benchmarks/*/results/*", ":!benchmarks/*/*.json", ":!docs")
    return head + "-dirty" * subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *looked_at], check=False).returncode
