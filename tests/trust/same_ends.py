"""Whether a run that was struck ended as one that was not: the same bytes but for times, and nothing half written."""

import json
from pathlib import Path
from typing import Any

from picturebook.locking import LOCK
from picturebook.runs import RunFolder

_TIMES = ("seconds", "cached_seconds", "images_per_second", "commit", "out", "cache", "teacher_seconds", "stages")


def differences(place: Path, reference: Path) -> list[str]:
    """What is not as it was in the undisturbed run."""
    ours, theirs = _contents(place), _contents(reference)
    problems = [f"{name} is missing" for name in theirs if name not in ours]
    problems += [f"{name} is there and should not be" for name in ours if name not in theirs]
    for name in sorted(ours.keys() & theirs.keys()):
        try:
            same = _timeless(place, ours[name]) == _timeless(reference, theirs[name])
        except ValueError as error:
            problems.append(f"{name} is broken ({error})")
        else:
            problems += [] if same else [f"{name} differs"]
    for run in [path.parent for path in place.rglob("run.toml")]:
        if wrong := RunFolder(run).damage():
            problems.append(f"{run.relative_to(place)} is damaged: {wrong}")
        if wrong := RunFolder(run).export_damage():
            problems.append(wrong)
    return problems


def _contents(place: Path) -> dict[str, Path]:
    """Files by name, but for locks that nobody holds; the cache has names of its own, and is judged by what comes of it."""
    found = {}
    for path in place.rglob("*"):
        name = path.relative_to(place).as_posix()
        if path.is_file() and path.name != LOCK and not name.startswith("cache/") and path.suffix not in (".html", ".log"):
            found[name] = path
    return found


def _timeless(place: Path, path: Path) -> Any:
    """A file's content without what differs from run to run: times, and where it lies."""
    content = path.read_bytes().replace(str(place).encode(), b"")
    if path.name in ("checksums.json", "ledger.jsonl"):
        return None
    if path.suffix == ".json":
        return _without_times(json.loads(content))
    if path.suffix == ".jsonl":
        return [_without_times(json.loads(line)) for line in content.splitlines()]
    return content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(part) for name, part in value.items() if name not in _TIMES}
    if isinstance(value, list):
        return [_without_times(part) for part in value]
    return value
