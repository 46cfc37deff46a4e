"""A page and what it complains of."""

import os
from pathlib import Path
from typing import Any

SHOTS = "PICTUREBOOK_SCREENSHOTS"
"""Environment variable: a folder to which screenshots are written, to be looked at."""
LOOKS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2},
}
"""What a page is looked at in: keywords of `new_context` by name."""


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


def low_contrasts(visit: Visit) -> list[Any]:
    """Texts whose colour has less than 4.5 times the contrast to the background colour behind them (WCAG 2, AA)."""
    found: list[Any] = visit.page.evaluate("""() => {
      const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
      const light = (colour) => channels(colour).slice(0, 3)
        .map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, place) => sum + [0.2126, 0.7152, 0.0722][place] * value, 0);
      const behind = (element) => {
        for (; element; element = element.parentElement) {
          const colour = getComputedStyle(element).backgroundColor;
          if (channels(colour)[3] !== 0 && colour.startsWith("rgb")) return colour;
        }
        return "rgb(255, 255, 255)";
      };
      const low = [];
      for (const element of document.querySelectorAll("body *")) {
        const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!words || !element.checkVisibility()) continue;
        const [one, other] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        if (contrast < 4.5) low.push([element.textContent.trim().slice(0, 40), contrast]);
      }
      return low;
    }""")
    return found
