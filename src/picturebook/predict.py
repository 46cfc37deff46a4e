"""Class names and probabilities for pictures that nobody labelled."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from picturebook.data.images import EXTENSIONS, Broken, decode
from picturebook.data.views import evaluation_views
from picturebook.errors import DataError, OptionError, unknown_name
from picturebook.evaluate import Classifier, open_classifier
from picturebook.runs import write_atomically
from picturebook.types import Reporter

FORMATS = ("csv", "jsonl", "parquet")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one picture."""

    name: str
    """The file as it was given."""
    classes: tuple[str, ...]
    """The likeliest classes, likeliest first; empty when the file could not be read."""
    probabilities: tuple[float, ...]
    """Theirs, in [0, 1]."""
    problem: str = ""
    """Why there is no answer."""


def predict_files(model: Path, paths: Sequence[Path], *, top: int, reporter: Reporter, batch_size: int = 64) -> list[Prediction]:
    """Predict every picture among `paths`, where a folder stands for all pictures in it. A broken file is listed, not fatal.

    Raises:
        DataError: a path does not exist, or there is no picture.
    """
    classifier = open_classifier(model)
    files = list(_pictures(paths))
    if not files:
        raise DataError(f"No pictures ({', '.join(sorted(EXTENSIONS))}) in {', '.join(map(str, paths))}.")
    predictions: list[Prediction] = []
    with reporter.stage("predicting") as progress:
        for start in range(0, len(files), batch_size):
            predictions += _predict_batch(classifier, files[start : start + batch_size], top)
            progress(len(predictions), len(files))
    if unread := sum(bool(prediction.problem) for prediction in predictions):
        reporter.say(f"{unread} of {len(files)} files could not be read; their rows say why.")
    return predictions


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


def _pictures(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
        elif path.is_file():
            yield path
        else:
            raise DataError(f"There is no file or folder {path}.")


@torch.no_grad()
def _predict_batch(classifier: Classifier, files: list[Path], top: int) -> list[Prediction]:
    encoder, classes = classifier.encoder, classifier.classes
    canvases, sizes, read, problems = [], [], [], {}
    for file in files:
        try:
            picture = decode(file.read_bytes(), classifier.canvas_size)
        except Broken as error:
            problems[file] = error.kind
            continue
        except OSError as error:
            problems[file] = error.strerror or "cannot be read"
            continue
        canvases.append(picture.canvas)
        sizes.append((picture.height, picture.width))
        read.append(file)
    answers = {}
    if read:
        images = evaluation_views(torch.from_numpy(np.stack(canvases)), torch.tensor(sizes), image_size=encoder.image_size)
        best = encoder(images).softmax(dim=1).topk(min(top, len(classes)))
        for file, values, indices in zip(read, best.values.tolist(), best.indices.tolist(), strict=True):
            answers[file] = Prediction(str(file), tuple(classes[index] for index in indices), tuple(values))
    return [answers[file] if file in answers else Prediction(str(file), (), (), problems[file]) for file in files]


def _row(prediction: Prediction) -> dict[str, object]:
    return {
        "file_name": prediction.name,
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
        writer.writerow([prediction.name, *cells, *[""] * (2 * places - len(cells)), prediction.problem])
    return buffer.getvalue()


def _parquet(predictions: Sequence[Prediction]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([_row(prediction) for prediction in predictions]), buffer)
    return buffer.getvalue()
