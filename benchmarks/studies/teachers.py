"""The teacher side of the ladder: what each form of words makes of the same stored image tokens, before any student.

    python benchmarks/studies/teachers.py --data DIR/emoji64 --cache DIR --seeds 0 1 2 --shares 1 0.25

Every teacher has out-of-fold, calibrated heads on EfficientNet-Lite0's tokens (ImageNet weights, 32 px views enlarged to 128 px),
as in the studies, and its heads take as many steps as 10 epochs of all labels where the name says nothing else. Numbers are
on the validation pictures of the seed's fold; the table goes to teachers.md, one JSON line a teacher, share of labels and seed
to teachers.jsonl, and those that are there already are left out. The test pictures are not looked at.
"""

import argparse
import json
import subprocess
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from picturebook.config import parse_options
from picturebook.engine import build_accelerator
from picturebook.evaluate import evaluate_rows
from picturebook.recipes import image_text
from picturebook.recipes.encoders import teacher_logits
from picturebook.recipes.head_teacher import live_teacher
from picturebook.recipes.stages import Stages
from picturebook.runs import RunFolder
from picturebook.types import Silence

HERE = Path(__file__).parent
RESULTS = HERE / "teachers.jsonl"
DESCRIPTIONS = {"source": "descriptions", "descriptions": str(HERE.parent / "data" / "descriptions" / "emoji64.json")}
CAPTIONS = {"source": "column", "column": "masked_text", "kind": "label_blind", "mask_class_words": True}
SAID = DESCRIPTIONS | {"with_names": True}
NO_WORDS = {"source": "none"}


def bank(**text: Any) -> dict[str, Any]:
    return {"text": text, "teacher": {"head": {"mode": "bank"}}}


def own(text: dict[str, Any], **teacher: Any) -> dict[str, Any]:
    return {"text": text, "teacher": {"head": {"mode": "own"}} | teacher}


RESIDUAL = {"mode": "own", "residual": True}
EPOCHS, FOLDS = 10, 4
TEACHERS: dict[str, dict[str, Any]] = {
    "linear (A3)": {"text": NO_WORDS, "teacher": {"head": {"mode": "linear"}}},
    "linear, three times the steps": {"text": NO_WORDS, "teacher": {"head": {"mode": "linear"}, "train": {"epochs": 3 * EPOCHS}}},
    "learned queries (A4)": {"text": NO_WORDS, "teacher": {"head": {"mode": "learned"}}},
    "bank, names permuted (A5)": bank(source="classes", control="permuted_bank"),
    "bank, names (A6)": bank(source="classes"),
    "bank, names, per-class weights": {
        "text": {"source": "classes"},
        "teacher": {"head": {"mode": "bank", "scorer": "per_class"}},
    },
    "bank, random words for descriptions (A7)": bank(**DESCRIPTIONS, control="random_words"),
    "bank, descriptions (A8)": bank(**DESCRIPTIONS),
    "bank, descriptions, each a query": bank(**DESCRIPTIONS, queries="sentences"),
    "bank, descriptions and names": bank(**DESCRIPTIONS, with_names=True),
    "bank, names × linear": bank(source="classes") | {"teacher": {"head": {"mode": "bank"}, "partner": "linear"}},
    "own captions": own(CAPTIONS),
    "own captions, residual": own(CAPTIONS, head=RESIDUAL),
    "own captions, residual, three times the steps": own(CAPTIONS, head=RESIDUAL, train={"epochs": 3 * EPOCHS}),
    "own captions, residual, class texts": own(CAPTIONS, head=RESIDUAL) | {"class_text": SAID},
    "own captions, residual, class texts × linear": own(CAPTIONS, head=RESIDUAL, partner="linear") | {"class_text": SAID},
    "own captions, residual, class texts exchanged": own(CAPTIONS, head=RESIDUAL)
    | {"class_text": SAID | {"control": "permuted_bank"}},
    "own captions, residual, random words for class texts": own(CAPTIONS, head=RESIDUAL)
    | {"class_text": SAID | {"control": "random_words"}},
    "own captions, tokens, residual": own(CAPTIONS | {"queries": "tokens"}, head=RESIDUAL),
    "own captions × linear": own(CAPTIONS, partner="linear"),
    "own captions, residual × linear": own(CAPTIONS, head=RESIDUAL, partner="linear"),
    "learned queries × linear": {"text": NO_WORDS, "teacher": {"head": {"mode": "learned"}, "partner": "linear"}},
    "captions alone": own(CAPTIONS, head={"mode": "text"}),
    "captions alone, class texts": own(CAPTIONS, head={"mode": "text"}) | {"class_text": SAID},
    "captions alone, class texts × linear": own(CAPTIONS, head={"mode": "text"}, partner="linear") | {"class_text": SAID},
    "captions alone × linear": own(CAPTIONS, head={"mode": "text"}, partner="linear"),
    "another row's captions, residual": own(CAPTIONS | {"control": "other_row"}, head=RESIDUAL),
    "another row's captions, residual × linear": own(CAPTIONS | {"control": "other_row"}, head=RESIDUAL, partner="linear"),
}


def settings(name: str, share: float, seed: int, data: Path, cache: Path, out: Path) -> dict[str, Any]:
    chosen = TEACHERS[name]
    epochs = round(chosen["teacher"].get("train", {"epochs": EPOCHS})["epochs"] / share)
    teacher = {
        "image_encoder": "package:efficientnet-lite0",
        "image_size": 128,
        "text_encoder": "package:all-MiniLM-L6-v2",
        "folds": 5,
        "calibrate": True,
    }
    return {
        "recipe": "image_text",
        "seed": seed,
        "out": str(out),
        "cache": str(cache),
        "precision": "fp32",
        "data": {
            "root": str(data),
            "canvas_size": 64,
            "split": {"folds": FOLDS, "fold": seed % FOLDS},
            "supervision": {"labelled_share": share, "seed": seed % FOLDS},
        },
        "student": {"model": "resnet10t", "model_args": {"channels": [32, 64, 128, 256]}, "image_size": 32},
        "train": {"epochs": 25, "batch_size": 128, "num_views": 4},
        "text": chosen["text"],
        "class_text": chosen.get("class_text", NO_WORDS),
        "teacher": teacher | chosen["teacher"] | {"train": {"epochs": epochs}},
    }


def measure(name: str, share: float, seed: int, data: Path, cache: Path) -> dict[str, Any]:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        options = parse_options(settings(name, share, seed, data, cache, Path(temporary) / "run"), source=name)
        assert isinstance(options, image_text.ImageTextRecipe)
        column = image_text.check(options)
        accelerator = build_accelerator(device="cpu", precision="fp32")
        stages = Stages(options, RunFolder(Path(options.out)), accelerator, cache=cache, text_column=column, reporter=Silence())
        trained, parts, _ = image_text.make_teacher(stages, options)
        model = teacher_logits(live_teacher(trained, parts))
        with accelerator.autocast():
            found = evaluate_rows(model, stages.pictures, stages.pictures.rows["val"], image_size=32, device=stages.device)
    weights = trained.head.folds[0].weights.tolist()
    seconds = round(time.perf_counter() - start, 1)
    return {
        "teacher": name, "share": share, "seed": seed, "num": found.num, "accuracy": found.accuracy, "nll": found.nll,
        "ece": found.ece, "weights": weights, "seconds": seconds,
    }  # fmt: skip


def table() -> str:
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    rows = ["| labels | teacher | n | val accuracy % (sd) | NLL (sd) | ECE % | weights |", "|--:|---|--:|--:|--:|--:|---|"]
    shares = sorted({line["share"] for line in lines}, reverse=True)
    for share, name in ((share, name) for share in shares for name in TEACHERS):
        found = [line for line in lines if (line["teacher"], line["share"]) == (name, share)]
        if found:
            accuracy, nll = ([line[key] for line in found] for key in ("accuracy", "nll"))
            spread = [f" ({scale * stdev(values):.{digits}f})" if len(values) > 1 else "" for values, scale, digits in
                      ((accuracy, 100, 1), (nll, 1, 3))]  # fmt: skip
            weights = ", ".join(f"{mean(column):.2f}" for column in zip(*(line["weights"] for line in found), strict=True))
            rows.append(
                f"| {100 * share:.0f} % | {name} | {len(found)} | {100 * mean(accuracy):.1f}{spread[0]} | "
                f"{mean(nll):.3f}{spread[1]} | {100 * mean(line['ece'] for line in found):.1f} | {weights} |"
            )
    commits = sorted({line["commit"] for line in lines})
    return "\n".join([*rows, "", f"Commits: {', '.join(commits)}. Command: the first lines of teachers.py."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="emoji64, as benchmarks/data/emoji64.py builds it")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0], help="of the training pictures' labels")
    parser.add_argument("--teachers", nargs="+", choices=list(TEACHERS), default=list(TEACHERS), metavar="NAME")
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    done = (
        {(line["teacher"], line["share"], line["seed"]) for line in map(json.loads, RESULTS.read_text().splitlines())}
        if RESULTS.is_file()
        else set()
    )
    for seed, share, name in product(arguments.seeds, arguments.shares, arguments.teachers):
        if (name, share, seed) not in done:
            line = measure(name, share, seed, arguments.data, arguments.cache) | {"commit": commit}
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
    (HERE / "teachers.md").write_text(table())
    print(table())


if __name__ == "__main__":
    main()
