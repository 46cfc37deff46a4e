"""What is taken for what: the worst pairs of classes, and the whole matrix as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

MOST_CLASSES = 50
"""With more, a heat map's words can no longer be read."""
_CELL, _LETTERS = 16, 18
"""Units of a cell's side; letters of a class name."""
_LABELS = 118
"""Units of the room for class names."""


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """Pictures of one class that were taken for another."""

    label: str
    prediction: str
    count: int
    """Such pictures, at least 1."""
    num: int
    """All pictures of the label."""
    back: int
    """Pictures of the predicted class that were taken for this one."""
    pictures: tuple[str, ...] = ()
    """Some of them, as data URIs, the surest mistakes first."""

    @property
    def share(self) -> float:
        """Of the label's pictures, in (0, 1]."""
        return self.count / self.num


def worst_pairs(classes: Sequence[str], counts: Int64[np.ndarray, "classes classes"], limit: int) -> tuple[ConfusedPair, ...]:
    """The `limit` most frequent mistakes, of equally frequent ones those with the greater share of their class first.

    Args:
        classes: [K] names.
        counts: [K, K], rows are labels, columns are predictions.
        limit: at least 0.
    """
    sizes = counts.sum(axis=1)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    labels, predictions = np.nonzero(wrong)
    found = wrong[labels, predictions]
    order = np.lexsort((predictions, labels, -found / sizes[labels], -found))[:limit]
    return tuple(
        ConfusedPair(classes[label], classes[other], int(counts[label, other]), int(sizes[label]), int(counts[other, label]))
        for label, other in zip(labels[order].tolist(), predictions[order].tolist(), strict=True)
    )


def heat_map(classes: Sequence[str], counts: Int64[np.ndarray, "classes classes"], *, name: str) -> str:
    """Draw the matrix: a row a label, a column a prediction, the darker the greater the share of the row.

    Right answers and mistakes have colours of their own, and each cell says its numbers when pointed at.

    Returns:
        An <svg> element that takes the page's colours; names are escaped.
    """
    from markupsafe import escape

    side = _CELL * len(classes)
    words = [escape(label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…") for label in classes]
    parts = []
    for place, word in enumerate(words):
        middle = _LABELS + _CELL * place + _CELL / 2
        parts.append(f'<text x="{_LABELS - 6}" y="{middle + 3.5:g}" text-anchor="end">{word}</text>')
        parts.append(f'<text transform="translate({middle + 3.5:g} {_LABELS - 6}) rotate(-90)">{word}</text>')
    sizes = np.maximum(counts.sum(axis=1), 1)
    for row, column in zip(*(axis.tolist() for axis in np.nonzero(counts)), strict=True):
        count, share = int(counts[row, column]), counts[row, column] / sizes[row]
        said = escape(f"{classes[row]} → {classes[column]}: {count} of {sizes[row]}")
        parts.append(
            f'<rect class="{"hit" if row == column else "miss"}" x="{_LABELS + _CELL * column + 1}" '
            f'y="{_LABELS + _CELL * row + 1}" width="{_CELL - 2}" height="{_CELL - 2}" rx="2" '
            f'fill-opacity="{0.15 + 0.85 * share:.2f}"><title>{said}</title></rect>'
        )
    right = int(np.trace(counts))
    summary = f"{right} of {int(counts.sum())} on the diagonal, which is right; the table of mistakes has the rest."
    box = f"0 0 {_LABELS + side} {_LABELS + side}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="matrix" viewBox="{box}" role="img" '
        f'style="min-width: {round(0.8 * (_LABELS + side))}px; max-width: {round(1.3 * (_LABELS + side))}px" '
        f'aria-labelledby="{name}-title {name}-description" font-family="system-ui, sans-serif" font-size="11">'
        f'<title id="{name}-title">Confusion of classes</title><desc id="{name}-description">{summary}</desc>'
        f'<rect class="frame" x="{_LABELS}" y="{_LABELS}" width="{side}" height="{side}"/>{"".join(parts)}</svg>'
    )
