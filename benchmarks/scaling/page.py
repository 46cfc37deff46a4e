"""docs/scaling.md from what was measured, and the arithmetic to sizes that were not."""

from collections.abc import Iterable, Sequence
from typing import Any

from picturebook.stores.sharing import CHUNK
from picturebook.stores.top_k import LARGEST, MOST_WHOLE, TopK

Point = tuple[str, int, int, int]
Found = dict[Point, dict[str, Any]]
LARGE = (1_300_000, 100_000_000)
PAGE = """# What grows with the data

`python benchmarks/scaling/run.py` measures the points that `benchmarks/scaling/results/points.jsonl` lacks and writes this page.
{measured}

**How to read it.** Pictures are {side}-pixel JPEGs of about 1 kB, so decoding is at its cheapest a picture. Seconds are of the
clock; in brackets stands the time of the processor, of all threads of the process: a busy machine makes the two differ. Memory
is private memory (mapped stores are not in it) beyond what a process has after its imports, {base} MB; that of parquet
includes `datasets`, which is imported there.

## Reading shards

Index: every shard's columns of words, and where each picture lies; that of tar shards is kept in the cache. Decode: all
pictures into canvases, once. Open: the canvases of an earlier run.

{reading}

{flat}

## Step → sample ids

No shuffle buffer: an epoch's order is a permutation that follows from (seed, epoch), kept as one int64 a row while it lasts.
Begin: the first batch of {batch}; a step: any later one, over three epochs, with the permutations of epochs that begin.

{sampling}

## A target store

One view of each row in fp16, written {chunk} records at a time by a teacher that costs nothing, and read in random batches.
Of up to {whole} classes a record holds all logits, of more the {largest} largest and the mass of the others, found when it is
written and spread out when it is read. Two processes write two halves; in brackets is the first one's time.

{targets}

## To 1.3 million and 100 million pictures

Arithmetic, not measured: the rates of the largest point above, in seconds of the processor, times the rows.

{large}

Formulas, with N rows, canvases of S pixels, V stored views, K classes, P processes on P cores:

- index of tar shards: N · {index_rate} µs, once, by the first process; decode: N · {decode_rate} µs of 32-pixel JPEGs,
  shared out over threads; real photographs take more, `picturebook plan` measures yours;
- canvases: N · (3 · S² + 24) bytes of disk, mapped;
- targets: N · V records of 2 K bytes up to {whole} classes, of {packed} bytes past them, and 8 bytes for each id;
- labelling: N · V / (P · the teacher's pictures a second), plus N · V · {write_rate} µs for K = {write_classes};
- an epoch's permutation: N · 8 bytes in each process, twice while one epoch turns into the next;
- names, labels, ids: N · {memory_rate} bytes of private memory in each process, from the table above.

{limits}
"""
LIMITS = """What this says: at 1.3 million pictures every part fits one machine. At 100 million the private memory of names and
labels in each process is the first to hurt, then canvases on disk. None of it was tried by us at that size."""
MISSING = "not measured yet"


def record_bytes(classes: int) -> int:
    """What one view of a picture takes in a target store."""
    return 2 * (classes if classes <= MOST_WHOLE else TopK(classes).words)


def page(found: Found, points: Sequence[Point]) -> str:
    missing = sum(point not in found for point in set(points))
    commits = ", ".join(sorted({one["commit"] for one in found.values()})) or MISSING
    said = f"Measured at commit {commits}" + (
        f"; {missing} of {len(set(points))} points are not measured yet." if missing else "."
    )
    base = next((one["base"] for one in found.values() if one["part"] == "sampling"), None)
    return PAGE.format(
        measured=said,
        side=32,
        batch=256,
        chunk=CHUNK,
        whole=MOST_WHOLE,
        largest=LARGEST,
        packed=record_bytes(MOST_WHOLE + 1),
        base=MISSING if base is None else round(base / 1e6),
        reading=_reading(found, points),
        flat=_flat(found),
        sampling=_sampling(found, points),
        targets=_targets(found, points),
        large=_large(found),
        limits=LIMITS,
        **_rates(found),
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["--:"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seconds(one: dict[str, Any], step: str) -> str:
    return f"{one['seconds'][step]:.2f} ({one['work'][step]:.2f})"


def _megabytes(one: dict[str, Any]) -> str:
    return f"{(one['memory'] - one['base']) / 1e6:.0f} MB"


def _of(points: Sequence[Point], *parts: str) -> list[Point]:
    return [point for point in dict.fromkeys(points) if point[0] in parts]


def _reading(found: Found, points: Sequence[Point]) -> str:
    rows = []
    for point in _of(points, "tar", "parquet"):
        if (one := found.get(point)) is None:
            rows.append([point[0], f"{point[1]:,}", *[MISSING] * 5])
            continue
        steps = [_seconds(one, step) for step in ("index", "decode", "open")]
        rows.append([point[0], f"{point[1]:,}", *steps, f"{one['bytes'] / 1e6:.1f} MB", _megabytes(one)])
    return _table(["shards", "rows", "index, s", "decode, s", "open, s", "canvases", "memory"], rows)


def _flat(found: Found) -> str:
    pairs = [(kind, found.get((kind, 10_000, 10, 1)), found.get((kind, 100_000, 10, 1))) for kind in ("tar", "parquet")]
    said = [f"{large['memory'] / small['memory']:.2f} ({kind})" for kind, small, large in pairs if small and large]
    if not said:
        return f"Peak private memory of the whole process, 100,000 rows over 10,000: {MISSING}."
    return f"Peak private memory of the whole process, 100,000 rows over 10,000: {', '.join(said)}."


def _sampling(found: Found, points: Sequence[Point]) -> str:
    rows = []
    for point in _of(points, "sampling"):
        if (one := found.get(point)) is None:
            rows.append([f"{point[1]:,}", str(point[3]), *[MISSING] * 3])
            continue
        begin, step = (
            f"{1e3 * one['seconds'][name] / num:.2f} ({1e3 * one['work'][name] / num:.2f})"
            for name, num in (("begin", 1), ("steps", one["steps"]))
        )
        rows.append([f"{point[1]:,}", str(point[3]), begin, step, _megabytes(one)])
    return _table(["rows", "processes", "begin, ms", "a step, ms", "memory"], rows)


def _targets(found: Found, points: Sequence[Point]) -> str:
    rows = []
    for point in _of(points, "targets"):
        head = [f"{point[1]:,}", f"{point[2]:,}", str(point[3])]
        if (one := found.get(point)) is None:
            rows.append([*head, *[MISSING] * 4])
            continue
        read = f"{1e6 * one['seconds']['read'] / one['records_read']:.1f}"
        rows.append([*head, _seconds(one, "write"), read, f"{one['bytes'] / 1e6:.1f} MB", _megabytes(one)])
    return _table(["rows", "classes", "processes", "write, s", "read, µs a record", "store", "memory"], rows)


def _largest(found: Found, part: str, *, classes: int | None = None) -> dict[str, Any] | None:
    of_part = [one for one in found.values() if one["part"] == part and one["processes"] == 1]
    of_part = [one for one in of_part if classes is None or one["classes"] == classes]
    return max(of_part, key=lambda one: one["rows"], default=None)


def _rates(found: Found) -> dict[str, str]:
    tar, targets = _largest(found, "tar"), _largest(found, "targets", classes=1_000)
    smaller = found.get(("tar", 10_000, 10, 1))
    memory = MISSING
    if tar and smaller and tar["rows"] > smaller["rows"]:
        memory = f"{(tar['memory'] - smaller['memory']) / (tar['rows'] - smaller['rows']):.0f}"
    return {
        "index_rate": f"{1e6 * tar['work']['index'] / tar['rows']:.0f}" if tar else MISSING,
        "decode_rate": f"{1e6 * tar['work']['decode'] / tar['rows']:.0f}" if tar else MISSING,
        "write_rate": f"{1e6 * targets['work']['write'] / targets['rows']:.1f}" if targets else MISSING,
        "write_classes": "1,000",
        "memory_rate": memory,
    }


def _large(found: Found) -> str:
    rates = _rates(found)
    index, decode, write, memory = (rates[name] for name in ("index_rate", "decode_rate", "write_rate", "memory_rate"))
    lines: list[list[str]] = []

    def add(what: str, values: Sequence[str]) -> None:
        lines.append([what, *values])

    def times(rate: str, unit: float) -> list[str]:
        return [_long(float(rate) * num * unit) if rate != MISSING else MISSING for num in LARGE]

    add("index of tar shards, once", times(index, 1e-6))
    add("decode 32-pixel JPEGs, one core", times(decode, 1e-6))
    add("canvases of 64 pixels", [_bytes(num * (3 * 64 * 64 + 24)) for num in LARGE])
    add("canvases of 224 pixels", [_bytes(num * (3 * 224 * 224 + 24)) for num in LARGE])
    for views, classes in ((1, 100), (1, 1_000), (4, 1_000), (1, 10_000)):
        add(f"targets, V = {views}, K = {classes:,}", [_bytes(num * views * record_bytes(classes)) for num in LARGE])
    add("writing targets, V = 1, K = 1,000, beside the teacher", times(write, 1e-6))
    add("a permutation, in each process", [_bytes(num * 8) for num in LARGE])
    add("names, labels, ids, in each process", [_bytes(num * float(memory)) if memory != MISSING else MISSING for num in LARGE])
    return _table(["", *(f"{num:,}" for num in LARGE)], lines)


def _long(seconds: float) -> str:
    for unit, name in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e6:.0f} MB"
