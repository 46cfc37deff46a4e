"""What the field study's runs say beside their students: exits, neighbours, probes, words, captions; and its sanity levels.

    python benchmarks/studies/field_levels.py benchmarks/studies/field.toml

`collect.py` puts both tables into docs/results.md. The levels were fixed before anything ran: Be Your Own Teacher's last exit at
least supervised - 0.5 - half its interval; Noisy Student on a quarter of the labels at least its supervised start; DINO's linear
probe at least 10 points over the same probe of random features; zero-shot of CLIP, ALIGN, SigLIP and CoCa at least 5 times
chance; CoCa's captions fit their pictures better than shuffled ones do (p < .01). Accuracies are in points, on test pictures,
means over the study's seeds; runs of other seeds, which only teach, are left out.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

from picturebook.study.cells import Cell, Plan
from picturebook.study.records import STUDENT, known, read_record
from picturebook.study.settings import load_study

NOISY = "noisy_student_25"
START = "iteration 0"
"""Noisy Student's first teacher, as its run's results name it."""
NOT_MEASURED = "not measured"
IN_THE_ARMS_TABLE = (STUDENT, "student through timm's transform")


@dataclass(frozen=True, slots=True)
class Level:
    """One sanity level."""

    level: str
    """What was asked, in words."""
    found: str
    met: bool
    n: int
    """Runs that it was looked at in."""


@dataclass(slots=True)
class Found:
    """What a study's finished cells measured."""

    accuracies: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    """Arm → model → seed → test accuracy in points, of the study's seeds."""
    captions: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Seed → what coca measured of its captions."""
    half_widths: dict[str, float] = field(default_factory=dict)
    """Arm → half of its first run's 95 % interval over test pictures, in points."""
    starts: dict[int, float] = field(default_factory=dict)
    """Seed → test accuracy in points of the network from which Noisy Student of that seed started."""
    classes: int = 0

    def of(self, arm: str, model: str = STUDENT) -> list[float]:
        """One number a seed; none where the arm has not run, or has no such model."""
        return list(self.accuracies.get(arm, {}).get(model, {}).values())


def read(plan: Plan) -> Found:
    """What the study's finished cells say; a cell whose seed is none of the study's is a teacher, and counts for nothing else."""
    found = Found()
    for cell in plan.cells():
        if cell.seed not in plan.options.seeds or not known(cell):
            continue
        record = read_record(cell)
        models = found.accuracies.setdefault(cell.arm, {})
        for model, splits in record.models.items():
            if "test" in splits:
                models.setdefault(model, {})[cell.seed] = 100 * splits["test"]["accuracy"]
        if test := record.models[STUDENT].get("test"):
            found.half_widths.setdefault(cell.arm, 50 * (test["high"] - test["low"]))
        if cell.arm == "coca" and record.captions:
            found.captions[cell.seed] = record.captions
        if cell.arm == NOISY and (start := _start(plan, cell)) is not None:
            found.starts[cell.seed] = start
        if record.asked is not None:
            found.classes = len(record.asked.classes)
    return found


def _start(plan: Plan, cell: Cell) -> float | None:
    """Points of a Noisy Student's first teacher: as the run measured it, else of its own run; None if neither is left."""
    teachers = [(cell, START), *((plan.cell(arm, seed), STUDENT) for arm, seed in cell.needs)]
    for run, model in teachers:
        splits = read_record(run).models.get(model, {}) if known(run) else {}
        if "test" in splits:
            return 100 * float(splits["test"]["accuracy"])
    return None


def half_interval(values: list[float]) -> float:
    """Half of the 95 % interval of a mean by Student's t."""
    return float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def levels(found: Found) -> Iterator[Level]:
    """Every level, those too of which nothing was measured."""
    asked = "Be Your Own Teacher, last exit: at least supervised − 0.5 − half its interval"
    arm = "be_your_own_teacher"
    last, supervised = found.of(arm), found.of("supervised")
    bar = None
    if last and supervised:  # the interval of one run is that over its test pictures
        bar = mean(supervised) - 0.5 - (half_interval(last) if len(last) > 1 else found.half_widths[arm])
    yield _reached(asked, last, bar)
    noisy = found.accuracies.get(NOISY, {}).get(STUDENT, {})
    started = [seed for seed in noisy if seed in found.starts]
    bar = mean(found.starts[seed] for seed in started) if started else None
    yield _reached("Noisy Student, 25 % of the labels: at least its start", [noisy[seed] for seed in started], bar)
    random = found.of("dino", "linear probe of random features")
    bar = mean(random) + 10 if random else None
    yield _reached("DINO, linear probe: at least that of random features + 10", found.of("dino", "linear probe"), bar)
    for arm, name in (("clip", "CLIP"), ("align", "ALIGN"), ("siglip", "SigLIP"), ("coca", "CoCa")):
        bar = 500 / found.classes if found.classes else None
        yield _reached(f"{name}, zero-shot: at least 5 times chance", found.of(arm, "zero-shot"), bar)
    asked = "CoCa, captions{}: share a word with their pictures' texts oftener than shuffled ones, p < .01"
    for seed, said in found.captions.items():
        own, shuffled, p = said["share_a_content_word"], said["shuffled"], said["p"]
        words = f"{own:.3f}, shuffled {shuffled:.3f}, p = {p:.4f}"
        yield Level(asked.format(f", seed {seed}"), words, own > shuffled and p < 0.01, 1)
    if not found.captions:
        yield Level(asked.format(""), NOT_MEASURED, met=False, n=0)


def _reached(asked: str, values: list[float], bar: float | None) -> Level:
    if not values or bar is None:
        return Level(asked, NOT_MEASURED, met=False, n=0)
    return Level(asked, f"{mean(values):.1f}, level {bar:.1f}", mean(values) >= bar, len(values))


def beside(found: Found) -> Iterator[dict[str, Any]]:
    """What was measured beside the students, a row an arm and model: arm, model, mean, sd (None for one run), n."""
    for arm, models in found.accuracies.items():
        for model in models:
            if model not in IN_THE_ARMS_TABLE:
                values = found.of(arm, model)
                spread = stdev(values) if len(values) > 1 else None
                yield {"arm": arm, "model": model, "mean": mean(values), "sd": spread, "n": len(values)}


def main(path: Path) -> None:
    found = read(Plan(load_study(path), str(path)))
    print("| arm | model | test % | sd | n |\n|---|---|--:|--:|--:|")
    for row in beside(found):
        spread = "–" if row["sd"] is None else f"{row['sd']:.1f}"
        print(f"| {row['arm']} | {row['model']} | {row['mean']:.1f} | {spread} | {row['n']} |")
    print("\n| level | found | n | met |\n|---|---|--:|---|")
    for one in levels(found):
        print(f"| {one.level} | {one.found} | {one.n} | {'yes' if one.met else 'NO' if one.n else '–'} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
