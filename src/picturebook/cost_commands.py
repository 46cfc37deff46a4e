"""The command line of what things cost: a run before it starts, and the cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picturebook.command_options import Json, OfSettings, Set, as_overrides, print_result

if TYPE_CHECKING:  # what a command needs is imported when it runs
    from rich.console import RenderableType

    from picturebook.caching import Entry
    from picturebook.plan import Plan

cache = typer.Typer(
    help="Look at the cache of decoded pictures, image tokens, heads and vectors of words, or empty it.", no_args_is_help=True
)


def plan(
    settings: Annotated[Path, typer.Argument(metavar="RUN.toml")],
    overrides: Set = None,
    device: OfSettings = None,
    pictures: Annotated[int | None, typer.Option(min=1, help="Training pictures of a bigger setting.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Its classes.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Its processes, of this machine's speed each.")] = 1,
    as_json: Json = False,
) -> None:
    """Say what a run will cost before it starts: `picturebook plan RUN.toml --pictures 1281167 --classes 1000 --processes 16`."""
    from picturebook.config import load_options
    from picturebook.plan import plan_run
    from picturebook.terminal import Terminal

    options = load_options(settings, as_overrides(overrides, device=device))
    with Terminal(quiet=as_json) as terminal:
        measured = plan_run(options, reporter=terminal)
    found = measured
    if pictures or classes or processes > 1:
        found = measured.at(pictures=pictures or measured.pictures, classes=classes or measured.classes, processes=processes)
    print_result(found.to_dict(), _plan_table(found), as_json)


@cache.command("list")
def list_entries(as_json: Json = False) -> None:
    """Show what lies in the cache, largest first: `picturebook cache list`."""
    from picturebook.caching import cache_folder, list_cache

    entries = list_cache(cache_folder())
    print_result([entry.to_dict() for entry in entries], _cache_table(entries, cache_folder()), as_json)


@cache.command()
def clean(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help="canvases, tokens, heads, targets, texts, shards, unfinished.")
    ] = None,
    older_than: Annotated[float, typer.Option(min=0.0, metavar="DAYS", help="Only what is older.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Empty the cache, but for what a run is filling: `picturebook cache clean tokens --older-than 30`."""
    from picturebook.caching import cache_folder, clean_cache
    from picturebook.data.findings import quantity

    gone = clean_cache(cache_folder(), kinds=kinds or (), older_than=older_than)
    told = f"{quantity(len(gone), 'item')} removed, {sum(entry.size for entry in gone) / 1e6:,.0f} MB free."
    print_result([entry.to_dict() for entry in gone], told, as_json)


def _plan_table(plan: "Plan") -> "RenderableType":
    """What a run takes, stage by stage."""
    from rich.console import Group
    from rich.table import Table

    table = Table("stage", "time", "processes", "memory", "disk", title_justify="left")
    for cost in plan.stages:
        time = "not known" if cost.seconds is None else _duration(cost.seconds)
        table.add_row(cost.stage, time, str(plan.processes if cost.shared else 1), _megabytes(cost.memory), _megabytes(cost.disk))
    table.add_section()
    table.add_row("all", _duration(plan.seconds), str(plan.processes), _megabytes(plan.memory), _megabytes(plan.disk))
    shares = f"{plan.pictures:,} training pictures, {plan.classes:,} classes, processes: {plan.processes}"
    memory = (
        "Memory is private, and that of one process; what it holds from earlier stages counts. Of it "
        f"{_megabytes(plan.memory_of_rows)} grow with the pictures: names, labels and their order."
    )
    took = "From a few steps of each stage on this machine; other work on it makes them longer."
    return Group(table, shares, memory, *plan.notes, took)


def _cache_table(entries: "Sequence[Entry]", folder: Path) -> "RenderableType":
    """What lies in the cache."""
    from rich.console import Group
    from rich.table import Table

    from picturebook.caching import describe

    table = Table("kind", "name", "size", "days old")
    for entry in entries:
        table.add_row(entry.kind, entry.path.name, _megabytes(entry.size), f"{entry.days:.1f}")
    kinds = sorted({entry.kind for entry in entries})
    return Group(table, f"{folder}: {_megabytes(sum(e.size for e in entries))}", *(f"{kind}: {describe(kind)}" for kind in kinds))


def _duration(seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60:.0f} s" if minutes else f"{seconds:.1f} s"


def _megabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB" if size else "–"
