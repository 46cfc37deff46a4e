"""A real Chromium that must stay silent: any error on its console, and any request beyond this machine, fails the test."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from visiting import Visit


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    assert chromium is not None, "There is no chromium: `make test-browser` says how to get it."
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh page; parametrize indirectly with keywords of `new_context` (viewport, color_scheme)."""
    context = browser.new_context(**getattr(request, "param", {}))
    context.set_default_timeout(20_000)
    visited = Visit(context.new_page())
    yield visited
    context.close()
    assert visited.complaints == []
