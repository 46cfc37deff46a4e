"""Studies of two arms whose true difference is known, as the analysis meets them: each test picture right or wrong in each run.

A picture of a group is answered rightly with probability sigmoid(level + effect of the arm + group + picture + arm on the picture
+ seed + arm on the seed + run on the picture): groups stand and fall together, pictures suit one arm more than the other, a seed
is good or bad for both arms and for each, and two runs of one arm disagree about pictures. The truth is the mean difference over
new seeds and new pictures: an integral.

In folds, seed s has fold s mod folds, with test pictures of its own and, in training pictures, an effect like a seed's: runs of a
fold share both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from picturebook.report.study_content import ArmRow, ContrastRow
from picturebook.statistics import paired_t
from picturebook.study.analysis import Arm, contrast_rows
from picturebook.study.answered import Answered, Asked
from picturebook.study.answers import Answers
from picturebook.study.cells import Plan
from picturebook.study.settings import parse_study

LEVEL, GROUP, PICTURE, ARM_PICTURE, SEED, ARM_SEED, RUN_PICTURE = 0.9, 0.8, 0.8, 0.25, 0.05, 0.06, 0.8
"""Of the logits: their level, and standard deviations. Runs of an arm then differ by about 1.5 points at 67 % right."""
PICTURES = 2000
PICTURES_A_GROUP = 2.5


@dataclass(frozen=True)
class Study:
    """What the runs of two arms answered."""

    right: np.ndarray
    """[2, seeds, pictures of a fold]"""
    groups: np.ndarray
    """[folds, pictures of a fold]"""


def simulate(num: int, seeds: int, *, effect: float, seed: int, pictures: int = PICTURES, folds: int = 1) -> Iterator[Study]:
    """Studies one after the other; `effect` is the first arm's, on the logits, and `pictures` those of a fold."""
    generator = np.random.default_rng(seed)
    num_groups = round(pictures / PICTURES_A_GROUP)
    for _ in range(num):
        right = np.empty((2, seeds, pictures), dtype=bool)
        groups = np.empty((folds, pictures), dtype=np.int64)
        for fold in range(folds):
            groups[fold] = fold * num_groups + np.sort(generator.integers(num_groups, size=pictures))
            logits = np.array([effect, 0.0])[:, None, None] + _fold(generator, groups[fold] - fold * num_groups, num_groups)
            if folds > 1:
                logits = logits + SEED * generator.standard_normal() + ARM_SEED * generator.standard_normal((2, 1, 1))
            logits = _seeds(generator, logits, len(range(fold, seeds, folds)))
            right[:, fold::folds] = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
        yield Study(right, groups)


def _fold(generator: np.random.Generator, groups: np.ndarray, num_groups: int) -> np.ndarray:
    """How easy its test pictures are for each arm [2, 1, pictures]."""
    num = len(groups)
    shared = LEVEL + GROUP * generator.standard_normal(num_groups)[groups] + PICTURE * generator.standard_normal(num)
    return shared + ARM_PICTURE * generator.standard_normal((2, 1, num))


def _seeds(generator: np.random.Generator, logits: np.ndarray, seeds: int) -> np.ndarray:
    """The logits of so many seeds [2, seeds, pictures]."""
    num = logits.shape[2]
    logits = logits + SEED * generator.standard_normal((1, seeds, 1)) + ARM_SEED * generator.standard_normal((2, seeds, 1))
    return logits + RUN_PICTURE * generator.standard_normal((2, seeds, num))


@cache
def truth(effect: float, *, folds: int = 1) -> float:
    """The mean difference of accuracy, in points, over new seeds and new pictures."""
    trained = (1 + (folds > 1)) * (SEED**2 + ARM_SEED**2)
    spread = np.sqrt(GROUP**2 + PICTURE**2 + ARM_PICTURE**2 + trained + RUN_PICTURE**2)
    places, weights = np.polynomial.hermite_e.hermegauss(101)
    first, second = (1 / (1 + np.exp(-(LEVEL + shift + spread * places))) for shift in (effect, 0.0))
    return float(100 * (weights @ (first - second)) / weights.sum())


def analysed(study: Study) -> ContrastRow:
    """The contrast as a study's table shows it."""
    plan = Plan(
        parse_study({"out": "study", "seeds": [0], "arms": {"a": {}, "b": {}}, "contrasts": ["a - b"]}, source="it"), "it"
    )
    arms = {name: _arm(name, study.right[number], study.groups) for number, name in enumerate("ab")}
    return contrast_rows(plan, arms)[0]


def _arm(name: str, right: np.ndarray, groups: np.ndarray) -> Arm:
    folds, num = groups.shape
    asked = []
    for fold in range(folds):
        ids = fold * num + np.arange(num)
        asked.append(Asked(("0", "1", "2"), ids, ids % 3, groups[fold].astype(str)))
    answers = {
        seed: Answers(
            asked=(its := asked[seed % folds]),
            answered=Answered(np.where(one, its.labels, (its.labels + 1) % 3), np.ones(num), calibrated=None, temperature=None),
            nll=1.0,
            ece=1.0,
            seconds={},
            validations=[],
            teachers={},
            commit="",
        )
        for seed, one in enumerate(right)
    }
    return Arm(name, {}, answers, ArmRow(name, tuple((seed, each.accuracy) for seed, each in answers.items())))


def coverage(num: int, seeds: int, *, effect: float, seed: int, pictures: int = PICTURES, folds: int = 1) -> float:
    """Share of studies, in percent, whose interval holds the truth."""
    true = truth(effect, folds=folds)
    rows = [analysed(study) for study in simulate(num, seeds, effect=effect, seed=seed, pictures=pictures, folds=folds)]
    held = [row.low is not None and row.high is not None and row.low <= true <= row.high for row in rows]
    return 100 * float(np.mean(held))


def false_claims(num: int, seeds: int, *, seed: int, pictures: int = PICTURES, folds: int = 1) -> float:
    """Share of studies of two equal arms, in percent, whose table shows p ≤ 0.05."""
    rows = [analysed(study) for study in simulate(num, seeds, effect=0.0, seed=seed, pictures=pictures, folds=folds)]
    return 100 * float(np.mean([row.p is not None and row.p <= 0.05 for row in rows]))


def false_positives(num: int, seeds: int, *, seed: int) -> float:
    """Share of studies of two equal arms, in percent, in which the paired t test alone finds p ≤ 0.05."""
    p_values = [paired_t(*(100 * study.right.mean(axis=2))).p for study in simulate(num, seeds, effect=0.0, seed=seed)]
    return 100 * float(np.mean(np.array(p_values) <= 0.05))
