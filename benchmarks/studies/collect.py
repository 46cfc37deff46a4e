"""docs/results.md, docs/results.json and their plots, from the results that studies left.

    python benchmarks/studies/collect.py        # from the repository's root, after or during `picturebook compare`

A study is a STUDY.toml beside this file with the records that its cells left in kept/, or the ground study's one file a run.
Nothing is typed in by hand.
"""

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ground import ARMS, FAMILIES, RESULTS

from picturebook.report.study_content import CLAIM, ContrastRow
from picturebook.report.study_plots import forest_plot
from picturebook.statistics import paired_t
from picturebook.study.command import compare
from picturebook.types import Silence

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
MARGIN = 0.3
ARM_FIELDS = ("study", "data", "family", "setting", "arm", "mean", "sd", "n", "seconds", "commit")
CONTRAST_FIELDS = (
    "study", "data", "family", "setting", "contrast", "mean", "low", "high", "n", "p", "audit", "command", "commit",
)  # fmt: skip
INTRODUCTION = f"""# Results

Made by `python benchmarks/studies/collect.py` from the runs' stored results. Accuracies are in points, of the last epoch, on
test pictures. Under {CLAIM} seeds nothing is claimed. An interval is the wider of Student's t over seeds and a paired bootstrap
over test pictures by group; the ground study, whose runs kept no predictions, has the first alone. *audit*: the worse verdict of
the two arms' teachers ([audit.md](audit.md)); of the ground study's, which were not audited, WARN where they read words."""
GROUND_COMMAND = "python benchmarks/studies/ground.py run --data data/emoji64 --work DIR"
GROUND_CONTRASTS = [
    ("born_again", "supervised"),
    *((f"{setting}-{head}", f"{setting}-linear") for setting in ("paper", "pretrained") for head in ("learned", "bank", "own")),
    ("paper-linear", "born_again"),
    ("paper-own", "born_again"),
    ("pretrained-linear", "born_again"),
]


def ground() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Arms and contrasts of the ground study. Its runs were made before teachers were audited, so what reads words has WARN."""
    arms, contrasts = [], []
    for family in FAMILIES:
        cells = {arm: _ground_cells(family, arm) for arm in ARMS}
        for arm, runs in cells.items():
            if runs:
                values = [100 * run["models"]["student"]["test"]["accuracy"] for run in runs.values()]
                named = _ground_name(family, arm) | {"arm": arm, "mean": mean(values), "n": len(values)}
                seconds = mean(sum(run["seconds"].values()) for run in runs.values())
                spread = stdev(values) if len(values) > 1 else None
                arms.append(named | {"sd": spread, "seconds": seconds, "commit": _commits(runs.values())})
        for a, b in GROUND_CONTRASTS:
            seeds = sorted(cells[a].keys() & cells[b].keys())
            if len(seeds) > 1:
                contrasts.append(_ground_contrast(family, a, b, cells, seeds))
    return arms, contrasts


def _ground_cells(family: str, arm: str) -> dict[int, dict[str, Any]]:
    return {run["seed"]: run for run in (json.loads(path.read_text()) for path in (RESULTS / family / arm).glob("seed*.json"))}


def _ground_name(family: str, arm: str) -> dict[str, Any]:
    setting = arm.partition("-")[0] if "-" in arm else "none"
    return {"study": "ground", "data": "emoji64", "family": family, "setting": setting}


def _ground_contrast(
    family: str, a: str, b: str, cells: dict[str, dict[int, dict[str, Any]]], seeds: list[int]
) -> dict[str, Any]:
    pairs = [[100 * cells[arm][seed]["models"]["student"]["test"]["accuracy"] for seed in seeds] for arm in (a, b)]
    test = paired_t(*pairs)
    reads = any(arm.endswith(("-bank", "-own")) for arm in (a, b))
    runs = [[seed, first - second] for seed, first, second in zip(seeds, *pairs, strict=True)]
    commit = _commits(cells[arm][seed] for arm in (a, b) for seed in seeds)
    return _ground_name(family, a) | {
        "contrast": f"{a} - {b}", "a": a, "b": b, "mean": test.mean, "low": test.low, "high": test.high, "n": test.n, "p": test.p,
        "audit": "WARN" if reads else "PASS", "interval": "seeds", "command": GROUND_COMMAND, "commit": commit, "runs": runs,
    }  # fmt: skip


def _commits(runs: Iterable[dict[str, Any]]) -> str:
    return ", ".join(sorted({run["commit"] for run in runs}))


def studies() -> Iterator[dict[str, Any]]:
    """Results of every study that has a record, seen as they stand."""
    for path in sorted(HERE.glob("*.toml")):
        settings = tomllib.loads(path.read_text())
        if "arms" in settings and any(Path(settings["keep"]).rglob("*.json")):
            compare(path.relative_to(Path.cwd()), reporter=Silence(), so_far=True)
            yield json.loads((Path(settings["out"]) / "results.json").read_text())


def page(arms: list[dict[str, Any]], contrasts: list[dict[str, Any]], plots: Callable[[str], str | None]) -> str:
    """docs/results.md."""
    lines = [INTRODUCTION]
    studies = list(dict.fromkeys((one["study"], one["family"]) for one in arms))
    for study, family in studies:
        title = f"{study}, {family}"
        lines += ["", f"## {title}", "", "| setting | arm | n | accuracy (sd) | seconds | commit |", "|---|---|--:|--:|--:|---|"]
        for one in _of(arms, study, family):
            spread = "" if one["sd"] is None else f" ({one['sd']:.1f})"
            seconds = "–" if one["seconds"] is None else f"{one['seconds']:.0f}"
            setting = one["setting"] or "–"
            lines.append(f"| {setting} | {one['arm']} | {one['n']} | {one['mean']:.1f}{spread} | {seconds} | {one['commit']} |")
        found = _of(contrasts, study, family)
        if found:
            lines += ["", "| setting | contrast | n | difference | 95 % interval | p | audit |", "|---|---|--:|--:|--:|--:|---|"]
            lines += [_contrast_line(one) for one in found]
            lines += ["", f"Command: `{found[0]['command']}`."]
            if plot := plots(title):
                lines += ["", f"![{title}: differences with intervals]({plot})"]
    return "\n".join(lines) + "\n"


def _of(rows: list[dict[str, Any]], study: str, family: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["study"], row["family"]) == (study, family) and row["mean"] is not None]


def _contrast_line(one: dict[str, Any]) -> str:
    interval = "–" if one["low"] is None else f"{one['low']:+.1f} … {one['high']:+.1f}"
    p = "–" if one["p"] is None else f"{one['p']:.3f}"
    number = str(one["n"]) if one["n"] >= CLAIM else f"{one['n']} (no claim)"
    cells = (one["setting"] or "–", one["contrast"], number, f"{one['mean']:+.1f}", interval, p, one["audit"] or "–")
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    arms, contrasts = ground()
    for study in studies():
        arms += [one for one in study["arms"] if one["mean"] is not None]
        contrasts += [one for one in study["contrasts"] if one["mean"] is not None]
    (DOCS / "results").mkdir(exist_ok=True)

    def plot(title: str) -> str | None:
        study, family = title.split(", ")
        rows = [
            ContrastRow(
                a=one["a"], b=one["b"], runs=tuple(map(tuple, one["runs"])), mean=one["mean"], low=one["low"], high=one["high"]
            )
            for one in _of(contrasts, study, family)
        ]
        file = DOCS / "results" / f"{study}_{family}.svg"
        svg = forest_plot(rows, margin=MARGIN, name=f"{study}-{family}")
        file.write_text(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) if "xmlns=" not in svg else svg)
        return f"results/{file.name}"

    (DOCS / "results.md").write_text(page(arms, contrasts, plot))
    public = {
        "contrasts": [{field: one.get(field) for field in CONTRAST_FIELDS} for one in contrasts],
        "arms": [{field: one.get(field) for field in ARM_FIELDS} for one in arms],
    }
    (DOCS / "results.json").write_text(json.dumps(public, indent=1, ensure_ascii=False) + "\n")
    print((DOCS / "results.md").read_text())


if __name__ == "__main__":
    main()
