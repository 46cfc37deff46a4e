"""docs/reliability.md and docs/reliability.json from what the long forms kept; prints the page."""

import json
from typing import Any

import paths
from mutant_page import section

KEYS = ["kills", "lost", "inputs", "crashes", "hangs", "escapes", "coverage", "false_positive", "branch", "mutants", "survivors"]
DOCS = paths.ROOT / "docs"
NOT_MEASURED = "not measured yet"
PAGE = """# What was tried, and what it broke

`make trust` makes this page and [reliability.json](reliability.json). Measured at commit {commit}.

| tried | how often | counted | found |
| --- | --- | --- | --- |
{table}

## Kills

A toy run, export or study in a process of its own is struck at a random event (a call of its progress, or a file that is
opened to be written, renamed or removed) and taken up again until it ends. Kinds: SIGKILL; SIGTERM, which must end with
code 75; an exception that is none of picturebook's; a power cut, which is SIGKILL and then the file that was written last,
cut off anywhere; a disk error (full, quota, read-only, broken, vanished), which must end in a sentence. Then every file but
for times is that of an undisturbed run, bit for bit, checksums hold, nothing half written lies about, and no finished
epoch, chunk, batch or cell was done again. What was cut off is made again, and so is all of a finished run that loses a
file; the audit, and numbers of models, are asked for again until the run is closed; an export (timm, hub, ONNX, ONNX with int8)
is whole or not there at all.

By stage: {by_stage}. By kind: {by_kind}.

## Hostile inputs

Good files of each format, spoilt at random, and plans of somebody who knows the formats (decompression bombs, links, pipes, paths
that lead out, pickles in place of weights, sizes that lie), put before every reader under an audit hook.
{inputs}

## Intervals

Right and wrong answers of two arms on {pictures} test pictures in {groups} groups, with effects of groups, pictures, seeds and
runs whose true mean difference is an integral; the interval is the one that `compare` shows, the widest of its two or three.
Coverage by number of seeds: {coverage}; with half the pictures: {fewer} (the wider of two is too wide where they are alike). Of 8
seeds that go round 4 folds, each with test pictures of its own and training pictures that are worth an effect of a seed's size,
by number of test pictures: {folded}. False positives: of the t test over seeds alone {positive}; of the p that `compare` shows
{shown} (percent; {tests} and {studies} studies).
"""


def main() -> None:
    parts = {name: _read(name) for name in ("kills", "inputs", "intervals", "mutation")}
    numbers: dict[str, Any] = {key: next((part[key] for part in parts.values() if key in part), None) for key in KEYS}
    numbers["commit"] = ", ".join(dict.fromkeys(part["commit"] for part in parts.values() if part)) or None
    (DOCS / "reliability.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    page = _page(numbers, parts["kills"], parts["inputs"], parts["intervals"]) + section(parts["mutation"])
    (DOCS / "reliability.md").write_text(page, encoding="utf-8")
    print(page)


def _read(name: str) -> dict[str, Any]:
    path = paths.RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _page(numbers: dict[str, Any], kills: dict[str, Any], inputs: dict[str, Any], intervals: dict[str, Any]) -> str:
    bad = ", ".join(_said(numbers[key]) for key in ("crashes", "hangs", "escapes"))
    positive = _said(numbers["false_positive"], " %")
    rows = [
        ("kills", _said(numbers["kills"]), "runs that ended otherwise, or did finished work again", _said(numbers["lost"])),
        ("hostile inputs", _said(numbers["inputs"]), "crashes, hangs, escapes", bad),
        (
            "simulated studies",
            _said(intervals.get("studies")),
            "coverage of the 95 % interval, the farthest from 95 of six settings",
            _said(numbers["coverage"], " %"),
        ),
        ("studies of equal arms", _said(intervals.get("tests")), "false positives of the t test alone", positive),
        ("tests of losses, views, stores, audit, statistics", "", "branches covered", _said(numbers["branch"], " %")),
        ("mutants", _said(numbers["mutants"]), "survivors", _said(numbers["survivors"])),
    ]
    return PAGE.format(
        commit=numbers["commit"] or NOT_MEASURED,
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
        by_stage=_counts(kills.get("by_stage")),
        by_kind=_counts(kills.get("by_kind")),
        inputs=_bounds(inputs),
        pictures=_said(intervals.get("pictures")),
        groups=_said(intervals.get("groups")),
        coverage=_counts(intervals.get("coverage_by_seeds")),
        fewer=_counts(intervals.get("coverage_of_half_the_pictures")),
        folded=_counts(intervals.get("coverage_in_folds_by_pictures")),
        positive=_counts(intervals.get("false_positive_by_seeds")),
        shown=_counts(intervals.get("false_positive_as_shown")),
        tests=_said(intervals.get("tests")),
        studies=_said(intervals.get("studies")),
    )


def _said(value: Any, unit: str = "") -> str:
    return NOT_MEASURED if value is None else f"{value:,}{unit}"


def _counts(counts: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in counts.items()) if counts else NOT_MEASURED


def _bounds(inputs: dict[str, Any]) -> str:
    if not inputs:
        return "Not measured yet."
    bounds = inputs["bounds"]
    memory = f"{bounds['bytes_of_memory'] / 2**30:g} GiB"
    return (
        f"{inputs['results']:,} gave a result and {inputs['sentences']:,} a sentence. Bounds of each: {bounds['seconds']:g} s, "
        f"{memory} of memory\nbeyond the process's own, no file written outside its folder, no program or connection started, "
        "nothing unpickled."
    )


if __name__ == "__main__":
    main()
