"""The command line of finished models: what measures them, names pictures with them, shows them and hands them on."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from picturebook.command_options import Device, Json, print_result
from picturebook.errors import OptionError


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a student folder.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of pictures, tar or parquet shards, or a hub name.")],
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all; by default test on the run's data, else all.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure a run's student on labelled pictures: `picturebook evaluate runs/birds more_birds/ --json`."""
    from picturebook.caching import cache_folder
    from picturebook.evaluate import evaluate_folder
    from picturebook.terminal import Terminal, evaluation_table

    with Terminal(quiet=as_json) as terminal:
        result = evaluate_folder(run, data, split=split, device=device, cache=cache_folder(), reporter=terminal)
    print_result(result.to_dict(), evaluation_table(result), as_json)


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A run, a student folder or an .onnx file of `picturebook export`.")
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...", help="Pictures, folders, quoted patterns ('photos/**/*.jpg'), tables with file_name."
        ),
    ],
    output_format: Annotated[
        str | None, typer.Option("--format", help="csv, jsonl or parquet; by default as --out ends.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; by default the terminal (csv and jsonl).")] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes per picture.")] = 1,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Name what is in pictures: `picturebook predict runs/birds photos/ --format jsonl --top 3`."""
    from picturebook.data.findings import quantity
    from picturebook.predict import choose_format, predict_files, write_predictions
    from picturebook.terminal import Terminal

    chosen = choose_format("jsonl" if as_json and output_format is None else output_format, out)
    if as_json and chosen != "jsonl":
        raise OptionError(f"--json is --format jsonl, and --format {chosen} was said: leave one of them out.")
    with Terminal() as terminal:
        predictions = predict_files(model, images, top=top, device=device, reporter=terminal)
        write_predictions(predictions, output_format=chosen, out=out, stream=sys.stdout)
        if out is not None:
            terminal.say(f"{out}: {quantity(len(predictions), 'picture')}.")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    to: Annotated[str, typer.Option("--to", help="onnx (a file), timm (a folder) or hub (a folder with a model card).")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="What to write; by default in RUN/export; must not exist.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="onnx: write NAME-int8.onnx too, and measure its accuracy.")] = False,
    licence: Annotated[
        str | None, typer.Option("--licence", "--license", help="hub: of the weights, e.g. apache-2.0; by default other.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hand a student on, checked against PyTorch: `picturebook export runs/birds --to onnx` (docs/export.md)."""
    from picturebook.caching import cache_folder
    from picturebook.export import export_run
    from picturebook.terminal import Terminal, two_columns

    with Terminal(quiet=as_json) as terminal:
        done = export_run(run, to=to, out=out, int8=int8, licence=licence, cache=cache_folder(), reporter=terminal)
    print_result({"paths": [str(path) for path in done.paths]} | done.record, two_columns(done.told), as_json)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    baseline: Annotated[
        Path | None, typer.Option("--baseline", metavar="RUN", help="A finished run on the same data, to show gains over.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="HTML file; by default RUN/report.html.")] = None,
    as_json: Json = False,
) -> None:
    """Write a page about a run: `picturebook report runs/birds --baseline runs/supervised` (docs/report.md)."""
    from picturebook.caching import cache_folder
    from picturebook.run_report import write_run_report
    from picturebook.terminal import Terminal

    with Terminal(quiet=as_json) as terminal:
        written = write_run_report(run, baseline=baseline, out=out, cache=cache_folder(), reporter=terminal)
    print_result({"report": str(written)}, f"Wrote {written}.", as_json)


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of image_text or distil.")],
    class_mean: Annotated[
        Path | None, typer.Option(metavar="RUN", help='The same run with targets.control = "class_mean" (S1).')
    ] = None,
    shuffled: Annotated[
        Path | None, typer.Option(metavar="RUN", help='The same run with targets.control = "within_class_shuffle" (S2).')
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps; by default as the run was trained.")] = None,
    as_json: Json = False,
) -> None:
    """What a teacher reads, picture or label: `picturebook audit runs/birds` says PASS, WARN or FAIL (docs/audit.md)."""
    from picturebook.config import audit_run
    from picturebook.terminal import Terminal, audit_table

    with Terminal(quiet=as_json) as terminal:
        found = audit_run(run, class_mean=class_mean, shuffled=shuffled, device=device, reporter=terminal)
    print_result(found.to_dict(), audit_table(found), as_json)


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, or a student folder.")],
    host: Annotated[str, typer.Option(help="Address to listen at; others than this let the network in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8000,
    device: Device = "auto",
    max_mb: Annotated[int, typer.Option("--max-mb", help="Megabytes of a picture's file at most.")] = 10,
) -> None:
    """Try a model on a page of this machine: `picturebook serve runs/birds`, then open http://127.0.0.1:8000/ (docs/serve.md)."""
    from picturebook.caching import cache_folder
    from picturebook.serve import serve as serve_run
    from picturebook.terminal import Terminal

    with Terminal() as terminal:
        serve_run(run, host=host, port=port, max_mb=max_mb, device=device, cache=cache_folder(), reporter=terminal)
