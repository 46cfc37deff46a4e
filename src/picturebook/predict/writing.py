"""Predictions as a table: csv, jsonl or parquet."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from picturebook.errors import OptionError, unknown_name
from picturebook.predict.answering import Prediction
from picturebook.writing import write_atomically

FORMATS = ("csv", "jsonl", "parquet")


def as_utf8(name: str | Path) -> str:
    r"""A file's name for people and programs; bytes that are no UTF-8 are written as \udcxx, their names in Python."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def choose_format(output_format: str | None, out: Path | None) -> str:
    """The format that was asked for, or that the file's ending says, or csv; refused before anything is predicted.

    Raises:
        OptionError: an unknown format, or parquet without a file.
    """
    if output_format is None:
        ending = "" if out is None else out.suffix.removeprefix(".").lower()
        output_format = ending if ending in FORMATS else "csv"
    if output_format not in FORMATS:
        raise OptionError(unknown_name("format", output_format, FORMATS))
    if output_format == "parquet" and out is None:
        raise OptionError("--format parquet needs --out FILE: it is not for the terminal.")
    return output_format


def write_predictions(predictions: Sequence[Prediction], *, output_format: str, out: Path | None, stream: TextIO) -> None:
    """Write predictions as csv, jsonl or parquet, to a file or (csv, jsonl) to `stream`."""
    if output_format == "parquet":
        assert out is not None
        write_atomically(out, _parquet(predictions))
        return
    text = (
        _csv(predictions)
        if output_format == "csv"
        else "".join(json.dumps(_row(p), ensure_ascii=False) + "\n" for p in predictions)
    )
    if out is None:
        stream.write(text)
    else:
        write_atomically(out, text.encode())


def _row(prediction: Prediction) -> dict[str, object]:
    return {
        "file_name": as_utf8(prediction.name),
        "classes": list(prediction.classes),
        "probabilities": [round(value, 6) for value in prediction.probabilities],
        "problem": prediction.problem,
    }


def _csv(predictions: Sequence[Prediction]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    places = max(1, *(len(prediction.classes) for prediction in predictions))
    writer.writerow(
        ["file_name", *(f"{column}_{place}" for place in range(1, places + 1) for column in ("class", "probability")), "problem"]
    )
    for prediction in predictions:
        cells: list[object] = []
        for name, value in zip(prediction.classes, prediction.probabilities, strict=True):
            cells += [name, f"{value:.6f}"]
        writer.writerow([as_utf8(prediction.name), *cells, *[""] * (2 * places - len(cells)), prediction.problem])
    return buffer.getvalue()


def _parquet(predictions: Sequence[Prediction]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([_row(prediction) for prediction in predictions]), buffer)
    return buffer.getvalue()
