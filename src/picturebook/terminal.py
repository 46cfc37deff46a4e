"""What a person sees in the terminal: bars while something runs, tables when it is done."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from picturebook.runs import RunFolder
from picturebook.types import LABEL_PRIVILEGED, Progress
from picturebook.writing import read_json

if TYPE_CHECKING:  # seconds to import, and every command comes by here
    from picturebook.audit import Audit
    from picturebook.metrics import Evaluation


_WORDS = {
    "num_rows": "pictures",
    "num_unlabelled": "without a label",
    "num_labelled": "with a label",
    "num_groups": "groups",
    "num_distinct": "different ones",
    "mean_words": "words in one, on average",
    "named": "that name their class (init masks it)",
    "num_clusters": "clusters",
    "num_pictures": "pictures in them",
    "duplicates": "near duplicates",
    "training": "to learn from",
    "texts": "words",
    "no_words": "words",
}
"""Fields of an inspection → what a person reads."""
_SHARES = {"named"}
"""Fields of an inspection that are shares of 1; a person reads percent."""


class Terminal:
    """A Reporter for people: rich bars with rate and time left; plain lines where the output is no terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        # Bars and remarks go to stderr, so that what a command prints can be piped. Names may hold [ ] and : as they like.
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False)
        self._bars = Bars(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )

    def __enter__(self) -> "Terminal":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """One bar for one long loop."""
        task = self._bars.add_task(name, total=None, rate="")

        def progress(done: int, total: int) -> None:
            speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
            rate = "" if not speed else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"
            self._bars.update(task, completed=done, total=total, rate=rate)

        try:
            yield progress
        finally:
            self._bars.remove_task(task)
        if not self._console.is_terminal:
            self._console.print(f"{name}: done")

    def say(self, sentence: str) -> None:
        """One remark, above the bars; in a file or a pipe on one line, so that paths in it stay whole."""
        self._console.print(sentence, soft_wrap=not self._console.is_terminal)

    def show(self, renderable: RenderableType) -> None:
        """The result, on stdout; of several processes the first one shows it."""
        if is_first_process():
            show(renderable)


def is_first_process() -> bool:
    """Whether this is the one that speaks, where a launcher started several."""
    return os.environ.get("RANK", "0") == "0"


def show(renderable: RenderableType) -> None:
    """Print a result on stdout; where that is no terminal, wide enough that no column is cut."""
    width = None if Console().is_terminal else 160
    Console(highlight=False, markup=False, emoji=False, width=width).print(renderable)


def percent(fraction: float | None) -> str:
    """0.5432 as 54.3."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def results_table(folder: RunFolder) -> RenderableType:
    """A finished run's models on validation and test pictures, and what to do next."""
    models = read_json(folder.results)["models"]
    table = _numbers_table(title=str(folder.path))
    for name, splits in models.items():
        for split, numbers in splits.items():
            # What is told the answer may not stand beside what looks for it (docs/audit.md).
            cells = (str(numbers["num"]), "not shown") if name.endswith(LABEL_PRIVILEGED) else _cells(numbers)
            table.add_row(name, split, *cells)
    run = folder.path
    after = (
        f"Next: picturebook report {run}, predict {run} PICTURES, export {run} --to onnx, serve {run}. Student: {folder.student}"
    )
    return Group(table, "NLL and ECE judge the probabilities: the lower the better.", *_in_a_sentence(models["student"]), after)


def _in_a_sentence(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a run came to, for whoever reads one line; nothing where no test picture has a label."""
    if (test := splits.get("test")) is None:
        return []
    sure = f"95 % interval {percent(test['low'])} to {percent(test['high'])}"
    rate = f"always saying the commonest class: {percent(test['majority'])} %"
    return [f"The student names {percent(test['accuracy'])} % of {test['num']} test pictures rightly ({sure}); {rate}."]


def evaluation_table(result: "Evaluation") -> RenderableType:
    """One evaluation, and what else was measured."""
    numbers = result.to_dict()
    table = Table("pictures", "accuracy %", "95 % interval", "NLL", "ECE %")
    table.add_row(*_cells(numbers))
    more = {
        "macro accuracy %": percent(result.macro_accuracy),
        **({} if result.top5 is None else {"top-5 accuracy %": percent(result.top5)}),
        "worst class accuracy %": percent(result.worst_class_accuracy),
        "majority rate %": percent(result.majority),
        "Brier score": f"{result.brier:.4f}",
        "ECE %, bins of equal numbers": percent(result.ece_mass),
        "area under risk-coverage": f"{result.aurc:.4f}",
        "interval": result.interval,
    }
    return Group(table, two_columns(more))


def audit_table(found: "Audit") -> RenderableType:
    """An audit's verdict, its reasons and every probe."""
    from picturebook.audit import COLUMNS, headline, summary_rows

    table = Table(*COLUMNS, title=headline(found), title_justify="left")
    for row in summary_rows(found):
        table.add_row(*row)
    return Group(table, *found.reasons)


def two_columns(rows: Mapping[str, str]) -> RenderableType:
    """Names and a word about each; long words stay in their column."""
    grid = Table.grid(padding=(0, 2))
    for name, note in rows.items():
        grid.add_row(name, note)
    return grid


def _numbers_table(title: str | None = None) -> Table:
    return Table("model", "split", "pictures", "accuracy %", "95 % interval", "NLL", "ECE %", title=title, title_justify="left")


def inspection_table(found: Mapping[str, Any]) -> RenderableType:
    """What `inspect` found, section by section; what the data do not have is left out."""
    table = Table("what", "found", show_header=False)
    for name, value in found.items():
        if value is None:
            continue
        nested = isinstance(value, Mapping)
        lines = [f"{_in_words(key)}: {_plain(part, key)}" for key, part in value.items()] if nested else [_plain(value)]
        table.add_row(_in_words(name), "\n".join(lines))
    return table


def _in_words(name: str) -> str:
    """A field's name as a person reads it; names of classes and the like stay as they are."""
    return _WORDS.get(name, name)


def _plain(value: Any, name: str = "") -> str:
    if name in _SHARES:
        return f"{percent(value)} %"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(str(_plain(part)) for part in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cells(numbers: Mapping[str, Any]) -> tuple[str, ...]:
    interval = f"{percent(numbers['low'])} – {percent(numbers['high'])}"
    return str(numbers["num"]), percent(numbers["accuracy"]), interval, f"{numbers['nll']:.3f}", percent(numbers["ece"])
