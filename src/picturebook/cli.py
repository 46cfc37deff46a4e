"""The command line: argv to one call."""

import re
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from picturebook import __version__
from picturebook.command_options import Json, OfSettings, Set, as_overrides, print_result
from picturebook.cost_commands import cache, plan
from picturebook.errors import InterruptionError, PicturebookError, RunError
from picturebook.interruption import sigterm_abandons
from picturebook.model_commands import audit, evaluate, export, predict, report, serve
from picturebook.redaction import without_secrets

app = typer.Typer(
    name="picturebook",
    help=(
        "Train image classifiers from the words beside their pictures.\n\n"
        "On your own pictures: `picturebook inspect birds/`, `picturebook init birds/`, `picturebook train RUN.toml`, "
        "`picturebook predict runs/birds photos/`. To look at it first: `picturebook demo`."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal acts on; names of files may hold it."""


def _version(shown: bool) -> bool:
    if shown:
        typer.echo(f"picturebook {__version__}")
        raise typer.Exit
    return shown


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of the user's errors too.")] = False,
) -> None:
    pass  # both are read before a command runs: --version by its callback, --debug by main()


@app.command()
def train(
    settings: Annotated[Path, typer.Argument(metavar="RUN.toml")],
    overrides: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    device: OfSettings = None,
    seed: Annotated[int | None, typer.Option(help="--set seed=…")] = None,
    as_json: Json = False,
) -> None:
    """Run one recipe: `picturebook train RUN.toml --seed 1 --set out=runs/second`; `--resume` goes on after an interruption."""
    from picturebook.config import load_options, run_recipe
    from picturebook.terminal import Terminal, is_first_process, results_table
    from picturebook.writing import read_json

    options = load_options(settings, as_overrides(overrides, device=device, seed=seed))
    try:
        with Terminal(quiet=as_json) as terminal:
            folder = run_recipe(options, resume=resume, reporter=terminal)
    except KeyboardInterrupt:
        typer.echo("Interrupted; nothing is lost. Go on with the same command and --resume.", err=True)
        raise typer.Exit(130) from None
    if is_first_process():
        print_result({"run": str(folder.path)} | read_json(folder.results), results_table(folder), as_json)


app.command()(plan)
app.command()(evaluate)
app.command()(report)
app.command()(audit)
app.command()(predict)
app.command()(export)
app.command()(serve)
app.add_typer(cache, name="cache")


@app.command()
def inspect(
    target: Annotated[
        str, typer.Argument(metavar="DATA|RUN", help="A folder of pictures, tar or parquet shards, a hub name, or a run.")
    ],
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Look at data before training (classes, counts, broken and duplicate files, words), or verify a run's files.

    `picturebook inspect birds/ --set split.by=group`, `picturebook inspect runs/birds`.
    """
    from picturebook.caching import cache_folder
    from picturebook.start import inspect_target
    from picturebook.terminal import Terminal, inspection_table

    with Terminal(quiet=as_json) as terminal:
        found = inspect_target(target, overrides=overrides or (), cache=cache_folder(), reporter=terminal)
    print_result(found, inspection_table(found), as_json)


@app.command()
def init(
    data: Annotated[str, typer.Argument(metavar="DATA")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("RUN.toml"),
) -> None:
    """Look at a folder of pictures and write a commented RUN.toml for it: `picturebook init birds/ --out birds.toml`."""
    from picturebook.caching import cache_folder
    from picturebook.start import write_run_file
    from picturebook.terminal import Terminal

    with Terminal() as terminal:
        told = write_run_file(data, out, cache=cache_folder(), reporter=terminal)
    typer.echo(told)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="models, recipes, settings, objectives, texts or controls.")],
    pattern: Annotated[str, typer.Argument(help="Shell pattern that names must match.")] = "*",
    as_json: Json = False,
) -> None:
    """Names that settings take: `picturebook list models 'resnet*'`, `picturebook list settings 'teacher.*'`."""
    from picturebook.catalogue import catalogue
    from picturebook.terminal import two_columns

    rows = catalogue(what, pattern)
    print_result(rows, two_columns(rows), as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demo's runs.")] = Path("runs/demo"),
    model: Annotated[
        str, typer.Option("--model", help="Student and teacher's encoder: a timm name, or package:efficientnet-lite0.")
    ] = "resnet10t",
) -> None:
    """The main job on real pictures and words from packages, with table and report: `picturebook demo --out runs/demo`."""
    from picturebook.demo import run_demo
    from picturebook.terminal import Terminal

    with Terminal() as terminal:
        table = run_demo(out, model=model, reporter=terminal)
    terminal.show(table)


@app.command()
def compare(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml")],
    overrides: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs in their order, and run none.")] = False,
    so_far: Annotated[bool, typer.Option("--so-far", help="Run none: the tables of what is finished.")] = False,
    arm: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Run this arm alone for now; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Run arms × seeds and compare them; the same command goes on with what is missing.

    `picturebook compare STUDY.toml`, `picturebook compare STUDY.toml --set seeds=[0,1,2] --set run.device=cpu --dry-run`.
    """
    from picturebook.study.command import compare as compare_study
    from picturebook.terminal import Terminal

    try:
        with Terminal(quiet=as_json) as terminal:
            outcome = compare_study(
                study, overrides=overrides or (), reporter=terminal, dry_run=dry_run, so_far=so_far, arms=arm or ()
            )
    except KeyboardInterrupt:
        typer.echo("Interrupted; nothing is lost. Go on with the same command.", err=True)
        raise typer.Exit(130) from None
    print_result(outcome.record, outcome.shown, as_json)
    if outcome.failure:
        raise RunError(outcome.failure)


@app.command()
def describe(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of pictures, tar or parquet shards, or a hub name.")],
    model: Annotated[str, typer.Option("--model", help="A model of the hub, a folder, or the endpoint's name for it.")],
    captions: Annotated[bool, typer.Option("--captions", help="Write a text a picture.")] = False,
    classes: Annotated[bool, typer.Option("--classes", help="Write short visual phrases a class.")] = False,
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server, for --classes.")] = None,
    prompt: Annotated[str | None, typer.Option(help="With {label} for --captions; {class}, {classes}, {least}, {most}.")] = None,
    out: Annotated[str | None, typer.Option(help="JSONL file: captions.jsonl or descriptions.jsonl.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures at once; 8.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of an answer at most.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampling, for --classes.")] = None,
    device: Annotated[str | None, typer.Option(help="Of a local model: auto, cpu, cuda or mps.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds a request to the endpoint may take; 60.")] = None,
    least: Annotated[int | None, typer.Option(help="Phrases a class at least; 10.")] = None,
    most: Annotated[int | None, typer.Option(help="Phrases a class at most; 20.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take and cost; ask nobody.")] = False,
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens read, for --dry-run.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens written, for --dry-run.")] = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Write captions (`picturebook describe birds/ --captions --model NAME`) or phrases of the classes (`… --classes …`).

    Of an endpoint, `--endpoint URL` or the variable OPENAI_BASE_URL, the key comes from PICTUREBOOK_API_KEY or OPENAI_API_KEY.
    """
    from picturebook.describe import describe, read_settings
    from picturebook.terminal import Terminal, two_columns

    options = read_settings(
        data,
        overrides or (),
        captions=captions,
        classes=classes,
        model=model,
        endpoint=endpoint,
        prompt=prompt,
        out=out,
        batch_size=batch_size,
        max_tokens=max_tokens,
        temperature=temperature,
        device=device,
        timeout=timeout,
        least=least,
        most=most,
        dry_run=dry_run,
        price_in=price_in,
        price_out=price_out,
    )
    try:
        with Terminal(quiet=as_json) as terminal:
            rows = describe(options, reporter=terminal)
    except KeyboardInterrupt:
        typer.echo("Interrupted; nothing is lost. The same command goes on.", err=True)
        raise typer.Exit(130) from None
    print_result(rows, two_columns(rows), as_json)
    if "failed" in rows:
        raise RunError("Not all texts were written: the row 'failed' says which and why. The same command asks for them again.")


def main() -> None:
    """Run a command; the user's mistakes are one sentence on stderr and exit code 2, SIGTERM ends it with 75 or 143."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        with sigterm_abandons():  # what can go on says so itself
            app()
    except InterruptionError as error:
        _end(f"picturebook: {error}", error.exit_code)
    except PicturebookError as error:
        if "--debug" in sys.argv[1:]:
            _end(traceback.format_exc(), 1)
        _end(f"picturebook: {error}", error.exit_code)
    except Exception:  # ours: all of it is shown, but for the keys that libraries quote
        _end(traceback.format_exc(), 1)


def _end(told: str, code: int) -> NoReturn:
    shown = without_secrets(told).encode("utf-8", "backslashreplace").decode()  # names of files need not be UTF-8
    typer.echo(_CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", shown.rstrip()), err=True)
    sys.exit(code)
