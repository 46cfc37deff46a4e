"""The plots of a report: learning curves, and the arms' intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from picturebook.report.content import Arm, Curve
from picturebook.report.svg import INK, SERIES_LIGHT, page_style, render
from picturebook.report.wording import decimals, interval, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 400.0
"""Points. Narrow on purpose: a phone shows it nearly unscaled, so that its words stay legible."""
_ROOM = 196.0
"""Points of a learning curve's height."""
_LINE = 14.5
"""Points from one line of words to the next."""
_LABEL_GAP = 4.0
"""Points between the words of two lines."""
_DASHES = ("-", (0, (5.0, 2.0)), (0, (1.5, 1.5)))
"""Series beyond the last colour start over with the next of these."""


def accuracy_span(arms: Sequence[Arm], majority: float) -> tuple[float, float]:
    """Give the smallest range of whole tens of percent, inside [0, 1], that holds every interval and the majority rate."""
    values = [value for arm in arms for value in (arm.low, arm.accuracy, arm.high)] + [majority]
    inside = [min(max(value, 0.0), 1.0) for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = math.floor(min(inside) * 10 + 1e-9) / 10, math.ceil(max(inside) * 10 - 1e-9) / 10
    return (low, high) if low < high else (max(low - 0.1, 0.0), min(high + 0.1, 1.0))


def figures(
    arms: Sequence[Arm],
    majority: float,
    accuracy: tuple[Curve, ...],
    loss: tuple[Curve, ...],
    *,
    labels: Mapping[str, str],
) -> dict[str, str]:
    """Give the plots of what there is to draw, as SVG: "intervals", "accuracy", "loss".

    Args:
        arms: with their intervals.
        majority: rate of the commonest class.
        accuracy: validation accuracy by epoch.
        loss: training loss by epoch.
        labels: a curve's name → its words; their order gives the colours.
    """
    drawn = {"intervals": interval_plot(arms, majority, name="intervals")} if arms else {}
    if _drawable(accuracy):
        title = "Validation accuracy by epoch"
        drawn["accuracy"] = learning_curves(accuracy, name="accuracy", title=title, quantity="accuracy", labels=labels)
    if _drawable(loss):
        drawn["loss"] = learning_curves(loss, name="loss", title="Training loss by epoch", quantity="loss", labels=labels)
    return drawn


def _drawable(curves: tuple[Curve, ...]) -> bool:
    return any(math.isfinite(epoch) and math.isfinite(value) for curve in curves for epoch, value in curve.points)


def learning_curves(
    curves: Sequence[Curve], *, name: str, title: str, quantity: Literal["accuracy", "loss"], labels: Mapping[str, str]
) -> str:
    """Draw one line a curve, each named at its end, or in a legend below where the names find no room there.

    Args:
        curves: at least one with a finite point.
        name: keeps the ids of the figures on a page apart.
        title: what is drawn, for screen readers.
        quantity: accuracies in [0, 1] are shown in percent, losses as they are.
        labels: words by curve name; their order gives the colours, so that an arm looks the same in every figure.

    Returns:
        An <svg> element.
    """
    from matplotlib.figure import Figure

    words = percent if quantity == "accuracy" else decimals
    lines = _finite(curves)
    kept = {curve.name: curve.kept for curve in curves if curve.kept is not None}
    ends = [f"{labels.get(curve, curve)}: {words(points[-1][1])} at epoch {points[-1][0]:g}" for curve, points in lines.items()]
    ends += [f"kept of {labels.get(curve, curve)}: {words(value)} at epoch {epoch:.0f}" for curve, (epoch, value) in kept.items()]
    order = list(dict.fromkeys([*labels, *lines]))
    beside, below = ({curve: textwrap.wrap(labels.get(curve, curve), letters) for curve in lines} for letters in (16, 46))
    direct = _points(beside) <= _ROOM
    height, right = (_ROOM + 46, 126) if direct else (_ROOM + 46 + _points(below), 12)
    with page_style():
        figure = Figure(figsize=(_WIDTH / 72, height / 72))
        axes = figure.add_axes((40 / _WIDTH, 1 - (_ROOM + 8) / height, 1 - (40 + right) / _WIDTH, _ROOM / height))
        for curve, points in lines.items():
            colour, dash = _look(order.index(curve))
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, color=colour, linestyle=dash, linewidth=1.8, label="\n".join(below[curve]))
            axes.plot(epochs[-1:], values[-1:], color=colour, marker="o", markersize=4.5)
            if curve in kept:
                axes.plot(*kept[curve], color=colour, marker="o", markersize=11, markerfacecolor="none", markeredgewidth=1.8)
        _quiet(axes, percents="y" if quantity == "accuracy" else None)
        axes.set_xlabel("epoch")
        if direct:
            _name_ends(axes, lines, beside, order)
        else:
            figure.legend(loc="lower left", bbox_to_anchor=(0.02, 0), frameon=False, fontsize=11.5, labelspacing=0.35)
        return render(figure, name=name, title=title, description="; ".join(ends) + ".")


def _finite(curves: Sequence[Curve]) -> dict[str, list[tuple[float, float]]]:
    assert len({curve.name for curve in curves}) == len(curves), "two curves of one name"
    lines = {curve.name: [point for point in curve.points if all(map(math.isfinite, point))] for curve in curves}
    return {name: points for name, points in lines.items() if points}


def _points(wrapped: Mapping[str, list[str]]) -> float:
    return sum((len(rows) * _LINE + _LABEL_GAP for rows in wrapped.values()), 0.0)


def _look(position: int) -> tuple[str, str | tuple[int, tuple[float, ...]]]:
    return SERIES_LIGHT[position % len(SERIES_LIGHT)], _DASHES[position // len(SERIES_LIGHT) % len(_DASHES)]


def _quiet(axes: Axes, *, percents: Literal["x", "y"] | None) -> None:
    """Leave faint lines along the values, and no box."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    along: Literal["x", "y"] = "x" if percents == "x" else "y"
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_alpha(0.4)
    axes.tick_params(length=0, pad=5)
    axes.grid(axis=along, color=INK, alpha=0.14, linewidth=0.8)
    axes.set_axisbelow(True)
    if percents is not None:
        getattr(axes, f"{percents}axis").set_major_formatter(PercentFormatter(1.0, decimals=0, symbol="\u202f%"))
    if along == "y":
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _name_ends(
    axes: Axes, lines: Mapping[str, list[tuple[float, float]]], wrapped: Mapping[str, list[str]], order: list[str]
) -> None:
    """Write each line's words beside its last point, pushed apart where lines end close together."""
    low, high = axes.get_ylim()
    heights = {curve: (points[-1][1] - low) / (high - low) * _ROOM for curve, points in lines.items()}
    rising = sorted(lines, key=lambda curve: heights[curve])
    places = spread([heights[curve] for curve in rising], [len(wrapped[curve]) * _LINE + _LABEL_GAP for curve in rising], _ROOM)
    for curve, place in zip(rising, places, strict=True):
        axes.annotate(
            "\n".join(wrapped[curve]),
            (1, place / _ROOM),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=_look(order.index(curve))[0],
            linespacing=1.1,
        )


def spread(centres: Sequence[float], sizes: Sequence[float], room: float) -> list[float]:
    """Move rising centres so little that boxes of these sizes lie side by side within [0, room], where they fit at all."""
    if not centres:
        return []
    gaps = [(before + after) / 2 for before, after in pairwise(sizes)]
    places = [max(centres[0], sizes[0] / 2)]
    for centre, gap in zip(centres[1:], gaps, strict=True):
        places.append(max(centre, places[-1] + gap))
    places[-1] = min(places[-1], room - sizes[-1] / 2)
    for position in range(len(gaps) - 1, -1, -1):
        places[position] = min(places[position], places[position + 1] - gaps[position])
    return places


def interval_plot(arms: Sequence[Arm], majority: float, *, name: str) -> str:
    """Draw each arm's accuracy as a dot on its 95 % interval, with a dashed line at the majority rate.

    What lies outside [0, 1] ends at the edge; an interval that was not measured (NaN) leaves the dot alone.

    Returns:
        An <svg> element.
    """
    from matplotlib.figure import Figure

    labels = [textwrap.wrap(arm.label, 42) or [arm.name] for arm in arms]
    below = np.cumsum([len(rows) * _LINE + 29 for rows in labels]) + 18
    height = float(below[-1]) + 30
    low, high = accuracy_span(arms, majority)
    with page_style():
        figure = Figure(figsize=(_WIDTH / 72, height / 72))
        axes = figure.add_axes((14 / _WIDTH, 26 / height, 1 - 32 / _WIDTH, 1 - 30 / height))
        axes.set(xlim=(low, high), ylim=(height - 30, 0), yticks=[])
        if math.isfinite(majority):
            place = min(max(majority, low), high)
            axes.plot([place, place], [16, height - 30], color=INK, alpha=0.65, linestyle=(0, (3, 3)), linewidth=1.2)
            beyond = place > (low + high) / 2
            words = f"most frequent class {percent(majority)}"
            axes.annotate(words, (place, 8), ha="right" if beyond else "left", va="center", fontsize=11)
        for position, (arm, rows, bottom) in enumerate(zip(arms, labels, below, strict=True)):
            colour, _ = _look(position)
            line = bottom - 7
            ends = np.clip([arm.low, arm.high], low, high)
            axes.plot(ends, [line] * 2, color=colour, linewidth=5, alpha=0.45, solid_capstyle="round", clip_on=False)
            axes.plot(np.clip([arm.accuracy], low, high), [line], color=colour, marker="o", markersize=8, clip_on=False)
            middle = 1 - (line - 9 - len(rows) * _LINE / 2 + 4) / height
            figure.text(0, middle, "\n".join(rows), va="center", linespacing=1.1)
            figure.text(1, middle, percent(arm.accuracy), va="center", ha="right")
        _quiet(axes, percents="x")
        said = [f"{arm.label}: {percent(arm.accuracy)}, 95 % interval {interval(arm.low, arm.high)}" for arm in arms]
        title = "Test accuracy with 95 % intervals"
        return render(
            figure, name=name, title=title, description="; ".join([*said, f"most frequent class: {percent(majority)}"]) + "."
        )
