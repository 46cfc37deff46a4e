"""The plots of a study: every run as a dot, means, and intervals; contrasts as a forest plot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from picturebook.report.study_content import ArmRow, ContrastRow
from picturebook.report.svg import INK, SERIES_LIGHT, page_style, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 400.0
"""Points, as the other figures of a page."""
_LINE = 14.5
"""Points from one line of words to the next."""


@dataclass(frozen=True, slots=True)
class _Row:
    label: str
    words: str
    """What stands at the right: the mean."""
    runs: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None


def forest_plot(contrasts: Sequence[ContrastRow], *, margin: float, name: str) -> str:
    """Draw each contrast's mean on its interval, every seed's difference below it, the line at 0 and the margin around it.

    Contrasts that were not measured are left out; there must be one that was.

    Returns:
        An <svg> element.
    """
    rows = [
        _Row(row.name, f"{row.mean:+.1f}", tuple(value for _, value in row.runs), row.mean, row.low, row.high)
        for row in contrasts
        if row.mean is not None
    ]
    said = [
        f"{row.label}: {row.words} points{_ends(row)}, single seeds {', '.join(f'{v:+.1f}' for v in row.runs)}" for row in rows
    ]
    title = "Differences between arms in points of test accuracy, with 95 % intervals"
    return _draw(rows, name=name, title=title, said=said, margin=margin, unit="points")


def runs_plot(arms: Sequence[ArmRow], *, name: str) -> str:
    """Draw each arm's mean on its interval over seeds, and every run below it. Arms without a finished run are left out.

    Returns:
        An <svg> element.
    """
    rows = [
        _Row(arm.name, f"{arm.mean:.1f}\u202f%", tuple(value for _, value in arm.runs), arm.mean, arm.low, arm.high)
        for arm in arms
        if arm.mean is not None
    ]
    said = [f"{row.label}: {row.words}{_ends(row)}, single runs {', '.join(f'{v:.1f}' for v in row.runs)}" for row in rows]
    return _draw(rows, name=name, title="Test accuracy of every run, in percent", said=said, margin=None, unit="% right")


def _ends(row: _Row) -> str:
    return "" if row.low is None else f", 95 % interval {row.low:.1f} to {row.high:.1f}"


def _draw(rows: Sequence[_Row], *, name: str, title: str, said: Sequence[str], margin: float | None, unit: str) -> str:
    from matplotlib.figure import Figure

    assert rows
    labels = [textwrap.wrap(row.label, 42) for row in rows]
    below = np.cumsum([len(lines) * _LINE + 36 for lines in labels])
    height = float(below[-1]) + 44
    with page_style():
        figure = Figure(figsize=(_WIDTH / 72, height / 72))
        axes = figure.add_axes((14 / _WIDTH, 40 / height, 1 - 32 / _WIDTH, 1 - 44 / height))
        axes.set(xlim=_reach(rows, margin), ylim=(height - 44, 0), yticks=[], xlabel=unit)
        if margin is not None:
            axes.axvspan(-margin, margin, color=INK, alpha=0.1, linewidth=0)
            axes.axvline(0.0, color=INK, alpha=0.65, linewidth=1.2)
        for position, (row, lines, bottom) in enumerate(zip(rows, labels, below, strict=True)):
            _draw_row(axes, row, float(bottom) - 17, SERIES_LIGHT[position % len(SERIES_LIGHT)])
            middle = 1 - (float(bottom) - 26 - len(lines) * _LINE / 2 + 4) / height
            figure.text(0, middle, "\n".join(lines), va="center", linespacing=1.1)
            figure.text(1, middle, row.words, va="center", ha="right")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_alpha(0.4)
        axes.tick_params(length=0, pad=5)
        axes.grid(axis="x", color=INK, alpha=0.14, linewidth=0.8)
        axes.set_axisbelow(True)
        return render(figure, name=name, title=title, description="; ".join(said) + ".")


def _draw_row(axes: Axes, row: _Row, line: float, colour: str) -> None:
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [line] * 2, color=colour, linewidth=5, alpha=0.45, solid_capstyle="round")
    axes.plot([row.mean], [line], color=colour, marker="o", markersize=8)
    axes.plot(row.runs, [line + 9] * len(row.runs), color=colour, marker="o", markersize=4, linestyle="none", alpha=0.7)


def _reach(rows: Sequence[_Row], margin: float | None) -> tuple[float, float]:
    """The smallest range with everything in it, and some air."""
    values = [value for row in rows for value in (*row.runs, row.mean, row.low, row.high) if value is not None]
    values += [] if margin is None else [-margin, margin]
    low, high = min(values), max(values)
    air = 0.05 * (high - low) or 0.5
    return low - air, high + air
