"""How often answers of a given certainty are right (reliability diagram, arXiv:1706.04599, section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from picturebook.report.svg import INK, SERIES_LIGHT, page_style, render
from picturebook.report.wording import percent

NUM_BINS = 15
"""As many as the calibration errors have."""
_WIDTH = 400.0
"""Points, as the other figures of a page."""
_LEGEND = 18.0
"""Points of a line below the figure: inside, a curve would run through it."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose certainty lies in one of the ranges of equal width; at least one answer."""

    num: int
    confidence: float
    """Mean highest probability, in [0, 1]."""
    accuracy: float
    """Share that is right, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Certainty against truth."""

    bins: tuple[Bin, ...]
    """By rising certainty; empty ranges are left out."""

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over answers of |certainty − accuracy| of their bins, in [0, 1]."""
        return sum(one.num * abs(one.confidence - one.accuracy) for one in self.bins) / sum(one.num for one in self.bins)


def reliability(
    confidences: Float64[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], *, num_bins: int = NUM_BINS
) -> Reliability:
    """Bin answers by certainty; ranges are closed on the left, and the last one holds 1 too.

    Args:
        confidences: [n], highest probability of each answer, in [0, 1]; n at least 1.
        correct: [n], whether it is right.
        num_bins: ranges of equal width, at least 1.
    """
    places = np.minimum((confidences * num_bins).astype(np.int64), num_bins - 1)
    members = [places == place for place in range(num_bins)]
    return Reliability(
        tuple(
            Bin(int(inside.sum()), float(confidences[inside].mean()), float(correct[inside].mean()))
            for inside in members
            if inside.any()
        )
    )


def reliability_plot(curves: Mapping[str, Reliability], *, name: str) -> str:
    """Draw accuracy over certainty, one line a curve, each dot as large as its share of the answers; the diagonal is right.

    Args:
        curves: by their words; the first is drawn dashed, as what was before.
        name: keeps the ids of the figures on a page apart.

    Returns:
        An <svg> element.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    with page_style():
        height = _WIDTH + _LEGEND * len(curves)
        figure = Figure(figsize=(_WIDTH / 72, height / 72))
        axes = figure.add_axes((0.17, 1 - 0.88 * _WIDTH / height, 0.77, 0.86 * _WIDTH / height))
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.65, linestyle=(0, (3, 3)), linewidth=1.2)
        for position, (words, curve) in enumerate(curves.items()):
            colour = SERIES_LIGHT[1 - position % 2]
            total = sum(one.num for one in curve.bins)
            confidences, accuracies = [one.confidence for one in curve.bins], [one.accuracy for one in curve.bins]
            dashes = (0, (4.0, 2.0)) if position == 0 and len(curves) > 1 else "-"
            axes.plot(
                confidences, accuracies, color=colour, linewidth=1.6, linestyle=dashes, label=f"{words}, ECE {percent(curve.ece)}"
            )
            sizes = [20 + 300 * one.num / total for one in curve.bins]
            axes.scatter(confidences, accuracies, s=sizes, color=colour, alpha=0.6, linewidth=0, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="certainty", ylabel="share that is right")
        figure.legend(loc="lower left", bbox_to_anchor=(0.14, 0), frameon=False, handlelength=2.2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol="\u202f%"))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_alpha(0.4)
        axes.tick_params(length=0, pad=5)
        axes.grid(color=INK, alpha=0.14, linewidth=0.8)
        axes.set_axisbelow(True)
        return render(figure, name=name, title="Reliability diagram", description=_said(curves))


def _said(curves: Mapping[str, Reliability]) -> str:
    return "; ".join(
        f"{words}: expected calibration error {percent(curve.ece)}; "
        + ", ".join(
            f"certain to {percent(one.confidence, digits=0)}: {percent(one.accuracy, digits=0)} right" for one in curve.bins
        )
        for words, curve in curves.items()
    )
