"""A run's report from its folder."""

import math
from pathlib import Path

import numpy as np

from picturebook.audit.stored import read_audit
from picturebook.audit.summary import COLUMNS, headline, summary_rows
from picturebook.audit.teacher import Audit
from picturebook.data.findings import quantity
from picturebook.errors import RunError
from picturebook.report.confusion import worst_pairs
from picturebook.report.content import Arm, Curve
from picturebook.report.run_content import AuditTable, ClassRow, Gain, RunReport
from picturebook.report.run_page import render_run
from picturebook.report.wording import percent
from picturebook.run_report.looking import Gallery, open_pictures, where_the_student_looks, where_words_look, with_examples
from picturebook.run_report.numbers import calibration, class_rows, gain, paired
from picturebook.run_report.run_files import SPLITS, RunFiles
from picturebook.run_report.setting import setting_rows
from picturebook.types import LABEL_PRIVILEGED, Reporter
from picturebook.writing import write_atomically

_NUM_PAIRS = 15
_NO_ANSWERS = (
    "This run keeps no answers picture by picture (predictions.npz), so intervals of classes, certainty and pictures are not "
    "shown: train it again."
)
_STAGES = {"encoder": "teacher's image encoder", "head": "teacher's head"}
_METHODS = {
    "align": "The network learnt pictures with their noisy texts first",
    "be_your_own_teacher": "The network's last layers taught its earlier ones while it learnt",
    "born_again": "Networks of one architecture taught each other in a row",
    "clip": "The network learnt which text belongs to which picture first",
    "coca": "The network learnt to match and to write texts first",
    "dino": "The network taught itself without labels first",
    "distil": "A teacher that sees pictures alone taught the student by its answers",
    "image_text": "A teacher that reads pictures and words taught the student by its answers",
    "noisy_student": "A teacher named unlabelled pictures, and the student learnt from them under noise",
    "siglip": "The network learnt which text belongs to which picture first",
    "supervised": "The student learnt from the labels alone",
}


def write_run_report(path: Path, *, baseline: Path | None, out: Path | None, cache: Path, reporter: Reporter) -> Path:
    """Write a run's page and say where.

    Args:
        path: a finished run.
        baseline: a finished run on the same data, over which gains are shown.
        out: the file; by default report.html in the run.
        cache: folder of canvases and text vectors, where the run names none that is there.
        reporter: where it tells how it goes.

    Raises:
        RunError: a run is missing, half written or broken, the baseline does not fit, or `out` is a folder.
    """
    run = RunFiles.open(path)
    against = None if baseline is None else RunFiles.open(baseline)
    out = run.folder.path / "report.html" if out is None else out
    if out.is_dir():
        raise RunError(
            f"Expected a file name for the report, got the folder {out}: name a file in it, such as {out}/report.html."
        )
    report = collect(run, against, cache=cache, reporter=reporter)
    with reporter.stage("drawing the page"):
        page = render_run(report)
    if out.resolve().is_relative_to(run.folder.path.resolve()):
        _refuse_own_file(run, out)
    write_atomically(out, page.encode())
    return out


def collect(run: RunFiles, baseline: RunFiles | None, *, cache: Path, reporter: Reporter) -> RunReport:
    """What the page says.

    Raises:
        RunError: the baseline does not fit.
    """
    kept = run.settings.get("cache")
    if kept is not None and Path(kept).is_dir():
        cache = Path(kept)
    pairs = None if baseline is None else paired(run, baseline)
    total = None if pairs is None or baseline is None else gain(pairs, baseline.name)
    confusion = np.array(run.student["confusion"])
    mistakes = worst_pairs(run.classes, confusion, _NUM_PAIRS)
    words = looks = Gallery()
    changed = ""
    has_answers = run.split in run.answers
    if has_answers:
        pictures, changed = open_pictures(run, cache, reporter)
        if pictures is not None:
            with reporter.stage("looking at pictures"):
                mistakes = with_examples(mistakes, run, pictures)
                words, looks = where_words_look(run, pictures, cache=cache), where_the_student_looks(run, pictures)
    audit = read_audit(run.folder.audit) if run.folder.audit.is_file() else None
    return RunReport(
        title=f"{run.name}: {run.results['recipe']} on {run.data}",
        sentence=_sentence(run, total),
        warnings=_warnings(run, baseline, audit, changed),
        split=SPLITS[run.split],
        majority=run.student["majority"],
        arms=_arms(run, audit),
        gain=total,
        curves_accuracy=_curves(run, baseline, "val_accuracy"),
        curves_loss=_curves(run, None, "loss"),
        classes=run.classes,
        confusion=confusion,
        pairs=mistakes,
        class_rows=class_rows(run, pairs) if has_answers else _plain_rows(run),
        calibration=calibration(run),
        calibration_note=_NO_ANSWERS,
        words=words.shown,
        words_note=words.note,
        activation=looks.shown,
        activation_note=looks.note,
        agreement=_agreement(run),
        audit=None
        if audit is None
        else AuditTable(audit.verdict, headline(audit), audit.reasons, COLUMNS, tuple(summary_rows(audit))),
        setting=setting_rows(run),
        cost=tuple((stage, float(seconds)) for stage, seconds in run.results["seconds"].items()),
        commands=_commands(run, baseline),
        notes=_notes(run),
    )


def _refuse_own_file(run: RunFiles, out: Path) -> None:
    place = out.resolve().relative_to(run.folder.path.resolve())
    own = {"run.toml", "results.json", "classes.json", "provenance.json", "metrics.jsonl", "audit.json", "predictions.npz"}
    if place.parts[0] in own | {"student", "teacher", "exit", "stages"} or place.suffix not in (".html", ".htm"):
        raise RunError(f"{out} is one of the run's own files, or could be taken for one: name an .html file, or one elsewhere.")
    run.folder.forget_checksum(run.folder.path / place)


def _sentence(run: RunFiles, total: Gain | None) -> str:
    numbers = run.student
    method = _METHODS.get(run.results["recipe"], f"Trained by the recipe {run.results['recipe']}")
    pictures = quantity(numbers["num"], f"{SPLITS[run.split]} picture")
    said = f"{method}; the student names {percent(numbers['accuracy'])} of {pictures} rightly"
    if total is None:
        return f"{said}; always saying the most frequent class would reach {percent(numbers['majority'])}."
    if total.gain == 0:
        return f"{said}, as many as {total.baseline}."
    points = f"{abs(100 * total.gain):.1f} points {'more' if total.gain > 0 else 'less'} than {total.baseline}"
    unsure = "" if total.low > 0 or total.high < 0 else ", which may be chance"
    return f"{said}, {points}{unsure}."


def _arms(run: RunFiles, audit: Audit | None) -> tuple[Arm, ...]:
    privileged = run.settings.get("text", {}).get("kind") == "privileged"
    failed = audit is not None and audit.label_privileged
    arms = []
    for name, splits in run.results["models"].items():
        if run.split not in splits or name.endswith(LABEL_PRIVILEGED) or (failed and name.startswith("teacher")):
            continue
        numbers = splits[run.split]
        label, note = name, ""
        if name.startswith("teacher") and privileged and "privileged" not in name.replace("unprivileged", ""):
            label = f"privileged {name}"
        if "privileged" in label:
            note = "its words may tell it the label: no rival to what sees pictures alone"
        elif "reads captions" in name or "own words" in name:
            note = "reads each picture's own words; a new picture has none"
        measured = {key: float(numbers[key]) for key in ("accuracy", "low", "high", "nll", "ece")}
        arms.append(Arm(name, label, **measured, seconds=float("nan"), num_test=numbers["num"], note=note))
    return tuple(sorted(arms, key=lambda arm: arm.name != "student"))


def _agreement(run: RunFiles) -> str:
    """How often student and teachers say the same; nothing for a run that has none, or is older than this number."""
    asked = {name: splits.get(run.split, {}) for name, splits in run.results["models"].items()}
    return " ".join(
        f"Agreement of the student with the {name}: {percent(numbers['agreement'])} of the {numbers['num']:,} "
        f"{SPLITS[run.split]} pictures."
        for name, numbers in asked.items()
        if "agreement" in numbers
    )


def _warnings(run: RunFiles, baseline: RunFiles | None, audit: Audit | None, changed: str) -> tuple[str, ...]:
    found = [changed] if changed else []
    if run.split == "val":
        found.append("There are no labelled test pictures: the numbers are of validation pictures.")
    if run.split not in run.answers:
        found.append(_NO_ANSWERS)
    if audit is not None and audit.verdict == "FAIL":
        found.append(
            "The leak audit fails: the teacher may read the label from its words. Its accuracy is not shown beside the others."
        )
    if baseline is not None and run.split in run.answers:
        found += _unfair(run, baseline)
    return tuple(found)


def _unfair(run: RunFiles, baseline: RunFiles) -> list[str]:
    ids, theirs, found = run.answers[run.split].ids, baseline.answers[run.split].ids, []
    if set(ids.tolist()) != set(theirs.tolist()):
        shared = len(np.intersect1d(ids, theirs))
        found.append(
            f"Gains are over the {shared:,} pictures that both runs answered, of {len(ids):,} here and {len(theirs):,} there."
        )
    if baseline.folder.train_ids.is_file() and (seen := int(np.isin(ids, np.load(baseline.folder.train_ids)).sum())):
        found.append(f"{baseline.name} was trained on {quantity(seen, 'picture')} of these: the gains mean nothing.")
    mine, other = run.settings.get("seed"), baseline.settings.get("seed")
    if mine != other:
        found.append(f"The seeds differ ({mine} here, {other} there): part of the gain may be the seed.")
    return found


def _curves(run: RunFiles, baseline: RunFiles | None, value: str) -> tuple[Curve, ...]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for source, suffix in ((run, ""), (baseline, " of the baseline")):
        for line in source.folder.read_metrics() if source is not None else ():
            if value in line and (not suffix or line["stage"] == "student"):
                lines.setdefault(_STAGES.get(line["stage"], line["stage"]) + suffix, []).append(
                    (float(line["epoch"]), float(line[value]))
                )
    kept = {_STAGES.get("student", "student"): _kept(run)} if value == "val_accuracy" else {}
    return tuple(Curve(name, tuple(points), kept.get(name)) for name, points in lines.items())


def _kept(run: RunFiles) -> tuple[float, float] | None:
    """Epoch and validation accuracy of the student that was kept, where settings let validation choose."""
    if run.settings["train"].get("keep") != "best":
        return None
    lines = [line for line in run.folder.read_metrics() if line["stage"] == "student" and "val_accuracy" in line]
    best = max(lines, key=lambda line: (line["val_accuracy"], -line.get("val_nll", math.inf)), default=None)
    return None if best is None else (float(best["epoch"]), float(best["val_accuracy"]))


def _plain_rows(run: RunFiles) -> tuple[ClassRow, ...]:
    """Classes without intervals, from the counts alone."""
    counts, unknown = np.array(run.student["confusion"]), float("nan")
    return tuple(
        ClassRow(name, int(row.sum()), float(row[number] / row.sum()), unknown, unknown)
        for number, (name, row) in enumerate(zip(run.classes, counts, strict=True))
        if row.sum()
    )


def _commands(run: RunFiles, baseline: RunFiles | None) -> tuple[str, ...]:
    path = run.folder.path
    against = "" if baseline is None else f" --baseline {baseline.folder.path}"
    return (f"picturebook train {path}/run.toml --set out=runs/again", f"picturebook report {path}{against}")


def _notes(run: RunFiles) -> tuple[str, ...]:
    found = [
        f"{finding['count']:,} × {finding['kind']} ({finding['level']}), such as {', '.join(finding['names'][:3])}."
        for finding in run.provenance.get("findings", ())
    ]
    return (
        f"Accuracy's 95 % interval: {run.student['interval']}. It says how the number moves with other pictures, not with "
        "another seed.",
        "Losses of different stages are different functions: compare each curve with itself.",
        *found,
    )
