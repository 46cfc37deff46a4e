"""`picturebook export`: checks first, then everything beside its target, then one move to its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from picturebook import __version__
from picturebook.checksums import checksum, checksums_below
from picturebook.data.pictures import Pictures
from picturebook.errors import OptionError, unknown_name
from picturebook.evaluate import groups_of
from picturebook.export.folders import write_hub_folder, write_timm_folder
from picturebook.export.int8 import CALIBRATION_PICTURES, evaluate_onnx, write_int8
from picturebook.export.model_card import NO_LICENCE
from picturebook.export.onnx_file import metadata_of, require_onnx, write_onnx
from picturebook.export.parity import WANTED, check_parity, evenly, images_of, measure_parity, open_pictures
from picturebook.export.source import Source
from picturebook.export.targets import check_free, workplace
from picturebook.metrics import Evaluation
from picturebook.predict import as_utf8
from picturebook.predict.onnx_model import ENDING, OnnxModel, open_onnx
from picturebook.report.wording import interval, percent
from picturebook.types import UNLABELLED, Reporter
from picturebook.writing import sync_folder, write_json

KINDS = ("onnx", "timm", "hub")
_ROUGH = 500
"""Test pictures below which a calibration error is mostly chance."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    paths: tuple[Path, ...]
    record: dict[str, Any]
    """What was measured, as it stands in the run's export.json."""
    told: dict[str, str]
    """The same for a person, line by line."""


def export_run(
    run: Path,
    *,
    to: str,
    out: Path | None = None,
    int8: bool = False,
    licence: str | None = None,
    cache: Path,
    reporter: Reporter,
) -> Exported:
    """Write a finished run's student for others, whole or not at all, and what was measured to the run's export.json.

    Args:
        run: a finished run.
        to: "onnx" (a file), "timm" (a folder) or "hub" (a folder with a model card).
        out: what to write; by default in RUN/export.
        int8: onnx: write a second file, NAME-int8.onnx, and measure it.
        licence: hub: the hub's identifier of the weights' licence; None is "other".
        cache: folder of canvases.
        reporter: where it tells how it goes.

    Raises:
        OptionError: an unknown kind, options that take no effect with it, or a missing package.
        RunError: no finished run, or a target that exists or cannot be written.
        ModelError, DataError: the student or the run's pictures cannot be read, or the file answers otherwise.
    """
    _check(to, out, int8, licence)
    if to == "onnx":
        require_onnx()
    source = Source.open(run)
    target = out or source.run.exported / {"onnx": f"student{ENDING}"}.get(to, to)
    if to == "onnx":
        return _export_onnx(source, target, int8=int8, cache=cache, reporter=reporter)
    write = write_timm_folder if to == "timm" else _hub_writer(licence or NO_LICENCE)
    return _export_folder(source, target, to, write)


def _check(to: str, out: Path | None, int8: bool, licence: str | None) -> None:
    if to not in KINDS:
        raise OptionError(unknown_name("kind of export", to, KINDS))
    if int8 and to != "onnx":
        raise OptionError(f"--int8 takes effect with --to onnx only, got --to {to}.")
    if licence is not None and to != "hub":
        raise OptionError(f"--licence takes effect with --to hub only, got --to {to}.")
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        raise OptionError(f"--licence needs an identifier of the hub, such as apache-2.0, cc-by-4.0 or other, got {licence!r}.")
    if to == "onnx" and out is not None and out.suffix.lower() != ENDING:
        raise OptionError(f"--out {out}: the file's name needs to end in {ENDING}, by which predict knows it.")


def _hub_writer(licence: str) -> Callable[[Source, Path], None]:
    return lambda source, folder: write_hub_folder(source, folder, licence=licence)


def _export_folder(source: Source, target: Path, kind: str, write: Callable[[Source, Path], None]) -> Exported:
    check_free(target)
    record: dict[str, Any] = {"file": _name(source, target), "picturebook": __version__, **source.calibration()}
    with workplace(target) as work:
        write(source, work / "new")
        sync_folder(work)
        _keep(source, kind, record | {"checksums": checksums_below(work / "new", target.name)})
        (work / "new").rename(target)
    told = {"wrote": as_utf8(target), "timm": f'timm.create_model("local-dir:{as_utf8(target)}", pretrained=True)'}
    return Exported((target,), record, told | _calibration(source))


def _export_onnx(source: Source, target: Path, *, int8: bool, cache: Path, reporter: Reporter) -> Exported:
    smaller = target.with_name(f"{target.stem}-int8{ENDING}")
    targets = (target, smaller) if int8 else (target,)
    check_free(target)
    if int8 and not _is_cut_off(source, target, smaller):
        check_free(smaller)
    pictures = open_pictures(source, cache=cache, reporter=reporter)
    with workplace(target) as work:
        file = work / "new.onnx"
        with reporter.stage("writing ONNX"):
            write_onnx(source, file)
        exported = open_onnx(file)
        parity = measure_parity(source.classifier, exported, pictures, reporter)
        check_parity(parity)
        record: dict[str, Any] = {"file": _name(source, target), "bytes": file.stat().st_size, "picturebook": __version__}
        record |= {name: version(name) for name in ("torch", "onnx", "onnxruntime")}
        record |= {**source.calibration(), "parity": parity.to_dict()}
        told = {"wrote": f"{as_utf8(target)}, {_size(file)}", "parity": f"{parity.sentence()}{_few(parity.num)}"} | _calibration(
            source
        )
        if int8:
            quantised = work / "new-int8.onnx"
            record["int8"], more = _quantise(source, exported, file, quantised, pictures, reporter)
            record["int8"] |= {"file": _name(source, smaller)}
            told |= {"wrote too": f"{as_utf8(smaller)}, {_size(quantised)}"} | more
        sync_folder(work)
        sums = checksums_below(file, target.name) | (checksums_below(quantised, smaller.name) if int8 else {})
        _keep(source, "onnx", record | {"checksums": sums})
        if int8:
            quantised.rename(smaller)
        file.rename(target)  # last: what an export that was cut off left is then known by what is missing
    return Exported(targets, record, told)


def _is_cut_off(source: Source, target: Path, smaller: Path) -> bool:
    """Whether the int8 file is what an earlier export to this place left before it could name the other one."""
    record = source.run.exports().get("onnx")
    if target.exists() or not smaller.is_file() or not isinstance(record, dict) or record.get("file") != _name(source, target):
        return False
    return bool((record.get("checksums") or {}).get(smaller.name) == checksum(smaller))


def _quantise(
    source: Source, exported: OnnxModel, file: Path, quantised: Path, pictures: Pictures, reporter: Reporter
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the int8 file, and measure it beside the float32 one."""
    size = source.classifier.encoder.image_size
    seen = evenly(pictures.rows["train"], CALIBRATION_PICTURES)
    with reporter.stage("int8: ranges of activations") as progress:
        images = images_of(pictures, seen, image_size=size, progress=progress)
        write_int8(file, quantised, images, about=metadata_of(source))
    smaller = open_onnx(quantised)
    apart = measure_parity(source.classifier, smaller, pictures, reporter)
    record = {"bytes": quantised.stat().st_size, "training_pictures": len(seen), "parity": apart.to_dict()}
    told = {"int8, probabilities": apart.sentence()}
    split = source.split
    if split is None:
        return record, told | {"int8, accuracy": "not measured: the run has no labelled pictures for it"}
    rows = pictures.rows[split]
    rows = rows[pictures.labels[rows] != UNLABELLED]
    for name, model in (("float32", exported), ("int8", smaller)):
        with reporter.stage(f"{name}: accuracy on {split}") as progress:
            images = images_of(pictures, rows, image_size=size, progress=progress)
            found = evaluate_onnx(model, images, pictures.labels[rows], groups_of(pictures, rows))
        record[name] = {"split": split} | _numbers(found)
        reached = f"{percent(found.accuracy)} ({interval(found.low, found.high)}), NLL {found.nll:.3f}"
        told[f"{name}, accuracy on {split}"] = f"{reached}, {found.num} pictures"
    return record, told


def _numbers(found: Evaluation) -> dict[str, Any]:
    kept = ("num", "accuracy", "low", "high", "interval", "nll", "ece")
    return {name: value for name, value in found.to_dict().items() if name in kept}


def _keep(source: Source, kind: str, record: dict[str, Any]) -> None:
    """Before the move to its name: where the run cannot be written, nothing is exported."""
    write_json(source.run.export, source.run.exports() | {kind: record})


def _name(source: Source, target: Path) -> str:
    """As seen from the run, where the target is in it."""
    inside = target.is_relative_to(source.run.path)
    return as_utf8(target.relative_to(source.run.path) if inside else target)


def _size(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.1f} MB"


def _few(num: int) -> str:
    return f": all that the run has, fewer than {WANTED}" if num < WANTED else ""


def _calibration(source: Source) -> dict[str, str]:
    if not source.is_calibrated:
        return {
            "calibration": "none: the run has no labelled validation pictures, so T = 1 and probabilities are the plain softmax"
        }
    numbers = source.numbers()
    told = f"T = {source.temperature:.4g}, fitted on validation"
    if numbers.get("split") == "test":
        ece = numbers["ece"]
        rough = f", which says little: {numbers['num']} pictures" if numbers["num"] < _ROUGH else ""
        told += f"; on test the calibration error goes from {percent(ece['before'])} to {percent(ece['after'])}{rough}"
    return {"calibration": told}
