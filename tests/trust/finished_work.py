"""What a process noted of its work, and whether its successor did again what was finished.

Finished is: an epoch of a training whose successor had begun, or whose stage was left; a chunk of decoded pictures; a batch of
tokens or targets; a stage that was left. A process that got SIGTERM or an exception between two steps has finished them all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toy_world import CHUNK

ASKED_AGAIN = ("evaluating", "writing", "auditing", "cells", "comparing", "float32", "int8")
"""What is asked again until its stage is left: numbers of models, which cost little; and an export, whole or not there."""


@dataclass
class Notes:
    """What a process did, in its own order."""

    events: dict[str, int] = field(default_factory=dict)
    refusal: str = ""
    struck: str = ""
    """The stage in which the blow fell, if it fell."""
    did: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Stage's name → (done, total) of each call of its progress."""
    left: set[str] = field(default_factory=set)
    saved_at_once: bool = False
    """Whether it was told to stop, so that a training saves its very step."""
    cut: str = ""
    """The file that was cut off after its end."""
    cut_when_finished: bool = False
    """Whether that was a file of a finished run, which keeps nothing that it could be made whole from: it is made again."""

    @classmethod
    def read(cls, path: Path) -> "Notes":
        """Read them."""
        notes = cls()
        for line in path.read_text().splitlines() if path.is_file() else ():
            notes._take(json.loads(line))
        return notes

    def _take(self, line: dict[str, Any]) -> None:
        self.events = line.get("events", self.events)
        self.struck = line.get("struck", self.struck)
        self.refusal = line.get("refused", self.refusal)
        if "at" in line:
            self.did.setdefault(line["at"], []).append((line["done"], line["total"]))
        if "left" in line:
            self.left.add(line["left"])

    def ended_by(self, kind: str) -> "Notes":
        """Note how it was ended."""
        self.saved_at_once = kind == "SIGTERM"
        return self


def redone(before: Notes, after: Notes, epoch_ends: Mapping[str, list[int]]) -> list[str]:
    """What `after` did again although `before` had finished it."""
    problems = []
    for name, calls in after.did.items():
        place, _, stage = name.rpartition(" / ")
        if name not in before.did or stage.startswith(ASKED_AGAIN) or _is_cut(place, stage, before.cut):
            continue
        if before.cut_when_finished and not place:
            continue
        first, last = calls[0], before.did[name][-1]
        kept = last[1] if name in before.left else _kept(stage, last, epoch_ends, at_once=before.saved_at_once and not place)
        begun = last[1] - first[1] if stage.startswith(("encoding", "labelling")) else first[0] - 1
        if begun < kept:
            problems.append(f"{name}: {kept} of {last[1]} were finished, and it began again at {begun}")
    return problems


def _kept(stage: str, last: tuple[int, int], epoch_ends: Mapping[str, list[int]], *, at_once: bool) -> int:
    """How much of a stage that was not left must not be done again, in the unit of its progress."""
    done, total = last
    if stage == "encoding words":  # all or none
        return 0
    if stage.startswith(("encoding", "labelling")) or (at_once and stage.startswith("training")):
        return done
    ends = [*range(0, total, CHUNK), total]
    if stage.startswith("training"):
        ends = epoch_ends.get(stage.removeprefix("training "), [total])
    return max((end for end in ends if end < done), default=0)  # it was written when something came after it


def _is_cut(place: str, stage: str, cut: str) -> bool:
    """Whether the file that was cut off holds this stage's work, which then has to be made again."""
    if stage.startswith("decoding"):
        return cut.startswith("cache/")
    if place:
        return cut.startswith("study/runs/" + place.replace(", ", "/").replace("seed ", "seed-"))
    if stage == "encoding words":
        return cut.startswith("cache/texts/")
    folder = {"encoding pictures": "tokens", "labelling targets": "targets"}.get(stage, stage.removeprefix("training "))
    return cut.startswith(f"run/stages/{folder}/")
