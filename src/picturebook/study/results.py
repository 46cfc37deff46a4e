"""The study's results.json: contrasts and arms in the fields that a page of many studies collects, and everything behind them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from picturebook.report.study_content import ContrastRow
from picturebook.study.analysis import Arm
from picturebook.study.cells import Plan
from picturebook.study.tuning import Trial


def labels(plan: Plan) -> dict[str, str | None]:
    """What the study is called: study, data, family, setting."""
    given = plan.options.labels
    root = plan.options.run.get("data", {}).get("root")
    return {
        "study": given.study or Path(plan.source).stem,
        "data": given.data or (None if root is None else Path(str(root)).name),
        "family": given.family or _family(plan),
        "setting": given.setting,
    }


def _family(plan: Plan) -> str | None:
    """The first letters of what all arms' students are called: resnet10t is a resnet, vit_tiny_patch16_224 a vit."""
    models = {plan.cell(arm, plan.options.seeds[0]).options.student.model for arm in plan.options.arms}
    families = {re.split(r"[^a-z]", Path(model).name, maxsplit=1)[0] for model in models}
    return families.pop() or None if len(families) == 1 else None


def results(
    plan: Plan,
    arms: Mapping[str, Arm],
    contrasts: Sequence[ContrastRow],
    trials: Sequence[Trial],
) -> dict[str, Any]:
    """Everything that was measured; accuracies, their differences and ECE in points."""
    named, command = labels(plan), plan.command
    return {
        "contrasts": [named | _contrast(row, arms) | {"command": command} for row in contrasts],
        "arms": [named | _arm(arm) for arm in arms.values()],
        "trials": [asdict(trial) for trial in trials],
        "tuned": {arm: dict(values) for arm, values in plan.tuned.items()},
        "seeds": plan.options.seeds,
        "seeds_by_arm": {arm: plan.options.seeds_of(arm) for arm in plan.options.seeds_by_arm},
        "equivalence_margin": plan.options.equivalence_margin,
        "command": command,
    }


def _contrast(row: ContrastRow, arms: Mapping[str, Arm]) -> dict[str, Any]:
    commits = _commits((arms[name], seed) for name in (row.a, row.b) for seed, _ in row.runs)
    first = {"contrast": row.name, "mean": row.mean, "low": row.low, "high": row.high, "n": row.n, "p": row.p, "audit": row.audit}
    rest = asdict(row)
    return first | {"commit": commits} | {name: rest[name] for name in rest if name not in first}


def _arm(arm: Arm) -> dict[str, Any]:
    row = arm.row
    first = {"arm": row.name, "mean": row.mean, "sd": row.sd, "n": row.n, "seconds": row.seconds}
    rest = asdict(row)
    commits = _commits((arm, seed) for seed in arm.answers)
    return first | {name: rest[name] for name in rest if name not in ("name", *first)} | {"commit": commits}


def _commits(runs: Iterable[tuple[Arm, int]]) -> str:
    return ", ".join(dict.fromkeys(arm.answers[seed].commit for arm, seed in runs))
