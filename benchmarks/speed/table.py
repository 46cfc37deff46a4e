"""docs/speed.json and docs/speed.md from what was measured, here and beside peers; prints the page."""

import json
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import Any

from timing import RESULTS, ROOT, Row

from picturebook.stores.top_k import TopK

TOP_K = RESULTS.parent / "top_k.json"
DOCS = ROOT / "docs"
PEERS = ROOT / "benchmarks" / "peers" / "results"
KEYS = [field.name for field in fields(Row) if field.name != "details"]
NOT_MEASURED = "not measured"
PAGE = """# How fast it is

What a run costs, as a ratio to what cannot be avoided: the bare student, the bare teacher. `make bench` measures the rows and
makes this page and [speed.json](speed.json).

| what | ratio | target | lowest to highest round | rounds | measured on | commit |
| --- | --: | --- | --- | --: | --- | --- |
{table}

{missed}

## How it is measured

- Both sides of a ratio run in one process and take turns, step by step, after a warm-up that does not count. A round is some
  turns; its ratio is that of the medians of both sides' steps. The table has the median round, and the lowest and the highest.
- Students are ResNet-18 and ViT-tiny with patches of 8, pictures of 64 pixels, batches of 64 (labelling: of 128); views are
  cropped, mirrored and changed in colour. Weights are random; a time does not ask what they know.
- **Bare** is timm's own model in the precision and memory layout that picturebook takes by default there, on one batch that stays
  in memory: forward, cross-entropy, backward, fused AdamW; for a teacher, forward alone. No data, views, clipping or log. The
  process keeps freed memory for both sides (`engine/allocation.py`).
- **Student steps** are the run's own loop: batch, views, targets read from the store, loss, gradient, clipping, update.
- **Head epochs**: cross-attention in which each picture's text asks; the same steps with stored tokens and through the encoder.
- **Pipeline**: whole runs of `image_text` and of `supervised`, as many epochs, validation off. Tokens, head, audit, targets and
  student are counted; decoding and evaluation, which both have, are not, and the words' vectors are in the cache.
- **Memory** is the highest anonymous memory (RssAnon) of a process that decodes N pictures, stores targets of them and trains;
  mapped stores belong to the page cache.
- Rows beside other tools come from `benchmarks/peers`.

`python benchmarks/speed/profile_row.py ROW` says where a row's time goes.

## Targets of many classes

Of more than 256 classes the 128 largest logits of each (sample, view) are stored, and the mass of the others:
{bytes} bytes instead of 2 K. What that loses is measured for every record while it is written, said when the targets are made,
and kept in the store's header. `python benchmarks/speed/top_k.py PICTURES` measures it for a teacher of 1,000 classes:

{top_k}
"""


def main() -> None:
    rows = [_read(path) for folder in (RESULTS, PEERS) for path in sorted(folder.glob("*.json"))]
    public = [{key: one.get(key) for key in KEYS} for one in rows]
    (DOCS / "speed.json").write_text(json.dumps(public, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [_line(one) for one in public] or [f"| nothing yet | {NOT_MEASURED} | | | | | |"]
    page = PAGE.format(table="\n".join(lines), missed=_missed(rows), bytes=2 * TopK(1000).words, top_k=_top_k())
    (DOCS / "speed.md").write_text(page, encoding="utf-8")
    print(page)


def _read(path: Path) -> dict[str, Any]:
    """A row; of one beside a peer with what it could be at most."""
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rates = path.parent.parent / "rates.json"
    if path.parent == PEERS and rates.is_file():
        case, peer, setting = path.stem.split("-")
        speeds = json.loads(rates.read_text(encoding="utf-8"))["cases"][case]["images_per_second"]
        least = median(speeds["picturebook bare"]) / median(speeds[f"{peer} {setting}"])
        row["why"] = f" picturebook's own supervised training, without any teacher, is {least:.2f} times as fast as this peer."
        where = path.parent.parent / "where.json"
        if (peer, setting) == ("plain", "defaults") and where.is_file():
            row["why"] += _at_most(json.loads(where.read_text(encoding="utf-8"))["cases"][case])
    return row


def _at_most(found: dict[str, float]) -> str:
    """What a profile of plain PyTorch's step at its defaults says of the most that can be gained over it."""
    whole = sum(found[part] for part in ("loading", "teacher", "student", "update"))
    return (
        f" Its step is {found['teacher'] / whole:.0%} teacher and {found['loading'] / whole:.0%} loading, and "
        f"{whole / found['bare']:.2f} times the bare student's, which is about what can be gained "
        "([where a step goes](peers.md#where-a-step-goes))."
    )


def is_met(row: dict[str, Any]) -> bool | None:
    """Whether a row meets its target, "≤ 1.05" or "≥ 3.5"; None where it was not measured."""
    if row["ratio"] is None:
        return None
    sign, bound = row["target"].split()
    ratio, limit = float(row["ratio"]), float(bound)
    return bool(ratio <= limit if sign == "≤" else ratio >= limit)


def _line(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return f"| {row['what']} | {NOT_MEASURED} | {row['target']} | | | {row['device']} | {row['commit']} |"
    spread = f"{row['low']:.3f} to {row['high']:.3f}"
    return (
        f"| {row['what']} | {row['ratio']:.3f} | {row['target']} | {spread} | {row['runs']} | {row['device']} | {row['commit']} |"
    )


def _missed(rows: list[dict[str, Any]]) -> str:
    missed = [row for row in rows if is_met(row) is False]
    if not missed:
        return "Every target that was measured is met." if any(is_met(row) for row in rows) else "Nothing is measured yet."
    lines = []
    for row in missed:
        limit = float(row["target"].split()[1])
        past = f"- {row['what']}: {row['ratio']:.3f} against {row['target']}, {abs(row['ratio'] / limit - 1):.1%} past it."
        lines.append(past + row.get("why", ""))
    return "**Missed:**\n\n" + "\n".join(lines)


def _top_k() -> str:
    if not TOP_K.is_file():
        return "Not measured yet."
    found = json.loads(TOP_K.read_text(encoding="utf-8"))
    temperatures = [name for name in found["rows"][0] if name != "largest"]
    lines = [f"| logits kept | {' | '.join(f'T = {name}' for name in temperatures)} |", "| --: |" + " --: |" * len(temperatures)]
    lines += [f"| {one['largest']} | {' | '.join(one[name] for name in temperatures)} |" for one in found["rows"]]
    return (
        f"{found['of']} KL(target ‖ stored) in nats, mean (99 % of the targets lie below), at the temperature T at which "
        f"a student learns; the targets' own entropy is in the last line. Commit {found['commit']}.\n\n" + "\n".join(lines)
    )


if __name__ == "__main__":
    main()
