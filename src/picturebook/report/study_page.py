"""A study's page: one HTML file that needs nothing else."""

from picturebook.report.document import render_document
from picturebook.report.plots import learning_curves
from picturebook.report.reliability import reliability_plot
from picturebook.report.study_content import ArmRow, StudyReport
from picturebook.report.study_plots import forest_plot, runs_plot
from picturebook.report.wording import UNMEASURED, duration, stage_times

BUDGET = {
    "steps": "Student steps",
    "batch_size": "Batch",
    "epochs": "Epochs",
    "views": "Views",
    "image_size": "Pixels",
    "parameters": "Parameters",
    "trials": "Trials",
}
"""Fields of a budget that are columns → their heads."""


def render_study(report: StudyReport) -> str:
    """Give the page as text; equal reports give equal text. Every word of the report is escaped."""
    from markupsafe import Markup

    return render_document(
        "study.html.jinja",
        filters={"number": _number, "signed": _signed, "p": _probability, "duration": duration, "stage_times": stage_times},
        report=report,
        figures={name: Markup(figure) for name, figure in _figures(report).items()},  # noqa: S704 (Matplotlib's, words escaped)
        budget=BUDGET,
        differing={arm.name: _differing(arm) for arm in report.arms},
    )


def _figures(report: StudyReport) -> dict[str, str]:
    figures = {}
    if any(row.mean is not None for row in report.contrasts):
        figures["forest"] = forest_plot(report.contrasts, margin=report.margin, name="forest")
    if any(arm.mean is not None for arm in report.arms):
        figures["runs"] = runs_plot(report.arms, name="runs")
    details = report.details
    if details.curves:
        labels = {arm.name: arm.name for arm in report.arms}  # their order gives the colours, which are those of the runs
        title = "Validation accuracy by epoch, mean over seeds"
        figures["curves"] = learning_curves(details.curves, name="curves", title=title, quantity="accuracy", labels=labels)
    for number, arm in enumerate(details.calibrations):
        shown = {"as trained": arm.before} | ({} if arm.after is None else {"with temperature": arm.after})
        figures[f"reliability-{number}"] = reliability_plot(shown, name=f"reliability-{number}")
    return figures


def _differing(arm: ArmRow) -> set[str]:
    return {field for field in BUDGET if any(said.startswith(field.replace("_", " ")) for said in arm.budget_differences)}


def _number(value: float | None, digits: int = 1) -> str:
    return UNMEASURED if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 2) -> str:
    return UNMEASURED if value is None else f"{value:+.{digits}f}"


def _probability(value: float | None) -> str:
    return UNMEASURED if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
