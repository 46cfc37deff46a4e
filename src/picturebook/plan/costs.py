"""What a run takes, stage by stage, here and in a bigger setting."""

import math
from dataclasses import dataclass, replace
from typing import Any

from picturebook.plan.growing import Growth, by_pictures

_ROW = 383
"""Bytes of private memory that a picture's name, label and id take in each process (docs/scaling.md)."""
_ORDER = 16
"""And its place in an epoch's order, twice while one epoch turns into the next."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage takes."""

    stage: str
    seconds: float | None
    """None where the cache held the whole stage, so that nobody knows what more of it takes."""
    disk: int = 0
    """Bytes that it leaves in the run folder or the cache."""
    memory: int = 0
    """Most private memory of the process while it ran, what earlier stages left included, in bytes; 0 where it is not known."""
    shared: bool = False
    """Whether processes share it out; else one does it while the others wait, or each does all of it."""
    work: Growth = by_pictures
    """What its time grows with."""
    size: Growth | None = None
    """Its bytes on disk; where there is no arithmetic of them they grow with the work."""
    done: float = 1.0
    """Share of it that was done to measure it; the cache held the rest."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run takes on this machine."""

    stages: tuple[StageCost, ...]
    pictures: int
    """Training pictures."""
    classes: int
    processes: int = 1
    splits: float = 1.0
    """Pictures of all splits for one training picture."""
    canvases_up_to: float = math.inf
    """Training pictures up to which decoded pictures stay within data.canvas_budget_gb."""
    notes: tuple[str, ...] = ()
    """What the numbers leave out in this setting, in sentences."""

    @property
    def seconds(self) -> float:
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def disk(self) -> int:
        return sum(stage.disk for stage in self.stages)

    @property
    def memory(self) -> int:
        return max((stage.memory for stage in self.stages), default=0)

    @property
    def memory_of_rows(self) -> int:
        """Bytes of that memory which grow with the pictures: names, labels, ids and the order of an epoch."""
        return round((_ROW * self.splits + _ORDER) * self.pictures)

    def at(self, *, pictures: int, classes: int, processes: int) -> "Plan":
        """The same run on more pictures, classes and processes, by the rates measured here.

        The splits keep their shares. A stage that is shared out takes its time divided by the processes, any other all of it;
        what processes say to each other is not in it, nor that a last layer of more classes is larger.

        Raises:
            DataError: teacher.token_budget_gb holds no view of so many pictures.
        """
        bigger = replace(self, pictures=pictures, classes=classes, processes=processes)
        stages = tuple(self._grown(cost, bigger) for cost in self.stages)
        return replace(bigger, stages=stages, notes=(*self.notes, *self._left_out(stages, pictures)))

    def _grown(self, cost: StageCost, bigger: "Plan") -> StageCost:
        more = cost.work(bigger.pictures, bigger.classes) / cost.work(self.pictures, self.classes)
        seconds, disk = cost.seconds, float(cost.disk)
        if more != 1.0:
            # Other pictures and words than these are not in the cache: all of them is to be done.
            seconds = cost.seconds * more / cost.done if cost.seconds is not None and cost.done else None
            disk = cost.disk * more / (cost.done or 1.0)
        if seconds is not None and cost.shared:
            seconds *= self.processes / bigger.processes
        if cost.size is not None:
            disk = cost.size(bigger.pictures, bigger.classes)
        memory = max(0, cost.memory + bigger.memory_of_rows - self.memory_of_rows) if cost.memory else 0
        return replace(cost, seconds=seconds, disk=round(disk), memory=memory)

    def _left_out(self, stages: tuple[StageCost, ...], pictures: int) -> list[str]:
        notes = []
        if unknown := [cost.stage for cost in stages if cost.seconds is None]:
            notes.append(
                f"In the cache already, so that more of it was not measured: {', '.join(unknown)}. --set cache=NEW does."
            )
        if self.pictures <= self.canvases_up_to < pictures:
            notes.append(
                f"Past {int(self.canvases_up_to):,} training pictures data.canvas_budget_gb keeps no decoded ones: each is "
                "decoded whenever it is shown, which is in no stage's time here."
            )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """For machines: seconds (null where they are not known), bytes."""
        return {
            "pictures": self.pictures,
            "classes": self.classes,
            "processes": self.processes,
            "seconds": round(self.seconds, 1),
            "disk": self.disk,
            "memory": self.memory,
            "memory_of_rows": self.memory_of_rows,
            "stages": [
                {
                    "stage": cost.stage,
                    "seconds": None if cost.seconds is None else round(cost.seconds, 2),
                    "disk": cost.disk,
                    "memory": cost.memory,
                    "shared": cost.shared,
                }
                for cost in self.stages
            ],
            "notes": list(self.notes),
        }
