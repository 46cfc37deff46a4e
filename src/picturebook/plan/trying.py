"""The run itself in small: each stage's work on a few pictures, and how much more of it the whole run has."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from picturebook.caching import cache_folder
from picturebook.config import RECIPES, dump_options
from picturebook.engine import TrainOptions, build_accelerator
from picturebook.errors import OptionError
from picturebook.objective import Objective
from picturebook.plan import growing
from picturebook.plan.costs import Plan, StageCost
from picturebook.plan.growing import Growth, Held
from picturebook.plan.watching import Trial, watched
from picturebook.recipes.auditing import most_audited
from picturebook.recipes.captioning import CaptionOptions
from picturebook.recipes.head_teacher import HeadTeacherOptions
from picturebook.recipes.options import RecipeOptions, refuse_unmeasured
from picturebook.recipes.pairs import PairsRecipe
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import HELD_OUT, EncoderOptions
from picturebook.runs import RunFolder
from picturebook.stores.packed import read_header
from picturebook.teachers import StoredTeacher
from picturebook.types import Progress, Reporter

_STEPS = 4
"""Steps of each training; the first one, which allocates, is not timed."""
_VIEWS = 2
"""Views of each picture that are encoded and labelled."""
_EVALUATED = 256
"""Pictures of val and of test that are evaluated."""


def plan_run(options: RecipeOptions, *, reporter: Reporter) -> Plan:
    """Measure what a run would take; nothing of it is kept but what the cache holds of pictures and words.

    Raises:
        PicturebookError: as the run itself would, before or after its first steps.
    """
    recipe = RECIPES[options.recipe]
    column = recipe.check(options)
    cache = cache_folder(options.cache)
    accelerator = build_accelerator(device=options.device, precision=options.precision)
    if accelerator.num_processes > 1:
        raise OptionError("plan measures in one process: start it without a launcher, and say --processes to see what many do.")
    with tempfile.TemporaryDirectory(prefix="picturebook-plan-") as work:
        folder = RunFolder(Path(work) / "run")
        folder.start(resume=False, resolved=dump_options(options))
        stages = _SmallStages(options, folder, accelerator, cache=cache, text_column=column, reporter=reporter)
        stages.shrink(Path(work) / "cache")
        recipe.run(stages, stages.options)
        return stages.plan()


@dataclass(slots=True)
class _Tried:
    """What a stage was seen to take in small, and how the whole of it follows."""

    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    times: float | None = None
    """How much more the whole run has of it; None where it goes by the training pictures."""
    work: Growth = growing.by_pictures
    size: Growth | None = None
    shared: bool = False
    asked: int = 0
    """What was to be done, in any unit, and how much of it the cache did not hold; 0 where no cache holds it."""
    new: int = 0

    @property
    def done(self) -> float:
        return min(1.0, self.new / self.asked) if self.asked else 1.0


class _SmallStages(Stages):
    """Stages that do a little of everything, and remember how much more there would be."""

    def __init__(self, options: RecipeOptions, *arguments: Any, reporter: Reporter, **keywords: Any) -> None:
        self._tried: dict[str, _Tried] = {}
        self._trial, self._whole = Trial(reporter), options
        self._held: Held | None = None
        self._record = 0
        """Bytes of the tokens of a view."""
        self._token_views = 1.0
        """How many more views of tokens the whole run stores."""
        super().__init__(options, *arguments, reporter=self._trial, **keywords)
        decode = self._tried["decode"]
        decode.times, decode.asked, decode.new = 1.0, len(self.pictures.ids), len(self._trial.times)

    def shrink(self, cache: Path) -> None:
        """From here on work on few pictures and views, with a cache that is thrown away but for words."""
        cache.mkdir()
        if not isinstance(self.options, PairsRecipe):  # which reads words of the few pictures alone
            (self.cache / "texts").mkdir(parents=True, exist_ok=True)
            (cache / "texts").symlink_to((self.cache / "texts").resolve())
        self.cache, options = cache, self.options
        self._num = {split: len(part) for split, part in self.pictures.rows.items()}
        few = max(_STEPS * options.train.batch_size, 2 * len(self.pictures.classes))
        rows = {split: _some(part, few if split == "train" else _EVALUATED) for split, part in self.pictures.rows.items()}
        self._more = {split: self._num[split] / max(1, len(part)) for split, part in rows.items()}
        self._splits = len(self.pictures.ids) / self._num["train"]
        self._tried["decode"].size = growing.canvases(options.data, self._splits)
        teacher, views = self._encoder, options.train.distinct_views
        # Where tokens may hold every view, all of these few are tried, so that the budget decides here as in the run.
        held = teacher is not None and teacher.token_views >= views
        update: dict[str, Any] = {"train": options.train.model_copy(update={"num_views": views if held else min(views, _VIEWS)})}
        if teacher is not None:
            update["teacher"] = teacher.model_copy(update={"token_views": views if held else 1})
        self.options = options.model_copy(update=update)
        self.pictures = replace(self.pictures, rows=rows)
        self.maker = replace(self.maker, pictures=self.pictures).among(rows["train"])
        self._trial.quiet = True

    @property
    def num_stored(self) -> int:
        return self._num["train"]

    def train(
        self,
        name: str,
        objective: Objective,
        *,
        rows: np.ndarray,
        options: TrainOptions | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        **rest: Any,
    ) -> None:
        whole = options or self.options.train
        refuse_unmeasured(whole, name, validated=validate is not None)
        steps_an_epoch = len(rows) / whole.batch_size
        short = whole.model_copy(update={"epochs": math.ceil(_STEPS / steps_an_epoch), "validations": 0, "keep": "last"})
        super().train(name, objective, rows=rows, options=short, **rest)
        times, tried = self._trial.times, self._tried[name]
        tried.seconds = (times[-1] - times[0]) / max(1, len(times) - 1)
        tried.times, tried.shared = whole.epochs * steps_an_epoch * self._more["train"], True
        if validate is not None and whole.validations:
            validate()  # a first time, which imports and allocates, is not timed
            with self.timed(f"validate {name}"):
                validate()
            self._tried[f"validate {name}"].times = min(whole.validations, whole.epochs) * self._more["val"]

    def label(self, name: str, *arguments: Any, **keywords: Any) -> StoredTeacher:
        store = super().label(name, *arguments, **keywords)
        tried, views = self._tried[name], self._whole.train.distinct_views
        tried.times, tried.shared = self._more["train"] * views / self.options.train.distinct_views, True
        tried.size = growing.targets(views, keywords.get("representation_width"))
        if keywords.get("on_tokens"):
            tried.work = self._labelling(tried, views)
        return store

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        with watched() as seen:
            yield
        tried = self._tried.setdefault(stage, _Tried())
        tried.seconds += seen.seconds
        tried.memory = max(tried.memory, seen.memory)
        if stage == "tokens":
            self._note_tokens(tried)
        elif stage == HELD_OUT:
            self._note_held_out(tried)
        elif stage in ("evaluate", "audit", "caption", "calibrate"):
            tried.times, tried.work = self._looked_at(stage)

    @contextmanager
    def encoding_words(self, num: int, *, of_pictures: bool) -> Iterator[Progress]:
        stage, folder = "encode pictures' words" if of_pictures else "encode words", self.cache / "texts"
        before = _size(folder)
        with self.timed(stage), self.reporter.stage("encoding words") as progress:
            yield progress
        tried = self._tried[stage]
        tried.disk += _size(folder) - before
        if isinstance(self.options, PairsRecipe):  # and all of theirs are encoded here, since that cache was empty
            tried.times = self._more["train"] if of_pictures else 1.0
        else:
            tried.times, tried.asked, tried.new = 1.0, tried.asked + num, tried.new + self._trial.reached
        tried.work = growing.by_pictures if of_pictures else growing.by_classes

    def plan(self) -> Plan:
        """What was measured, for the whole run."""
        data, pictures = self._whole.data, self._num["train"]
        kept = data.canvas_budget_gb * 1e9 / (3 * data.canvas_size**2) / self._splits
        costs = tuple(self._cost(stage, tried) for stage, tried in self._tried.items())
        return Plan(costs, pictures, len(self.pictures.classes), splits=self._splits, canvases_up_to=kept)

    def _cost(self, stage: str, tried: _Tried) -> StageCost:
        times = self._more["train"] if tried.times is None else tried.times
        disk = tried.disk * times if tried.size is None else tried.size(self._num["train"], len(self.pictures.classes))
        return StageCost(
            stage,
            tried.seconds * times,
            round(disk),
            tried.memory,
            shared=tried.shared,
            work=tried.work,
            size=tried.size,
            done=tried.done,
        )

    @property
    def _encoder(self) -> EncoderOptions | None:
        """The run's teacher, where it has an encoder whose tokens may be stored."""
        teacher = dict(self._whole).get("teacher")
        return teacher if isinstance(teacher, EncoderOptions) else None

    def _note_tokens(self, tried: _Tried) -> None:
        """Take what the tokens of a view are from the store that was made just now."""
        shelves = (self.cache / "tokens", self.folder.stages / "tokens")
        (header,) = (read_header(path.parent) for shelf in shelves for path in shelf.rglob("header.json"))
        self._record = record = math.prod(header["record"]) * np.dtype(header["dtype"]).itemsize
        assert self._encoder is not None
        held = growing.held_views(self._encoder, self._whole.train.distinct_views, record)
        self._token_views = held(self.num_stored) / header["num_views"]
        self._held, tried.times, tried.shared = held, self._more["train"] * self._token_views, True
        tried.work, tried.size = growing.tokens(held), growing.tokens(held, record)

    def _note_held_out(self, tried: _Tried) -> None:
        tried.times, tried.work = self._looked_at(HELD_OUT)
        tried.shared = True
        assert self._encoder is not None
        assert self._held is not None
        share = (self._num["val"] + self._num["test"]) / self._num["train"]
        tried.size = growing.held_out(self._encoder, self._held, self._record, share)

    def _labelling(self, tried: _Tried, views: int) -> Growth:
        """The work of labelling from tokens, which goes through the encoder where the tokens of all views are too many."""
        assert self._held is not None
        here = len(self.train_rows) * self.options.train.distinct_views
        # Where targets are made from tokens, those of all views were stored, here too.
        return growing.labelling(self._held, views, on_tokens=tried.seconds / here, encoding=self._tried["tokens"].seconds / here)

    def _looked_at(self, stage: str) -> tuple[float, Growth]:
        """How much more of a look at pictures the whole run has, and what it grows with."""
        teacher = dict(self._whole).get("teacher")
        folds = teacher.folds if isinstance(teacher, HeadTeacherOptions) else 0
        if stage == "audit":  # half of the folds, or validation pictures
            split, share = ("train", (folds + 1) // 2 / folds) if folds else ("val", 1.0)
            return self._bounded(most_audited(len(self.pictures.classes)), split, share)
        if stage == "caption":
            options = dict(self._whole)["captions"]
            assert isinstance(options, CaptionOptions)
            return self._bounded(options.num_pictures, "test" if self._num["test"] else "val")
        if stage == "calibrate":
            return self._more["train"] * self._token_views if folds else self._more["val"], growing.by_pictures
        few = sum(len(self.pictures.rows[split]) for split in ("val", "test"))
        return (self._num["val"] + self._num["test"]) / max(1, few), growing.by_pictures

    def _bounded(self, most: int, split: str, share: float = 1.0) -> tuple[float, Growth]:
        whole, here = share * self._num[split], share * len(self.pictures.rows[split])
        return min(most, whole) / max(1.0, min(most, here)), growing.up_to(most, whole / self._num["train"])


def _some(rows: np.ndarray, num: int) -> np.ndarray:
    """At most `num` rows, evenly over all, so that classes that stand together are all met."""
    return rows if len(rows) <= num else rows[np.linspace(0, len(rows) - 1, num).astype(np.int64)]


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0
