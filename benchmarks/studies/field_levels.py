"""What the field study's runs say beside their students: exits, neighbours, probes, words, captions; and its sanity levels.

    python benchmarks/studies/field_levels.py benchmarks/studies/kept/field

The levels were fixed before anything ran: Be Your Own Teacher's last exit at least supervised - 0.5 - half its interval; Noisy
Student on a quarter of the labels at least its supervised start; DINO's linear probe at least 10 points over the same probe of
random features; zero-shot of CLIP, ALIGN, SigLIP and CoCa at least 5 times chance; CoCa's captions fit their pictures better than
shuffled ones do (p < .01). Accuracies are in points, on test pictures, means over seeds.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

Numbers = dict[str, dict[str, list[float]]]


def read(kept: Path) -> tuple[Numbers, dict[str, list[dict[str, Any]]], int]:
    """From a study's records: test accuracies by arm and model, what coca measured of its captions, and the number of classes."""
    accuracies: Numbers = defaultdict(lambda: defaultdict(list))
    captions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    labels = [label for path in (kept / "pictures").glob("*.json") for label in json.loads(path.read_text())["labels"]]
    for path in sorted(kept.glob("runs/*/seed-*.json")):
        arm, record = path.parent.name, json.loads(path.read_text())
        for model, splits in record["models"].items():
            if "test" in splits:
                accuracies[arm][model].append(100 * splits["test"]["accuracy"])
        if record["captions"]:
            captions[arm].append(record["captions"])
    return accuracies, captions, len(set(labels))


def half_interval(values: list[float]) -> float:
    """Half of the 95 % interval of a mean by Student's t; 0 for one value."""
    if len(values) < 2:
        return 0.0
    return float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def levels(accuracies: Numbers, captions: dict[str, list[dict[str, Any]]], classes: int) -> Iterable[tuple[str, str, bool]]:
    """(what, numbers, whether it is reached)."""

    def of(arm: str, model: str = "student") -> list[float]:
        return accuracies.get(arm, {}).get(model, [])

    if of("be_your_own_teacher") and of("supervised"):
        bar = mean(of("supervised")) - 0.5 - half_interval(of("be_your_own_teacher"))
        found = mean(of("be_your_own_teacher"))
        yield "Be Your Own Teacher, last exit", f"{found:.1f}, level {bar:.1f}", found >= bar
    if of("noisy_student_25") and of("labelled_25"):
        found, bar = mean(of("noisy_student_25")), mean(of("labelled_25"))
        yield "Noisy Student, 25 % of the labels", f"{found:.1f}, its start {bar:.1f}", found >= bar
    if of("dino", "linear probe"):
        found, bar = mean(of("dino", "linear probe")), mean(of("dino", "linear probe of random features")) + 10
        yield "DINO, linear probe", f"{found:.1f}, level {bar:.1f}", found >= bar
    for arm in ("clip", "align", "siglip", "coca"):
        if of(arm, "zero-shot"):
            found, bar = mean(of(arm, "zero-shot")), 500 / classes
            yield f"{arm}, zero-shot", f"{found:.1f}, level {bar:.1f}", found >= bar
    for measured in captions.get("coca", []):
        shared, shuffled, p = measured["share_a_content_word"], measured["shuffled"], measured["p"]
        yield "coca, captions", f"share a word {shared:.3f}, shuffled {shuffled:.3f}, p = {p:.4f}", shared > shuffled and p < 0.01


def main(kept: Path) -> None:
    accuracies, captions, classes = read(kept)
    print("| arm | model | test % | sd | n |\n|---|---|--:|--:|--:|")
    for arm, models in accuracies.items():
        for model, values in models.items():
            spread = f"{stdev(values):.1f}" if len(values) > 1 else "–"
            print(f"| {arm} | {model} | {mean(values):.1f} | {spread} | {len(values)} |")
    print("\n| level | numbers | reached |\n|---|---|---|")
    for what, numbers, reached in levels(accuracies, captions, classes):
        print(f"| {what} | {numbers} | {'yes' if reached else 'NO'} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
