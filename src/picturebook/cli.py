"""The command line: argv to one call."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from picturebook import __version__
from picturebook.cost_commands import cache, plan
from picturebook.errors import PicturebookError, RunError
from picturebook.model_commands import export, predict, report

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

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Override one setting; may be repeated.")]


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
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps: --set device=…")] = None,
    seed: Annotated[int | None, typer.Option(help="--set seed=…")] = None,
) -> None:
    """Run one recipe: `picturebook train RUN.toml --seed 1 --set out=runs/second`; `--resume` goes on after an interruption."""
    from picturebook.config import load_options, run_recipe
    from picturebook.terminal import Terminal, results_table

    said = [f"{name}={value}" for name, value in (("device", device), ("seed", seed)) if value is not None]
    options = load_options(settings, [*(overrides or ()), *said])
    try:
        with Terminal() as terminal:
            folder = run_recipe(options, resume=resume, reporter=terminal)
    except KeyboardInterrupt:
        typer.echo("Interrupted; nothing is lost. Go on with the same command and --resume.", err=True)
        raise typer.Exit(130) from None
    terminal.show(results_table(folder))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a student folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of pictures, tar or parquet shards, or a hub name.")],
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all; by default test on the run's data, else all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a run's student on labelled pictures: `picturebook evaluate runs/birds more_birds/ --json`."""
    from picturebook.config import cache_folder
    from picturebook.evaluate import evaluate_folder
    from picturebook.terminal import Terminal, evaluation_table

    with Terminal(quiet=as_json) as terminal:
        result = evaluate_folder(run, data, split=split, cache=cache_folder(), reporter=terminal)
    _print(result.to_dict(), evaluation_table(result), as_json)


app.command()(predict)
app.command()(plan)
app.add_typer(cache, name="cache")
app.command()(export)
app.command()(report)


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
    from picturebook.config import cache_folder
    from picturebook.inspection import inspect_target
    from picturebook.terminal import Terminal, inspection_table

    with Terminal(quiet=as_json) as terminal:
        found = inspect_target(target, overrides=overrides or (), cache=cache_folder(), reporter=terminal)
    _print(found, inspection_table(found), as_json)


@app.command()
def init(
    data: Annotated[str, typer.Argument(metavar="DATA")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("RUN.toml"),
) -> None:
    """Look at a folder of pictures and write a commented RUN.toml for it: `picturebook init birds/ --out birds.toml`."""
    from picturebook.config import cache_folder
    from picturebook.start import write_run_file
    from picturebook.terminal import Terminal

    with Terminal() as terminal:
        write_run_file(data, out, cache=cache_folder(), reporter=terminal)
    typer.echo(f"Wrote {out}. Look it over, then: picturebook train {out}")


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
    _print(rows, two_columns(rows), as_json)


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs in their order, and run none.")] = False,
) -> None:
    """Run arms × seeds and compare them; the same command goes on with what is missing: `picturebook compare STUDY.toml`."""
    from picturebook.study.command import compare as compare_study
    from picturebook.terminal import Terminal

    try:
        with Terminal() as terminal:
            outcome = compare_study(study, reporter=terminal, dry_run=dry_run)
    except KeyboardInterrupt:
        typer.echo("Interrupted; nothing is lost. Go on with the same command.", err=True)
        raise typer.Exit(130) from None
    terminal.show(outcome.shown)
    if outcome.failure:
        raise RunError(outcome.failure)


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of image_text or distil.")],
    class_mean: Annotated[
        Path | None, typer.Option(metavar="RUN", help='The same run with targets.control = "class_mean" (S1).')
    ] = None,
    shuffled: Annotated[
        Path | None, typer.Option(metavar="RUN", help='The same run with targets.control = "within_class_shuffle" (S2).')
    ] = None,
    as_json: Json = False,
) -> None:
    """What a teacher reads, picture or label: `picturebook audit runs/birds` says PASS, WARN or FAIL (docs/audit.md)."""
    from picturebook.config import audit_run
    from picturebook.terminal import Terminal, audit_table

    with Terminal(quiet=as_json) as terminal:
        found = audit_run(run, class_mean=class_mean, shuffled=shuffled, reporter=terminal)
    _print(found.to_dict(), audit_table(found), as_json)


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
    timeout: Annotated[float | None, typer.Option(help="Seconds a request to the endpoint may take; 60.")] = None,
    least: Annotated[int | None, typer.Option(help="Phrases a class at least; 10.")] = None,
    most: Annotated[int | None, typer.Option(help="Phrases a class at most; 20.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take and cost; ask nobody.")] = False,
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens read, for --dry-run.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens written, for --dry-run.")] = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Write texts: `picturebook describe birds/ --classes --model NAME --endpoint URL`; the key comes from OPENAI_API_KEY."""
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
    _print(rows, two_columns(rows), as_json)


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, or a student folder.")],
    host: Annotated[str, typer.Option(help="Address to listen at; others than this let the network in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8000,
    max_mb: Annotated[int, typer.Option("--max-mb", help="Megabytes of a picture's file at most.")] = 10,
) -> None:
    """Try a model on a page of this machine: `picturebook serve runs/birds`, then open http://127.0.0.1:8000/ (docs/serve.md)."""
    from picturebook.config import cache_folder
    from picturebook.serve import serve as serve_run
    from picturebook.terminal import Terminal

    with Terminal() as terminal:
        serve_run(run, host=host, port=port, max_mb=max_mb, cache=cache_folder(), reporter=terminal)


def _print(value: Any, table: Any, as_json: bool) -> None:
    from picturebook.terminal import show

    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False))
    else:
        show(table)


def main() -> None:
    """Run a command; the user's mistakes are one sentence on stderr and exit code 2, being stopped by SIGTERM 75."""
    if "--debug" in sys.argv[1:]:
        app()
    try:
        app()
    except PicturebookError as error:
        sentence = str(error).encode("utf-8", "backslashreplace").decode()  # names of files need not be UTF-8
        typer.echo(f"picturebook: {sentence}", err=True)
        sys.exit(error.exit_code)
