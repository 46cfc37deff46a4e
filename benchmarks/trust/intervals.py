"""Coverage of a study's interval and false positives of its test, on studies whose truth is known."""

import argparse

import paths  # isort: skip - it tells where the next ones are
from simulated_studies import PICTURES, PICTURES_A_GROUP, coverage, false_claims, false_positives

SEEDS = (5, 8)
FOLDED, FOLDS = 8, 4
"""Seeds and folds of the studies that claim something."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1000, help="studies a setting")
    parser.add_argument("--tests", type=int, default=10_000, help="studies of equal arms a number of seeds")
    options = parser.parse_args()
    num, half = options.num, PICTURES // 2
    covered = {number: coverage(num, number, effect=0.15, seed=number) for number in SEEDS}
    fewer = {number: coverage(num, number, effect=0.15, seed=number, pictures=half) for number in SEEDS}
    folded = {size: coverage(num, FOLDED, effect=0.15, seed=size, pictures=size, folds=FOLDS) for size in (PICTURES, half)}
    positive = {number: false_positives(options.tests, number, seed=100 + number) for number in SEEDS}
    shown = {f"{number}": false_claims(num, number, seed=200 + number) for number in SEEDS}
    shown[f"{FOLDED} in {FOLDS} folds"] = false_claims(num, FOLDED, seed=300, folds=FOLDS)
    # Of all settings: which of them a page shows must not depend on which looks better.
    worst = max([*covered.values(), *fewer.values(), *folded.values()], key=lambda share: abs(share - 95))
    found = {"coverage": round(worst, 2), "false_positive": round(max(positive.values()), 2)}
    details = {"studies": num, "tests": options.tests, "pictures": PICTURES, "groups": round(PICTURES / PICTURES_A_GROUP)}
    paths.keep(
        "intervals",
        found
        | details
        | {
            "coverage_by_seeds": covered,
            "coverage_of_half_the_pictures": fewer,
            "coverage_in_folds_by_pictures": folded,
            "false_positive_by_seeds": positive,
            "false_positive_as_shown": shown,
        },
    )


if __name__ == "__main__":
    main()
