"""The page: one HTML file that needs nothing else, neither network nor script."""

import math
from pathlib import Path
from typing import Any

from picturebook.errors import RunError
from picturebook.report import attention, plots, wording
from picturebook.report.content import Arm, Report
from picturebook.report.document import render_document
from picturebook.report.svg import SERIES_LIGHT
from picturebook.writing import write_atomically


def write_report(report: Report, path: Path) -> None:
    """Write the report as one self-contained HTML file; equal reports give equal bytes.

    The file opens from disk without network, and its own content policy forbids it to fetch anything. Folders on the way
    are made, and the file appears whole or not at all.

    Raises:
        RunError: `path` is a folder, or cannot be written.
    """
    if path.is_dir():
        raise RunError(
            f"Expected a file name for the report, got the folder {path}: name a file in it, such as {path / 'report.html'}."
        )
    write_atomically(path, render_page(report).encode())


def render_page(report: Report) -> str:
    """Give the page as text. Every word of the report is escaped: markup in a caption is shown, never run."""
    from markupsafe import Markup

    labels = {arm.name: arm.label for arm in report.arms}
    drawn = plots.figures(report.arms, report.majority, report.curves_accuracy, report.curves_loss, labels=labels)
    return render_document(
        "template.html.jinja",
        filters={"percent": wording.percent, "duration": wording.duration, "decimals": wording.decimals},
        interval=wording.interval,
        report=report,
        rows=_rows(report),
        figures={name: Markup(figure) for name, figure in drawn.items()},  # noqa: S704 (Matplotlib's, words escaped)
        cards=[(card, attention.plain_picture(card), attention.attention_overlay(card)) for card in report.attention],
        heat_key=", ".join(attention.heat_key()),
        num_tests=sorted({arm.num_test for arm in report.arms}),
        span=plots.accuracy_span(report.arms, report.majority),
        total_seconds=sum(seconds for _, seconds in report.cost),
    )


def _rows(report: Report) -> list[dict[str, Any]]:
    """Give each arm with its place on the in-cell bar, in percent of the bar's width."""
    low, high = plots.accuracy_span(report.arms, report.majority)

    def place(value: float) -> float:
        return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)

    def bar(arm: Arm) -> dict[str, float] | None:
        if not all(map(math.isfinite, (arm.low, arm.accuracy, arm.high))):
            return None
        return {"start": place(arm.low), "width": round(place(arm.high) - place(arm.low), 2), "dot": place(arm.accuracy)}

    best = max((arm.accuracy for arm in report.arms if math.isfinite(arm.accuracy)), default=math.nan)
    return [
        {"arm": arm, "bar": bar(arm), "best": arm.accuracy == best, "series": i % len(SERIES_LIGHT)}
        for i, arm in enumerate(report.arms)
    ]
