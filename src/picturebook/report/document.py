"""A page from its template: one file that runs one script of ours and fetches nothing."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from picturebook.report.svg import SERIES_DARK, SERIES_LIGHT


def render_document(template: str, *, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """Give the page as text; equal values give equal text. Every word is escaped: markup in a caption is shown, never run.

    Besides `values` the template has `colours`, the script that sorts tables, and its hash for the content policy.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("picturebook", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    script = resources.files("picturebook.report").joinpath("sort.js").read_text(encoding="utf-8")
    page = environment.get_template(template).render(
        **values,
        colours=list(enumerate(zip(SERIES_LIGHT, SERIES_DARK, strict=True))),
        script=Markup(script),  # noqa: S704 (a file of ours)
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.rstrip() + "\n"
