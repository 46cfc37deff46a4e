"""A run's page: one HTML file that needs nothing else."""

import math

from picturebook.report import attention, plots
from picturebook.report.confusion import MOST_CLASSES, heat_map
from picturebook.report.content import Attention
from picturebook.report.document import render_document
from picturebook.report.reliability import reliability_plot
from picturebook.report.run_content import RunReport
from picturebook.report.wording import UNMEASURED, decimals, duration, interval, percent

_AUDIT_MEANS = {
    "PASS": "The words do not tell this teacher the answer: its student learns from what it sees.",
    "WARN": "It is not sure that the words leave the answer to the picture. The student is good for use; before a gain is called "
    "the words', settle what stands below.",
    "FAIL": "The words may tell this teacher the answer. Its student is good for use, but no gain may be called the words'.",
}
"""What each verdict means for somebody who has not read docs/audit.md."""


def render_run(report: RunReport) -> str:
    """Give the page as text; equal reports give equal text. Every word of the report is escaped."""
    from markupsafe import Markup

    return render_document(
        "run.html.jinja",
        filters={"percent": percent, "decimals": decimals, "duration": duration, "points": _points},
        report=report,
        figures={name: Markup(figure) for name, figure in _figures(report).items()},  # noqa: S704 (ours, words escaped)
        words=_cards(report.words),
        activation=_cards(report.activation),
        heat_key=", ".join(attention.heat_key()),
        interval=interval,
        total_seconds=sum(seconds for _, seconds in report.cost),
        audit_means=_AUDIT_MEANS,
        with_gains=report.gain is not None,
        with_examples=any(pair.pictures for pair in report.pairs),
    )


def _figures(report: RunReport) -> dict[str, str]:
    curves = (*report.curves_accuracy, *report.curves_loss)
    labels = {curve.name: curve.name for curve in curves}  # their order gives the colours, here and there the same
    figures = plots.figures(report.arms, report.majority, report.curves_accuracy, report.curves_loss, labels=labels)
    if report.confusion is not None and len(report.classes) <= MOST_CLASSES:
        figures["confusion"] = heat_map(report.classes, report.confusion, name="confusion-matrix")
    if report.calibration is not None:
        after = report.calibration.after
        shown = {"as trained": report.calibration.before} | ({} if after is None else {"with temperature": after})
        figures["reliability"] = reliability_plot(shown, name="reliability-diagram")
    return figures


def _cards(shown: tuple[Attention, ...]) -> list[tuple[Attention, str, str]]:
    return [(card, attention.plain_picture(card), attention.attention_overlay(card)) for card in shown]


def _points(share: float) -> str:
    """A difference of shares as signed points: "+2.3"."""
    if not math.isfinite(share):
        return UNMEASURED
    points = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if points[1:] == "0.0" else points
