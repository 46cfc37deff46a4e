"""`picturebook plan`: what a run will cost, from the run itself in small: a few pictures, two views, four steps a training.

Every stage does its real work on real pictures; its seconds and bytes are then multiplied by how much more of it the whole
run has. Decoding and the encoding of words are done in full, since the run finds them in the cache.
"""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from picturebook.caching import cache_folder
from picturebook.config import RECIPES, dump_options
from picturebook.data.duplicates import THUMBNAIL
from picturebook.engine import TrainOptions, build_accelerator
from picturebook.errors import OptionError
from picturebook.objective import Objective
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import EncoderOptions
from picturebook.runs import RunFolder
from picturebook.teachers import StoredTeacher
from picturebook.types import Progress, Reporter

_STEPS = 4
"""Steps of each training; the first one, which allocates, is not timed."""
_VIEWS = 2
"""Views of each picture that are encoded and labelled."""
_EVALUATED = 256
"""Pictures of val and of test that are evaluated."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage takes."""

    stage: str
    seconds: float
    disk: int
    """Bytes that it leaves in the run folder or the cache."""
    scales: bool = True
    """Whether it grows with the pictures: decoding and words that are in the cache already do not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run takes on this machine."""

    stages: tuple[StageCost, ...]
    memory: int
    """Most private memory that was seen, in bytes; mapped stores are not in it, and it hardly grows with the pictures."""
    pictures: int
    """Training pictures."""
    classes: int
    processes: int = 1

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def disk(self) -> int:
        return sum(stage.disk for stage in self.stages)

    def at(self, *, pictures: int, classes: int, processes: int) -> "Plan":
        """The same run on more pictures, classes and processes, by the rates measured here.

        Time is taken to grow with the pictures and to be shared out evenly; what processes say to each other is not in it, nor
        that a last layer of more classes is larger. Targets grow with the classes too.
        """
        grown, wider = pictures / self.pictures, classes / self.classes

        def scaled(cost: StageCost) -> StageCost:
            disk = cost.disk * grown * (wider if cost.stage.startswith("targets") else 1.0)
            return replace(cost, seconds=cost.seconds * grown / processes, disk=round(disk)) if cost.scales else cost

        return Plan(tuple(scaled(cost) for cost in self.stages), self.memory, pictures, classes, processes)

    def to_dict(self) -> dict[str, Any]:
        """For machines: seconds, bytes."""
        return {
            "pictures": self.pictures,
            "classes": self.classes,
            "processes": self.processes,
            "seconds": round(self.seconds, 1),
            "disk": self.disk,
            "memory": self.memory,
            "stages": [{"stage": c.stage, "seconds": round(c.seconds, 2), "disk": c.disk} for c in self.stages],
        }


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


class _SmallStages(Stages):
    """Stages that do a little of everything, and remember how much more there would be."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._factors: dict[str, float] = {}
        self._measured: dict[str, float] = {}
        self._disk: dict[str, int] = {}
        self._memory = _private_memory()
        super().__init__(*arguments, **keywords)

    def shrink(self, cache: Path) -> None:
        """From here on work on few pictures and views, with a cache that is thrown away but for words."""
        cache.mkdir()
        (self.cache / "texts").mkdir(parents=True, exist_ok=True)
        (cache / "texts").symlink_to((self.cache / "texts").resolve())
        self.cache = cache
        options = self.options
        self._num_pictures, views = len(self.train_rows), options.train.distinct_views
        few = max(_STEPS * options.train.batch_size, 2 * len(self.pictures.classes))
        rows = {split: _some(part, few if split == "train" else _EVALUATED) for split, part in self.pictures.rows.items()}
        evaluated = sum(len(self.pictures.rows[split]) for split in ("val", "test"))
        self._rows = self._num_pictures / len(rows["train"])
        self._views = views / min(views, _VIEWS)
        self._evaluated = evaluated / max(1, sum(len(rows[split]) for split in ("val", "test")))
        num_views, token_views = min(views, _VIEWS), _token_views(options, views)
        # Where the run stores tokens of some views alone, it labels pictures and not tokens, and so must this.
        few_tokens = num_views if token_views == views else 1
        self._factors["tokens"] = self._rows * token_views / few_tokens
        update: dict[str, Any] = {"train": options.train.model_copy(update={"num_views": num_views})}
        if isinstance(teacher := dict(options).get("teacher"), EncoderOptions):
            update["teacher"] = teacher.model_copy(update={"token_views": few_tokens})
        self.options = options.model_copy(update=update)
        self.pictures = replace(self.pictures, rows=rows)
        self.maker = replace(self.maker, pictures=self.pictures).among(rows["train"])
        self.reporter = _InSmall(self.reporter)

    def train(
        self, name: str, objective: Objective, *, rows: np.ndarray, options: TrainOptions | None = None, **rest: Any
    ) -> None:
        whole = options or self.options.train
        steps_an_epoch = len(rows) / whole.batch_size
        short = whole.model_copy(update={"epochs": math.ceil(_STEPS / steps_an_epoch), "validations": 0, "keep": "last"})
        times: list[float] = []
        reporter = self.reporter
        self.reporter = _Watch(reporter, times)
        rest["validate"] = None
        super().train(name, objective, rows=rows, options=short, **rest)
        self.reporter = reporter
        seconds_a_step = (times[-1] - times[0]) / max(1, len(times) - 1)
        self._measured[name] = seconds_a_step * whole.epochs * steps_an_epoch * self._rows

    def label(self, name: str, *arguments: Any, **keywords: Any) -> StoredTeacher:
        self._factors[name] = self._rows * self._views
        return super().label(name, *arguments, **keywords)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        yield
        seconds = (perf_counter() - start) * self._factor(stage)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self._memory = max(self._memory, _private_memory())
        if stage == "tokens":
            self._disk[stage] = round(self._size("tokens") * self._factor(stage))
        elif stage in self._factors:
            shared = _size(self.cache / "targets") if stage.startswith("targets") else 0
            self._disk[stage] = round((_size(self.folder.stage(stage)) + shared) * self._factor(stage))

    def plan(self) -> Plan:
        """What was measured, for the whole run."""
        seconds = self.seconds | self._measured
        kept = isinstance(self.pictures.canvases, np.ndarray)
        canvases = 3 * (self.options.data.canvas_size if kept else THUMBNAIL) ** 2 * len(self.pictures.ids)
        costs = [
            StageCost(s, t, canvases if s == "decode" else self._disk.get(s, 0), scales=s != "encode words")
            for s, t in seconds.items()
        ]
        return Plan(tuple(costs), self._memory, self._num_pictures, len(self.pictures.classes))

    def _factor(self, stage: str) -> float:
        return self._factors.get(stage, self._evaluated if stage in ("evaluate", "audit") else 1.0)

    def _size(self, shelf: str) -> int:
        return _size(self.cache / shelf) + _size(self.folder.stages / shelf)


class _InSmall:
    """A Reporter of stages that are tried: what they find out about a few pictures is nobody's business."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        with self._reporter.stage(f"trying: {name}") as progress:
            yield progress

    def say(self, sentence: str) -> None:
        pass


class _Watch:
    """A Reporter that writes down when each step was done."""

    def __init__(self, reporter: Reporter, times: list[float]) -> None:
        self._reporter, self._times = reporter, times

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        with self._reporter.stage(name) as progress:

            def note(done: int, total: int) -> None:
                self._times.append(perf_counter())
                progress(done, total)

            yield note

    def say(self, sentence: str) -> None:
        self._reporter.say(sentence)


def _some(rows: np.ndarray, num: int) -> np.ndarray:
    """At most `num` rows, evenly over all, so that classes that stand together are all met."""
    return rows if len(rows) <= num else rows[np.linspace(0, len(rows) - 1, num).astype(np.int64)]


def _token_views(options: RecipeOptions, views: int) -> int:
    """Views of image tokens that the run would store; 1 where it stores none."""
    teacher = dict(options).get("teacher")
    return min(teacher.token_views, views) if isinstance(teacher, EncoderOptions) else 1


def _size(folder: Path) -> int:
    """Bytes of the stores in a folder, but for headers, which do not grow."""
    return sum(path.stat().st_size for path in folder.rglob("values.npy")) if folder.is_dir() else 0


def _private_memory() -> int:
    """Bytes of this process that no file stands for, where the system says it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines.get("RssAnon", "0 kB").split()[0]) * 1024
