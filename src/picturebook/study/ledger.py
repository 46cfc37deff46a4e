"""What was trained when and from which source: one line a try, in OUT/ledger.jsonl."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from picturebook import __version__


@dataclass(frozen=True)
class Ledger:
    """The tries of a study's cells, trials and failures too."""

    out: Path

    @property
    def file(self) -> Path:
        """Where the lines are."""
        return self.out / "ledger.jsonl"

    @cached_property
    def commit(self) -> str:
        """The source's commit now."""
        return source_commit()

    def append(self, cell: Path, *, seconds: float, error: str | None) -> None:
        """Note one try of a cell."""
        line = {
            "cell": cell.relative_to(self.out).as_posix(),
            "commit": self.commit,
            "seconds": round(seconds, 1),
            "error": error,
        }
        with self.file.open("a", encoding="utf-8") as file:
            cut_off = self.file.stat().st_size and not self.file.read_bytes().endswith(b"\n")
            file.write(("\n" if cut_off else "") + json.dumps(line, ensure_ascii=False) + "\n")

    def commits(self) -> dict[Path, str]:
        """Finished cell → the commit that finished it."""
        return {self.out / line["cell"]: line["commit"] for line in self._lines() if line["error"] is None}

    def _lines(self) -> list[dict[str, Any]]:
        if not self.file.is_file():
            return []
        lines = []
        for text in self.file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue  # cut off by an interruption
        return lines


def source_commit() -> str:
    """The commit of picturebook's own checkout, with "-dirty" where files differ from it; else its version."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent.parent
    if shutil.which("git") is None or not (checkout / ".git").exists():
        return __version__
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    return done.stdout.strip() if done.returncode == 0 else __version__
