"""Cells: the runs of a study, one an arm and seed, with their settings resolved and in an order in which teachers come first."""

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from picturebook.config import RECIPES, completed, dump_options, load_options, parse_options
from picturebook.errors import OptionError, PicturebookError
from picturebook.recipes.options import RecipeOptions
from picturebook.runs import RunFolder
from picturebook.study.settings import StudyOptions, known_arm, merged, nested

Values = Mapping[str, Any]
"""Setting's path → value."""

_PLACEHOLDER = re.compile(r"\{(?:(seed|next_seed|fold)|arm:([^{}@]*)(@next)?)\}")
_LIKE_A_PLACEHOLDER = re.compile(r"\{(?:arms?\b|next|seeds?\b|folds?\b)[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a study."""

    name: str
    """As a person reads it: "distil, seed 3"."""
    arm: str
    seed: int
    folder: Path
    kept: Path
    """Folder of the study's records."""
    record: Path
    """Its own record, once it is finished (`records`)."""
    options: RecipeOptions
    """Everything resolved."""
    needs: tuple[tuple[str, int], ...]
    """(arm, seed) of the runs that it learns from."""
    is_trial: bool = False
    """It is there to choose settings, and not to be reported."""

    @property
    def run(self) -> RunFolder:
        """Its run folder."""
        return RunFolder(self.folder)

    @property
    def file(self) -> Path:
        """Its settings, beside its run folder."""
        return self.folder.with_name(self.folder.name + ".toml")

    @property
    def log(self) -> Path:
        """What its process said, beside its run folder."""
        return self.folder.with_name(self.folder.name + ".log")

    def refuse_other_settings(self) -> None:
        """Look at what an earlier call left.

        Raises:
            RunError: its folder holds a run with other settings (the message names the first that differs), or other files.
        """
        if self.run.finished and self._same_as_stored():
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            self.run.start(resume=True, resolved=dump_options(self.options), completed=completed(self.options))

    def _same_as_stored(self) -> bool:
        # Compared as they are read today, so that a setting that came later, at its default, undoes no finished run.
        try:
            return load_options(self.run.settings) == self.options
        except OptionError:
            return False


@dataclass(frozen=True)
class Plan:
    """What a study runs; values that tuning found are laid over an arm's own settings."""

    options: StudyOptions
    source: str
    """Name of the study's file, for messages."""
    tuned: Mapping[str, Values] = field(default_factory=dict)
    """Arm → values found by its trials, or inherited."""
    overrides: tuple[str, ...] = ()
    """What was laid over the file's settings."""

    @property
    def command(self) -> str:
        """What runs the study, or goes on with it."""
        return shlex.join(["picturebook", "compare", self.source, *(word for one in self.overrides for word in ("--set", one))])

    @property
    def kept(self) -> Path:
        """Folder of the finished cells' records."""
        return Path(self.options.keep or Path(self.options.out) / "kept")

    def folder(self, arm: str, seed: int) -> Path:
        """Where that cell's run lies."""
        return Path(self.options.out) / "runs" / arm / f"seed-{seed}"

    def with_values(self, arms: Iterable[str], values: Values) -> "Plan":
        """The plan in which these arms have these values."""
        return replace(self, tuned={**self.tuned, **dict.fromkeys(arms, values)})

    def cell(self, arm: str, seed: int) -> Cell:
        """The cell of an arm and a seed.

        Raises:
            OptionError: its settings are impossible; the message names the arm.
        """
        values = self.tuned.get(arm, {})
        return self._cell(f"{arm}, seed {seed}", arm, seed, self.folder(arm, seed), values)

    def trial(self, arm: str, number: int, values: Values) -> Cell:
        """A trial of an arm: the cell of the tuning seed with other values."""
        folder = Path(self.options.out) / "tune" / arm / f"trial-{number}"
        return replace(self._cell(f"{arm}, trial {number}", arm, self.tuning_seed, folder, values), is_trial=True)

    @property
    def tuning_seed(self) -> int:
        """Seed of the trials."""
        seed = self.options.tune.seed
        return self.options.seeds[0] if seed is None else seed

    def cells(self) -> list[Cell]:
        """Every arm and seed, seed after seed so that an interrupted study has whole pairs, teachers before their students."""
        study = self.options
        for arm in study.arms:
            self.cell(arm, study.seeds[0])  # what an arm without seeds of these says is read, too, before anything runs
        return self.ordered(self.cell(arm, seed) for seed in study.seeds for arm in study.arms if seed in study.seeds_of(arm))

    def ordered(self, cells: Iterable[Cell]) -> list[Cell]:
        """These cells and all that they need, each once, after what it needs.

        Raises:
            OptionError: cells need each other in a circle.
        """
        done: dict[Path, Cell] = {}
        for cell in cells:
            self._visit(cell, done, ())
        return list(done.values())

    def _visit(self, cell: Cell, done: dict[Path, Cell], path: tuple[str, ...]) -> None:
        if cell.folder in done:
            return
        if cell.name in path:
            circle = " → ".join((*path[path.index(cell.name) :], cell.name))
            raise OptionError(f"{self.source}: these runs wait for each other: {circle}. A run cannot learn from itself.")
        for arm, seed in cell.needs:
            teacher = self.cell(arm, seed)
            self._refuse_other_split(cell, teacher)
            self._visit(teacher, done, (*path, cell.name))
        done[cell.folder] = cell

    def _refuse_other_split(self, cell: Cell, teacher: Cell) -> None:
        ours, theirs = cell.options.data, teacher.options.data
        if not theirs.supervision.knows_no_more_than(ours.supervision):
            raise OptionError(
                f"{self.source}: {cell.name} learns from {teacher.name}, whose data.supervision gives it labels that are "
                "withheld here. Give both the same labelled_share, label_noise and seed, or the teacher a smaller share."
            )
        if (ours.root, ours.split) != (theirs.root, theirs.split):
            raise OptionError(
                f"{self.source}: {cell.name} learns from {teacher.name}, whose data.root or data.split is another: that run "
                "may have been taught this one's test pictures. Give both the same."
            )

    def _cell(self, name: str, arm: str, seed: int, folder: Path, values: Values) -> Cell:
        settings = merged(merged(self.options.run, self.options.arms[arm]), nested(dict(values)))
        folds = _folds(settings)
        places = _Places(self, arm, seed, folds)
        settings = places.fill(settings) | {"seed": seed, "out": str(folder)}
        if folds > 1:
            settings = merged(settings, {"data": {"split": {"fold": seed % folds}}})
        options = parse_options(settings, source=f"{self.source}, arm {arm}")
        record = self.kept / folder.relative_to(self.options.out).with_name(f"{folder.name}.json")
        return Cell(name, arm, seed, folder, self.kept, record, options, tuple(dict.fromkeys(places.needs)))


def _folds(settings: Mapping[str, Any]) -> int:
    """Folds over which the seeds go round: seed s has fold s mod folds, unless the settings name one for all."""
    data = settings.get("data", {})
    split = data.get("split", {}) if isinstance(data, dict) else {}
    folds = split.get("folds") if isinstance(split, dict) and "fold" not in split else None
    return folds if isinstance(folds, int) and folds > 1 else 1


class _Places:
    """Fills what settings leave open until the seed is known, and notes whose runs they name."""

    def __init__(self, plan: Plan, arm: str, seed: int, folds: int) -> None:
        self._plan, self._arm = plan, arm
        self._numbers = {"seed": seed, "next_seed": plan.options.next_seed(seed, folds)} | (
            {"fold": seed % folds} if folds > 1 else {}
        )
        self.needs: list[tuple[str, int]] = []

    def fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.fill(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self.fill(part) for part in value]
        if not isinstance(value, str):
            return value
        if value in ("{seed}", "{next_seed}", "{fold}"):  # alone, it may stand where a number is needed
            return int(self._word(value))
        for like in _LIKE_A_PLACEHOLDER.findall(value):
            if not _PLACEHOLDER.fullmatch(like):
                raise OptionError(
                    f"{self._plan.source}, arm {self._arm}: {like} means nothing: "
                    "need {seed}, {next_seed}, {fold}, {arm:NAME} or {arm:NAME@next}."
                )
        return _PLACEHOLDER.sub(lambda match: self._word(match[0]), value)

    def _word(self, placeholder: str) -> str:
        match = _PLACEHOLDER.fullmatch(placeholder)
        assert match is not None
        number, arm, with_next = match.groups()
        if number is not None and number not in self._numbers:
            raise OptionError(f"{self._plan.source}, arm {self._arm}: {{fold}} needs data.split.folds, and no fold beside it.")
        if number is not None:
            return str(self._numbers[number])
        known_arm(arm, self._plan.options.arms, f"{self._plan.source}, arm {self._arm}, {placeholder}")
        seed = self._numbers["next_seed" if with_next else "seed"]
        self.needs.append((arm, seed))
        return str(self._plan.folder(arm, seed))


def check_arms(cells: Iterable[Cell], source: str) -> None:
    """Refuse arms whose settings cannot go together; those that learn from a run are looked at when that is there.

    Raises:
        PicturebookError: what the recipe raises, with the arm's name.
    """
    first = {cell.arm: cell for cell in reversed(list(cells))}
    for cell in first.values():
        if cell.needs:
            continue
        try:
            RECIPES[cell.options.recipe].check(cell.options)
        except PicturebookError as error:
            raise type(error)(f"{source}, arm {cell.arm}: {error}") from None
