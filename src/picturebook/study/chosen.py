"""Some arms of a study now, the others later."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from picturebook.study.cells import Cell
from picturebook.study.running import RunsCells, WhatIsThere


@dataclass(frozen=True, slots=True)
class Chosen:
    """Picks the cells of some arms and those that they learn from."""

    arms: Collection[str]
    tried: Collection[str]
    """Arms whose trials settle these arms' values or their teachers'."""

    @classmethod
    def of(cls, arms: Collection[str], cells: Sequence[Cell], inherit: Mapping[str, str]) -> "Chosen":
        """Some arms of a study.

        Args:
            arms: names.
            cells: all runs of the study.
            inherit: arm → the tuned arm whose values it takes.
        """
        tried, waiting = set[str](), list(arms)
        while waiting:
            if (arm := waiting.pop()) not in tried:
                tried.add(arm)
                waiting += [teacher for cell in cells if cell.arm == arm for teacher, _ in cell.needs]
                waiting += [inherit[arm]] if arm in inherit else []
        return cls(arms, tried)

    def __call__(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those of `cells` (each of which comes after what it learns from) that are picked, in their order."""
        needed, found = set[tuple[str, int]](), list[Cell]()
        for cell in reversed(cells):
            if cell.arm in self.tried if cell.is_trial else cell.arm in self.arms or (cell.arm, cell.seed) in needed:
                found.append(cell)
                needed |= set(cell.needs)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class SomeArms:
    """Has some arms' cells run; of the others it says what is there."""

    machine: RunsCells
    chosen: Chosen

    def run(self, cells: Sequence[Cell], *, given_up: Mapping[Path, str] = MappingProxyType({})) -> dict[Path, str]:
        """See `RunsCells`: a cell of another arm is not run yet, whatever became of its trials."""
        wanted = self.chosen(cells)
        folders = {cell.folder for cell in wanted}
        left = WhatIsThere().run([cell for cell in cells if cell.folder not in folders])
        return left | self.machine.run(wanted, given_up={folder: why for folder, why in given_up.items() if folder in folders})
