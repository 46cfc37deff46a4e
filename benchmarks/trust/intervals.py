"""Coverage of a study's interval and false positives of its test, on studies whose truth is known."""

import argparse

import paths  # isort: skip - it tells where the next ones are
from simulated_studies import PICTURES, PICTURES_A_GROUP, coverage, false_positives


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1000, help="studies a number of seeds")
    parser.add_argument("--tests", type=int, default=10_000, help="studies of equal arms a number of seeds")
    options = parser.parse_args()
    seeds = (5, 8)
    covered = {number: coverage(options.num, number, effect=0.15, seed=number) for number in seeds}
    fewer = {number: coverage(options.num, number, effect=0.15, seed=number, pictures=PICTURES // 2) for number in seeds}
    positive = {number: false_positives(options.tests, number, seed=100 + number) for number in seeds}
    # Of both numbers of pictures: which of them a page shows must not depend on which looks better.
    worst = max([*covered.values(), *fewer.values()], key=lambda share: abs(share - 95))
    found = {"coverage": round(worst, 2), "false_positive": round(max(positive.values()), 2)}
    details = {"studies": options.num, "tests": options.tests, "pictures": PICTURES, "groups": round(PICTURES / PICTURES_A_GROUP)}
    paths.keep(
        "intervals",
        found
        | details
        | {"coverage_by_seeds": covered, "coverage_of_half_the_pictures": fewer, "false_positive_by_seeds": positive},
    )


if __name__ == "__main__":
    main()
