"""Matplotlib figures as SVG that sits inside a page: themed by CSS, read aloud by screen readers, equal byte for byte."""

from __future__ import annotations

import re
import warnings
from contextlib import AbstractContextManager
from io import StringIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Drawn in this colour, a mark takes the colour of the text around the figure."""

SERIES_LIGHT = ("#0b66a3", "#a94400", "#00704f", "#8a3f78", "#6b5900", "#55565a")
"""Colours of the series on a light page, apart for colour-blind eyes (after Okabe and Ito, darkened to a contrast of 4.5)."""
SERIES_DARK = ("#6db9f0", "#ff9c66", "#4fcfa6", "#e59fd0", "#e6c34d", "#b9babf")
"""The same on a dark page; both reach the page as the CSS variables --series-0, --series-1, …"""

_HALO = "paint-order: stroke; stroke: var(--page, transparent); stroke-width: 3px; stroke-linejoin: round"
"""Keeps lines from running through words."""
_NAMESPACE = "http://www.w3.org/2000/svg"


def page_style() -> AbstractContextManager[None]:
    """Hold Matplotlib's settings for the page: figures are made and rendered inside."""
    from matplotlib import rc_context

    return rc_context(
        {
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "font.family": "sans-serif",
            "font.size": 12.0,
            "svg.fonttype": "none",
            "svg.hashsalt": "picturebook",
            "text.color": INK,
            "text.parse_math": False,  # a dollar in a class name is a dollar
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )


def render(figure: Figure, *, name: str, title: str, description: str) -> str:
    """Give the figure as one <svg> element; `name` (letters, digits, -) keeps its ids apart from other figures' on the page."""
    stream = StringIO()
    with warnings.catch_warnings():
        # Words are drawn by the reader's own fonts: what Matplotlib's font lacks (CJK, emoji) is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(stream.getvalue())  # noqa: S314 (this text is Matplotlib's, a line above)
    for child in [child for child in root if _local(child.tag) == "metadata"]:
        root.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        if element.tag == "text":
            element.set("style", _lettering(element.attrib["style"]))
        element.attrib = {_local(key): _themed(_local(key), value, name) for key, value in element.attrib.items()}
    _describe(root, name, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _lettering(style: str) -> str:
    """Leave the size of the letters and take the page's font; older Matplotlib writes `font: 11px …`, newer `font-size`."""
    size = re.search(r"[\d.]+px", style)
    assert size is not None, style
    rest = [declaration.strip() for declaration in style.split(";") if not declaration.strip().startswith("font")]
    return "; ".join([f"font-size: {size[0]}", *rest, _HALO])


def _themed(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = value.replace(INK, "currentColor")
        for position, colour in enumerate(SERIES_LIGHT):
            value = value.replace(colour, f"var(--series-{position}, {colour})")
    return value


def _describe(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    for size in ("width", "height"):  # the view box stays, and the page gives the size
        del root.attrib[size]
    root.attrib |= {
        "xmlns": _NAMESPACE,
        "font-family": "system-ui, sans-serif",
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-description",
    }
    for position, (tag, text) in enumerate({"title": title, "desc": description}.items()):
        element = ElementTree.Element(tag, {"id": f"{name}-{'title' if tag == 'title' else 'description'}"})
        element.text = text
        root.insert(position, element)
