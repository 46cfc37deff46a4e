"""The page as text: markup, style and script, each a file of its own, so that the content policy can forbid all inline code."""

from importlib import resources
from typing import Any

from picturebook.report.svg import SERIES_DARK, SERIES_LIGHT


class Page:
    """The three files of the page of a run.

    Args:
        about: the run, as GET /api/model tells it; every word is escaped.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self.html = _markup(about)
        self.script = _read("picturebook.serve", "page.js")
        self.style = _style(about["heat_key"])


def _markup(about: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("picturebook", "serve"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(about=about, megabytes=f"{about['max_bytes'] / 1e6:g}")


def _style(heat_key: list[str]) -> str:
    """The report's look, its first series colour for bars, the heat map's key, and what only this page has."""
    colours = (
        f":root {{ --series-0: {SERIES_LIGHT[0]}; --heat: linear-gradient(to right, {', '.join(heat_key)}); }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ --series-0: {SERIES_DARK[0]}; }} }}\n"
    )
    return _read("picturebook.report", "style.css") + colours + _read("picturebook.serve", "page.css")


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
