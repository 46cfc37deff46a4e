"""A page and what it complains of."""

import os
from pathlib import Path
from typing import Any

SHOTS = "PICTUREBOOK_SCREENSHOTS"
"""Environment variable: a folder to which screenshots are written, to be looked at."""


class Visit:
    """A page, what it complained of and what it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, message: Any) -> None:
        # Chromium notes each refused upload on the console; the page shows it as a sentence, which the tests read.
        if message.type in ("error", "warning") and "the server responded with a status of" not in message.text:
            self.complaints.append(message.text)

    def shoot(self, name: str) -> None:
        """Write a screenshot of the whole page, where somebody wants to look at it."""
        if folder := os.environ.get(SHOTS):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
