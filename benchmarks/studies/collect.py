"""docs/results.md, docs/results.json and their plots, from the results that studies left.

    python benchmarks/studies/collect.py        # from the repository's root, after or during `picturebook compare`

A study is a STUDY.toml beside this file with the records that its cells left in kept/, or the ground study's one file a run.
Nothing is typed in by hand.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import field_levels
from ground import ARMS, FAMILIES, NUM_SEEDS
from results_page import Collected, Row, page

from picturebook.recipes.encoders import TRAIN
from picturebook.recipes.options import RecipeOptions
from picturebook.report.study_content import CLAIM, ContrastRow
from picturebook.report.study_plots import forest_plot
from picturebook.statistics import paired_t
from picturebook.study.answers import worst_verdict
from picturebook.study.budgets import teaching_seconds
from picturebook.study.cells import Plan
from picturebook.study.command import compare
from picturebook.study.settings import load_study
from picturebook.types import Silence

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
MARGIN = 0.3
ARM_FIELDS = (
    "study", "data", "family", "setting", "arm", "mean", "sd", "n", "seconds", "commit", "nll", "ece", "teacher_seconds",
    "budget", "marks",
)  # fmt: skip
CONTRAST_FIELDS = (
    "study", "data", "family", "setting", "contrast", "mean", "low", "high", "n", "p", "audit", "command", "commit", "p_holm",
    "p_equivalence", "reading", "marks",
)  # fmt: skip
NO_SETTING = "none"
"""Of an arm without a teacher that has weights of its own."""
GROUND_COMMAND = "python benchmarks/studies/ground.py run --data data/emoji64 --work DIR"
GROUND_CONTRASTS = [
    ("born_again", "supervised"),
    *((f"{setting}-{head}", f"{setting}-linear") for setting in ("paper", "pretrained") for head in ("learned", "bank", "own")),
    ("paper-linear", "born_again"),
    ("paper-own", "born_again"),
    ("pretrained-linear", "born_again"),
]
Runs = dict[int, dict[str, Any]]
"""The ground study's results of an arm, by seed."""


def ground(folder: Path) -> Collected:
    """The ground study. Its runs were made before teachers were audited, so what reads words has WARN."""
    found = Collected()
    for family in FAMILIES:
        cells = {arm: _ground_cells(folder / family / arm) for arm in ARMS}
        found.arms += [_ground_arm(family, arm, cells) for arm in ARMS if cells[arm]]
        for a, b in GROUND_CONTRASTS:
            seeds = sorted(cells[a].keys() & cells[b].keys())
            if len(seeds) > 1:
                found.contrasts.append(_ground_contrast(family, a, b, cells, seeds))
    return found


def _ground_cells(folder: Path) -> Runs:
    return {run["seed"]: run for run in (json.loads(path.read_text()) for path in sorted(folder.glob("seed*.json")))}


def _ground_name(family: str, arm: str) -> Row:
    setting = arm.partition("-")[0] if "-" in arm else NO_SETTING
    return {"study": "ground", "data": "emoji64", "family": family, "setting": setting}


def _ground_arm(family: str, arm: str, cells: dict[str, Runs]) -> Row:
    runs = cells[arm].values()
    tests = [run["models"]["student"]["test"] for run in runs]
    values = [100 * test["accuracy"] for test in tests]
    taught = [seconds for run in runs if (seconds := _ground_teaching(run, cells["supervised"])) is not None]
    return _ground_name(family, arm) | {
        "arm": arm, "mean": mean(values), "sd": stdev(values) if len(values) > 1 else None, "n": len(values),
        "seconds": mean(sum(run["seconds"].values()) for run in runs), "commit": _commits(runs),
        "nll": mean(test["nll"] for test in tests), "ece": 100 * mean(test["ece"] for test in tests),
        "teacher_seconds": mean(taught) if taught else None, "budget": {}, "budget_differences": (), "marks": (),
    }  # fmt: skip


def _ground_teaching(run: dict[str, Any], supervised: Runs) -> float | None:
    """Seconds of what taught a run's student; None where its teacher was another run whose result is not there."""
    if run["arm"] == "supervised" or run["arm"].startswith("pretrained-"):
        return teaching_seconds(run["seconds"], [])
    teacher = supervised.get((run["seed"] + 1) % NUM_SEEDS)
    return None if teacher is None else teaching_seconds(run["seconds"], [teacher["seconds"]])


def _ground_contrast(family: str, a: str, b: str, cells: dict[str, Runs], seeds: list[int]) -> Row:
    pairs = [[100 * cells[arm][seed]["models"]["student"]["test"]["accuracy"] for seed in seeds] for arm in (a, b)]
    test = paired_t(*pairs)
    reads = any(arm.endswith(("-bank", "-own")) for arm in (a, b))
    runs = [[seed, first - second] for seed, first, second in zip(seeds, *pairs, strict=True)]
    commit = _commits(cells[arm][seed] for arm in (a, b) for seed in seeds)
    return _ground_name(family, a) | {
        "contrast": f"{a} - {b}", "a": a, "b": b, "mean": test.mean, "low": test.low, "high": test.high, "n": test.n, "p": test.p,
        "audit": "WARN" if reads else "PASS", "command": GROUND_COMMAND, "commit": commit, "runs": runs, "p_holm": None,
        "p_equivalence": None, "reading": "" if test.n >= CLAIM else f"no claim under {CLAIM} seeds", "marks": (),
    }  # fmt: skip


def _commits(runs: Iterable[dict[str, Any]]) -> str:
    return ", ".join(sorted({run["commit"] for run in runs}))


def studies(folder: Path) -> Iterator[Collected]:
    """Every study that has a record, seen as it stands."""
    for path in sorted(folder.glob("*.toml")):
        settings = tomllib.loads(path.read_text())
        if "arms" in settings and any(Path(settings["keep"]).rglob("*.json")):
            source = path.relative_to(Path.cwd())
            record = compare(source, reporter=Silence(), so_far=True).record
            yield _study(Plan(load_study(source), str(source)), record)


def _study(plan: Plan, record: dict[str, Any]) -> Collected:
    arms = [one | {"setting": one["setting"] or _setting(plan, one["arm"])} for one in record["arms"]]
    settings = {one["arm"]: one["setting"] for one in arms}
    verdicts = {one["arm"]: _verdict(plan, one) for one in arms}
    contrasts = []
    for one in record["contrasts"]:
        own = [settings[arm] for arm in (one["a"], one["b"])]
        audit = worst_verdict([one["audit"], verdicts[one["a"]], verdicts[one["b"]]])
        contrasts.append(one | {"setting": next((each for each in own if each != NO_SETTING), NO_SETTING), "audit": audit})
    found = Collected(*([one for one in rows if one["mean"] is not None] for rows in (arms, contrasts)))
    if plan.options.labels.study == "field":
        named = {name: arms[0][name] for name in ("study", "data", "family")}
        measured = field_levels.read(plan)
        found.levels = [named | asdict(level) for level in field_levels.levels(measured)]
        found.beside = [named | row for row in field_levels.beside(measured)]
    return found


def _setting(plan: Plan, arm: str) -> str:
    """Where an arm's teacher has its image encoder from, of a study that does not say it of all."""
    cell = plan.cell(arm, plan.options.seeds[0])
    encoder = getattr(getattr(cell.options, "teacher", None), "image_encoder", None)
    if encoder is None:
        return NO_SETTING
    return "paper" if encoder == TRAIN or Path(encoder) in [plan.folder(*need) for need in cell.needs] else "pretrained"


def _verdict(plan: Plan, arm: Row) -> str:
    """An arm's audit, but at least WARN where it, or a run that taught it, reads words that no audit looked at; else PASS."""
    *teachers, own = (cell.options for cell in plan.ordered([plan.cell(arm["arm"], plan.options.seeds[0])]))
    unaudited = _reads(own, "alignment_text") or _reads(own, "smoothing_text") or (arm["audit"] is None and _reads(own, "text"))
    unaudited |= any(_reads(options, words) for options in teachers for words in ("text", "alignment_text"))
    return worst_verdict([arm["audit"], "WARN" if unaudited else "PASS"]) or "PASS"


def _reads(options: RecipeOptions, words: str) -> bool:
    return getattr(getattr(options, words, None), "source", "none") != "none"


def _draw(contrasts: list[Row], file: Path) -> None:
    """Write the plot of a study's contrasts."""
    rows = [
        ContrastRow(one["a"], one["b"], tuple(map(tuple, one["runs"])), mean=one["mean"], low=one["low"], high=one["high"])
        for one in contrasts
    ]
    svg = forest_plot(rows, margin=MARGIN, name=file.stem.replace("_", "-"))
    file.write_text(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) if "xmlns=" not in svg else svg)


def main(folder: Path = HERE, docs: Path = DOCS) -> None:
    found = ground(folder / "ground")
    for study in studies(folder):
        for name, rows in asdict(study).items():
            getattr(found, name).extend(rows)
    (docs / "results").mkdir(exist_ok=True)

    def plot(study: str, family: str) -> str:
        file = docs / "results" / f"{study}_{family}.svg"
        _draw([one for one in found.contrasts if (one["study"], one["family"]) == (study, family)], file)
        return f"results/{file.name}"

    (docs / "results.md").write_text(page(found, plot))
    public = {
        "contrasts": [{name: one[name] for name in CONTRAST_FIELDS} for one in found.contrasts],
        "arms": [{name: one[name] for name in ARM_FIELDS} for one in found.arms],
        "levels": found.levels,
        "beside": found.beside,
    }
    (docs / "results.json").write_text(json.dumps(public, indent=1, ensure_ascii=False) + "\n")
    print((docs / "results.md").read_text())


if __name__ == "__main__":
    main()
