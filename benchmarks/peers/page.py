"""The measured part of docs/peers.md, from rates.json: python benchmarks/peers/page.py (run.py does it too)"""

import json
import statistics
from pathlib import Path
from typing import Any

from cases import CASES, OURS, TITLES
from machine import HERE, REPOSITORY

PAGE = REPOSITORY / "docs" / "peers.md"
_BEGIN, _END = "<!-- measured: benchmarks/peers/page.py -->\n", "<!-- /measured -->\n"
_MIB = 2**20
WHERE = HERE / "where.json"


def rewrite(page: Path, rates: dict[str, Any]) -> None:
    """Put what was measured between the page's two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, found, after = rest.partition(_END)
    assert found, f"{page} has lost its marks"
    page.write_text(f"{before}{_BEGIN}{measured_part(rates)}{_END}{after}", encoding="utf-8")


def measured_part(rates: dict[str, Any]) -> str:
    """Markdown: a table a case, and the seconds to the accuracy."""
    parts = [f"\nMeasured at commit {rates['commit']} on one machine ({rates['device']}), each peer in turn.\n"]
    parts += [_case_table(case.title, rates["cases"][case.name]) for case in CASES if case.name in rates["cases"]]
    if WHERE.is_file():
        parts.append(_where_table(json.loads(WHERE.read_text(encoding="utf-8"))))
    if rates["seconds_to_accuracy"]:
        parts.append(_seconds_table(rates["seconds_to_accuracy"], rates["accuracy"]))
    return "\n".join(parts) + "\n"


def _case_table(title: str, case: dict[str, Any]) -> str:
    speeds, ours = case["images_per_second"], case["images_per_second"][OURS.name]
    lines = [f"### {title}\n", *_head("images/s", "private MiB", "picturebook / it (least to greatest round)")]
    for name, speed in speeds.items():
        ratios = [a / b for a, b in zip(ours, speed, strict=True)]
        over = "" if name == OURS.name else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        memory = case["memory"][name]["private"] / _MIB
        lines.append(f"| {_titled(name)} | {statistics.median(speed):.0f} | {memory:.0f} | {over} |")
    step, label = statistics.median(ours), case["labelling"]
    some, every = (1 / (1 / step + share / label) for share in (0.25, 1.0))
    lines.append(
        f"\nLabelling, once a stored view, while another contestant started on the same cores: {label:.0f} images/s. Counted "
        f"in, picturebook's rate is {some:.0f} with a view for every four epochs and {every:.0f} with a view an epoch.\n"
    )
    return "\n".join(lines)


def _seconds_table(seconds: dict[str, Any], accuracy: float) -> str:
    lines = [f"### Seconds to {accuracy:.0%}, ResNet-8 at 32 px\n", *_head("seconds", "all epochs", "accuracy then")]
    for name, found in seconds.items():
        first = "not reached" if found["seconds"] is None else f"{found['seconds']:.0f}"
        lines.append(f"| {_titled(name)} | {first} | {found['whole']:.0f} | {found['last']:.1%} |")
    return "\n".join(lines) + "\n"


def _where_table(where: dict[str, Any]) -> str:
    lines = [
        "### Where a step goes\n",
        f"Milliseconds of a step of 64 in one process, the two in turns (`python benchmarks/speed/where.py`, {where['commit']}, "
        f"{where['device']}, medians). What plain PyTorch takes over the bare student is what can be gained over it at its "
        "defaults, by whoever asks no teacher and loads for nothing. Here both keep freed memory, which plain PyTorch by "
        "itself does not.\n",
        *_head(
            "plain: loading",
            "teacher",
            "student",
            "update",
            "whole",
            "picturebook: step",
            "of it the bare student",
            "plain / bare",
            "plain / picturebook",
        ),
    ]
    for case in CASES:
        found = where["cases"][case.name]
        parts = [found[part] for part in ("loading", "teacher", "student", "update")]
        times = " | ".join(f"{value:.1f}" for value in [*parts, sum(parts), found["ours"], found["bare"]])
        lines.append(f"| {case.title} | {times} | {sum(parts) / found['bare']:.2f} | {sum(parts) / found['ours']:.2f} |")
    return "\n".join(lines) + "\n"


def _head(*columns: str) -> list[str]:
    return [f"| | {' | '.join(columns)} |", f"| --- |{' --: |' * len(columns)}"]


def _titled(name: str) -> str:
    peer, _, setting = name.partition(" ")
    return f"{TITLES.get(peer, peer)}, {setting}"


if __name__ == "__main__":
    rewrite(PAGE, json.loads((HERE / "rates.json").read_text(encoding="utf-8")))
