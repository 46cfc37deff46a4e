"""The study as the report's page shows it."""

from collections.abc import Sequence

from picturebook.report.study_content import ArmRow, ContrastRow, StudyDetails, StudyReport
from picturebook.study.cells import Plan
from picturebook.study.results import labels
from picturebook.study.tuning import Trial

NOTES = (
    "A seed fixes initialisation, order, views and fold in every arm, so arms are paired by seed.",
    "The interval is the widest of these 95 % intervals: Student's t over seeds; the same over the means of folds, where seeds "
    "share them; a paired bootstrap over test pictures (whole groups, where the data have groups) of the mean over seeds.",
    "p is the largest of the paired t tests' and the bootstrap's, Holm's is adjusted for the number of contrasts of 8 seeds or "
    "more (of all that are measured, where there are none). McNemar's test counts pictures as independent and is secondary.",
    "Equal within the margin: both one-sided tests reject, and the interval lies inside.",
    'Every number is of the last epoch, but for arms that say train.keep = "best": of the best one on validation pictures, and '
    "marked where the baseline does not. Settings are chosen on validation pictures. Published numbers are often of the best "
    "test epoch, and higher for it.",
)


TUNED_IN_FOLDS = (
    "Settings were tuned on validation pictures of one fold, of which some are test pictures of other folds: their labels had a "
    "say in the choice, in all arms that were tuned."
)


def study_report(
    plan: Plan,
    arms: Sequence[ArmRow],
    contrasts: Sequence[ContrastRow],
    trials: Sequence[Trial],
    warnings: Sequence[str],
    details: StudyDetails,
) -> StudyReport:
    """The page's content."""
    options, named = plan.options, labels(plan)
    first = plan.cells()[0].file
    setting = {
        **{name: value for name, value in named.items() if value},
        "seeds": ", ".join(map(str, options.seeds)),
        **{f"seeds of {arm}": ", ".join(map(str, options.seeds_of(arm))) or "none" for arm in options.seeds_by_arm},
        "baseline": options.baseline or "",
        "equal within": f"{options.equivalence_margin:g} points",
    }
    return StudyReport(
        title=f"Study: {named['study']}",
        sentence=_sentence(arms, contrasts),
        warnings=tuple(warnings),
        contrasts=tuple(contrasts),
        arms=tuple(arms),
        margin=options.equivalence_margin,
        trials=tuple(_trial(trial) for trial in trials),
        setting=tuple(setting.items()),
        commands=(plan.command, f"picturebook train {first} --set out=runs/again"),
        notes=(*NOTES, *([TUNED_IN_FOLDS] if plan.options.tune.arms and _has_folds(plan) else [])),
        details=details,
    )


def _has_folds(plan: Plan) -> bool:
    return len({cell.options.data.split.fold for cell in plan.cells() if cell.options.data.split.folds is not None}) > 1


def _sentence(arms: Sequence[ArmRow], contrasts: Sequence[ContrastRow]) -> str:
    measured = [row for row in contrasts if row.mean is not None]
    if not measured:
        best = [f"{arm.name} {arm.mean:.1f} %" for arm in arms if arm.mean is not None]
        return f"Test accuracy: {', '.join(best)}." if best else "No run has finished."
    row = measured[0]
    assert row.mean is not None
    interval = f", 95 % interval {row.low:+.1f} to {row.high:+.1f}" if row.low is not None else ""
    seeds = "" if row.n == 1 else f" ({row.n} seeds)"
    return f"{row.name}: {row.mean:+.1f} points{interval}{seeds}; {row.reading}."


def _trial(trial: Trial) -> tuple[str, ...]:
    values = ", ".join(f"{path} = {value}" for path, value in trial.values.items())
    reached = trial.error or f"{100 * (trial.accuracy or 0.0):.1f} %"
    return trial.arm, values, reached, "chosen" if trial.chosen else ""
