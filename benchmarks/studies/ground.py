"""The ground study: supervised, born again, distilled and image-text students on emoji64, through the command line.

    python benchmarks/studies/ground.py run --data DIR/emoji64 --work DIR --families resnet --seeds 0 1 2 3 4 --jobs 2
    python benchmarks/studies/ground.py table

`run` starts one `picturebook train` a cell (arm x seed), one thread each, skips cells whose result is there, and writes one small
JSON file a cell to benchmarks/studies/ground/. `table` prints means over seeds from those files and rewrites ground.md.

Two settings, never mixed. *paper*: the teacher's image encoder has the student's architecture and was trained on the same rows,
the supervised run of the next seed. *pretrained*: EfficientNet-Lite0 with ImageNet weights, 64 px views enlarged to 128 px.
ResNets ran in bf16, on processors with AMX; ViTs in fp32, which is the faster one without it.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import tomlkit

HERE = Path(__file__).parent
RESULTS = HERE / "ground"
NUM_SEEDS = 5
VIT_ARGS = {
    "img_size": 64, "patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 3, "class_token": False, "global_pool": "avg",
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet": {"model": "resnet10t", "model_args": {"channels": [16, 32, 64, 128]}, "learning_rate": 3e-3},
    "vit": {"model": "vit_tiny_patch16_224", "model_args": VIT_ARGS, "learning_rate": 1e-3, "precision": "fp32"},
}
CAPTIONS = {"source": "column", "column": "masked_text", "kind": "label_blind"}
TEXT_ENCODER = "package:all-MiniLM-L6-v2"
HEADS: dict[str, dict[str, Any]] = {
    "linear": {"recipe": "distil"},
    "learned": {"recipe": "image_text", "text": {"source": "none"}},
    "bank": {"recipe": "image_text", "text": {"source": "classes"}},
    "own": {"recipe": "image_text", "text": CAPTIONS},
}
ARMS = ["supervised", "born_again", *(f"{setting}-{head}" for setting in ("paper", "pretrained") for head in HEADS)]


@dataclass(frozen=True, slots=True)
class Cell:
    family: str
    arm: str
    seed: int

    @property
    def result(self) -> Path:
        return RESULTS / self.family / self.arm / f"seed{self.seed}.json"

    def run(self, work: Path) -> Path:
        return work / self.family / self.arm / f"seed{self.seed}"


def settings(cell: Cell, data: Path, work: Path) -> dict[str, Any]:
    """The cell's RUN.toml."""
    base = tomllib.loads((HERE / "ground.toml").read_text())
    family = dict(FAMILIES[cell.family])
    base["train"]["learning_rate"] = family.pop("learning_rate")
    base["precision"] = family.pop("precision", "auto")
    base["student"] |= family
    base["data"]["root"] = str(data)
    base |= {"seed": cell.seed, "out": str(cell.run(work)), "cache": str(work / "cache")}
    next_seed = str(Cell(cell.family, "supervised", (cell.seed + 1) % NUM_SEEDS).run(work))
    if cell.arm in ("supervised", "born_again"):
        teacher = {"teacher": {"run": next_seed}} if cell.arm == "born_again" else {}
        return {"recipe": cell.arm} | base | teacher
    setting, head = cell.arm.split("-")
    teacher = (
        {"image_encoder": next_seed} if setting == "paper" else {"image_encoder": "package:efficientnet-lite0", "image_size": 128}
    )
    if HEADS[head]["recipe"] == "image_text":
        teacher |= {"head": {"mode": head}, "text_encoder": TEXT_ENCODER}
    return base | HEADS[head] | {"teacher": teacher}


def run_cell(cell: Cell, data: Path, work: Path, commit: str) -> str:
    """Train one cell in its own process, if its result is not there yet; a supervised run is needed itself too, as a teacher."""
    known = cell.result.is_file()
    if known and (cell.arm != "supervised" or (cell.run(work) / "results.json").is_file()):
        return f"{cell.family} {cell.arm} seed {cell.seed}: there already"
    file = cell.run(work).with_suffix(".toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(tomlkit.dumps(settings(cell, data, work)))
    command = [sys.executable, "-m", "picturebook", "train", str(file), "--resume"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{cell.family} {cell.arm} seed {cell.seed}: FAILED\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    result = small(json.loads((cell.run(work) / "results.json").read_text()))
    if not known:  # a teacher that was made again gives the numbers of another processor, not other ones to report
        cell.result.parent.mkdir(parents=True, exist_ok=True)
        cell.result.write_text(
            json.dumps({"commit": commit, "family": cell.family, "arm": cell.arm, "seed": cell.seed} | result, indent=1) + "\n"
        )
    return f"{cell.family} {cell.arm} seed {cell.seed}: test {100 * result['models']['student']['test']['accuracy']:.1f} %"


def small(results: dict[str, Any]) -> dict[str, Any]:
    """Results without confusion matrices."""
    for splits in results["models"].values():
        for numbers in splits.values():
            numbers.pop("confusion")
    return results


def run(arguments: argparse.Namespace) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for group in groups(arguments.families, arguments.seeds):
            for line in pool.map(lambda cell: run_cell(cell, arguments.data, arguments.work, commit), group):
                print(line, flush=True)


def groups(families: list[str], seeds: list[int]) -> Iterator[list[Cell]]:
    """Cells in the order in which they can run: a seed's others learn from the supervised run of the next seed."""
    for family in families:
        teachers = [Cell(family, "supervised", (seed + 1) % NUM_SEEDS) for seed in seeds]
        own = [Cell(family, "supervised", seed) for seed in seeds]
        yield list(dict.fromkeys([*teachers, *(cell for cell in own if not cell.result.is_file())]))
        yield [Cell(family, arm, seed) for seed in seeds for arm in ARMS if arm != "supervised"]


def table(arguments: argparse.Namespace) -> None:
    lines = [
        "| family | arm | n | student test % (sd) | student val % (sd) | NLL | ECE % | teacher test % | seconds |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for family in FAMILIES:
        for arm in ARMS:
            cells = [json.loads(path.read_text()) for path in sorted((RESULTS / family / arm).glob("seed*.json"))]
            if cells:
                lines.append(f"| {family} | {arm} | {len(cells)} | " + " | ".join(row(cells)) + " |")
    commits = sorted({json.loads(path.read_text())["commit"] for path in RESULTS.rglob("seed*.json")})
    text = "\n".join([*lines, "", f"Commits: {', '.join(commits)}. Command: `python benchmarks/studies/ground.py table`."]) + "\n"
    (HERE / "ground.md").write_text(text)
    print(text)


def row(cells: list[dict[str, Any]]) -> list[str]:
    def values(model: str, split: str, measure: str) -> list[float]:
        return [100 * cell["models"][model][split][measure] for cell in cells]

    teachers = [name for name in cells[0]["models"] if name.startswith(("teacher", "generation 0"))]
    return [
        spread(values("student", "test", "accuracy")),
        spread(values("student", "val", "accuracy")),
        f"{mean(values('student', 'test', 'nll')) / 100:.3f}",
        f"{mean(values('student', 'test', 'ece')):.1f}",
        f"{mean(values(teachers[0], 'test', 'accuracy')):.1f}{'*' if 'words' in teachers[0] else ''}" if teachers else "",
        f"{mean(sum(cell['seconds'].values()) for cell in cells):.0f}",
    ]


def spread(values: list[float]) -> str:
    return f"{mean(values):.1f} ({stdev(values):.1f})" if len(values) > 1 else f"{values[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runner = commands.add_parser("run")
    runner.add_argument("--data", type=Path, required=True)
    runner.add_argument("--work", type=Path, required=True)
    runner.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    runner.add_argument("--seeds", nargs="+", type=int, default=list(range(NUM_SEEDS)))
    runner.add_argument("--jobs", type=int, default=2)
    runner.set_defaults(call=run)
    commands.add_parser("table").set_defaults(call=table)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
