"""Put a sample of small wrong changes before the tests that reach them, and count those that no test notices.

build/mutants keeps what the tests reach and how each mutant ended, a line each: started again, only those are tried that have not
ended, or that survived other tests.
"""

import argparse
import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import paths  # isort: skip - it tells where the next ones are
import torch
from mutant_trials import Mutant, Surroundings, draw, ends
from reach import Reach, reach

GROUPS = {
    "losses": ["losses/*.py"],
    "views": ["data/view*.py", "data/counter.py", "data/mixing.py", "data/multi_crop.py"],
    "stores": ["stores/*.py"],
    "audit": ["audit/*.py"],
    "statistics": ["statistics.py", "permutation.py", "metrics.py"],
}
TESTS = [
    "losses",
    *("data/test_counter.py", "data/test_mixing.py", "data/test_multi_crop.py"),
    *("data/test_view_colour.py", "data/test_view_filters.py", "data/test_view_geometry.py", "data/test_view_strong.py"),
    *(
        "data/test_views.py",
        "data/test_view_options.py",
        "data/test_view_places.py",
        "data/test_view_settings.py",
        "stores",
        "audit",
        "test_statistics.py",
        "test_permutation.py",
        "test_metrics.py",
    ),
]
SURVIVORS = Path(__file__).with_name("survivors.toml")
PRELOADED = (
    *(
        "torch",
        "numpy",
        "scipy.stats",
        "sklearn.linear_model",
        "sklearn.feature_extraction.text",
        "hypothesis",
        "pydantic",
        "rich",
    ),
    *("datasets", "timm", "sentence_transformers", "accelerate", "torchmetrics.functional.classification", "typer", "tomlkit"),
)
SHARED = ("picturebook.config", "picturebook.cli", "picturebook.demo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=paths.ROOT / "build" / "mutants", help="folder for what is found on the way")
    parser.add_argument("--num", type=int, default=320)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = options.work.resolve()
    package = paths.ROOT / "src" / "picturebook"
    files = {str(path.relative_to(paths.ROOT)): group for group, path in _files(package)}
    found = reach([f"tests/{name}" for name in TESTS], list(files), root=paths.ROOT, folder=work)
    mutants, population = draw(paths.ROOT, list(files), found, num=options.num, seed=options.seed)
    where = Surroundings(paths.ROOT, "src", work / "trials", PRELOADED, SHARED, "picturebook,beartype.beartype")
    ended = _tried(mutants, where, work / "ended.jsonl", jobs=options.jobs)
    summary = _summary(mutants, ended, files) | _covered(found, files)
    paths.keep("mutation", summary | {"population": population, "seed": options.seed})


def _files(package: Path) -> list[tuple[str, Path]]:
    return [(group, path) for group, patterns in GROUPS.items() for pattern in patterns for path in sorted(package.glob(pattern))]


def _tried(mutants: list[Mutant], where: Surroundings, kept: Path, *, jobs: int) -> dict[str, str]:
    """How each mutant ended, by the digest of its text."""
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.is_file() else []
    before = {line["digest"]: (line["end"], line["tests"]) for line in lines}
    ended = {
        mutant.digest: before[mutant.digest][0]
        for mutant in mutants
        if mutant.digest in before and (before[mutant.digest][0] != "survived" or before[mutant.digest][1] == list(mutant.tests))
    }
    waiting = [mutant for mutant in mutants if mutant.digest not in ended]
    with kept.open("a", encoding="utf-8") as file:
        for number, (mutant, end, seconds) in enumerate(ends(waiting, where, jobs=jobs), 1):
            ended[mutant.digest] = end
            told = {"key": mutant.key, "end": end, "digest": mutant.digest, "tests": mutant.tests, "seconds": round(seconds, 1)}
            print(json.dumps(told), file=file, flush=True)
            print(f"{number}/{len(waiting)} {seconds:.1f} s {end}: {' | '.join(mutant.key)}", flush=True)
    return ended


def _summary(mutants: list[Mutant], ended: dict[str, str], files: dict[str, str]) -> dict[str, Any]:
    explained = {
        (one["file"], one["function"], one["change"]): one["reason"]
        for one in tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("survivor", [])
    }
    survivors = [mutant for mutant in mutants if ended[mutant.digest] == "survived"]
    return {
        "mutants": len(mutants),
        "timed_out": sum(ended[mutant.digest] == "timed out" for mutant in mutants),
        "survivors": len(survivors),
        "unexplained": sum(mutant.key not in explained for mutant in survivors),
        "by_group": dict(Counter(files[mutant.file] for mutant in mutants)),
        "by_kind": dict(Counter(mutant.mutation.kind for mutant in mutants).most_common()),
        "survived": [
            {"file": mutant.file, "function": mutant.mutation.function, "line": mutant.mutation.lines[0]}
            | {"change": mutant.mutation.change, "reason": explained.get(mutant.key)}
            for mutant in sorted(survivors, key=lambda mutant: (mutant.file, mutant.mutation.lines))
        ],
    }


def _covered(found: Reach, files: dict[str, str]) -> dict[str, Any]:
    """Percent of branches and of statements, over all files and for each group."""

    def percent(part: str, whole: str, group: str | None = None) -> float:
        chosen = [counts for file, counts in found.coverage.items() if group in (None, files[file])]
        return round(100 * sum(one[part] for one in chosen) / max(sum(one[whole] for one in chosen), 1), 1)

    branches, statements = ("covered_branches", "num_branches"), ("covered_lines", "num_statements")
    return {
        "branch": percent(*branches),
        "statement": percent(*statements),
        "branch_by_group": {group: percent(*branches, group) for group in GROUPS},
    }


if __name__ == "__main__":
    main()
