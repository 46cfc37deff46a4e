"""The command line of finished models: what names pictures with them, and what hands them on."""

import sys
from pathlib import Path
from typing import Annotated

import typer


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
) -> None:
    """Name what is in pictures: `picturebook predict runs/birds photos/ --format jsonl --top 3`."""
    from picturebook.predict import choose_format, predict_files, write_predictions
    from picturebook.terminal import Terminal

    chosen = choose_format(output_format, out)
    with Terminal() as terminal:
        predictions = predict_files(model, images, top=top, reporter=terminal)
    write_predictions(predictions, output_format=chosen, out=out, stream=sys.stdout)


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
) -> None:
    """Hand a student on, checked against PyTorch: `picturebook export runs/birds --to onnx` (docs/export.md)."""
    from picturebook.config import cache_folder
    from picturebook.export import export_run
    from picturebook.terminal import Terminal, two_columns

    with Terminal() as terminal:
        done = export_run(run, to=to, out=out, int8=int8, licence=licence, cache=cache_folder(), reporter=terminal)
    terminal.show(two_columns(done.told))


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    baseline: Annotated[
        Path | None, typer.Option("--baseline", metavar="RUN", help="A finished run on the same data, to show gains over.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="HTML file; by default RUN/report.html.")] = None,
) -> None:
    """Write a page about a run: `picturebook report runs/birds --baseline runs/supervised` (docs/report.md)."""
    from picturebook.config import cache_folder
    from picturebook.run_report import write_run_report
    from picturebook.terminal import Terminal

    with Terminal() as terminal:
        written = write_run_report(run, baseline=baseline, out=out, cache=cache_folder(), reporter=terminal)
    typer.echo(f"Wrote {written}.")
