"""A run's settings in a few rows: data, student, words, teacher, machine."""

from pathlib import Path
from typing import Any

from picturebook.run_report.run_files import RunFiles


def setting_rows(run: RunFiles) -> tuple[tuple[str, str], ...]:
    """What is asked first about a run, by name; what does not apply is left out."""
    settings, provenance = run.settings, run.provenance
    student, train = settings["student"], settings["train"]
    machine = provenance.get("machine", {})
    rows = {
        "recipe": run.results["recipe"],
        "pictures": f"{run.data}: " + ", ".join(f"{count:,} {split}" for split, count in provenance.get("rows", {}).items()),
        "classes": f"{len(run.classes)}",
        "student": f"{student['model']}, {run.results['parameters']:,} parameters, {student['image_size']} pixels, "
        f"init {Path(student['init']).name}",
        "training": f"{train['epochs']} epochs, batch {train['batch_size']}, {train['optimizer']}, "
        f"learning rate {train['learning_rate']:g}",
        "words": _words(settings, "text", kind=True) or "none",
        "words of the classes beside them": _words(settings, "class_text"),
        "words beside the student": _words(settings, "alignment_text", kind=True),
        "words that smooth the labels": _words(settings, "smoothing_text"),
        "teacher": _teacher(settings),
        "seed": f"{settings.get('seed', 0)}",
        "machine": ", ".join(
            f"{name} {machine[name]}" for name in ("device", "precision", "cores", "processes") if name in machine
        ),
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items()),
    }
    return tuple((name, value) for name, value in rows.items() if value)


def _words(settings: dict[str, Any], name: str, *, kind: bool = False) -> str:
    text = settings.get(name, {})
    if text.get("source", "none") == "none":
        return ""
    control = text.get("control", "none")
    told = [f"source {text['source']}", *([f"kind {text.get('kind', 'unknown')}"] if kind else [])]
    return ", ".join([*told, *([f"control {control}"] if control != "none" else [])])


def _teacher(settings: dict[str, Any]) -> str:
    teacher = settings.get("teacher", {})
    head = teacher.get("head")
    named = [Path(str(teacher[key])).name for key in ("image_encoder", "run", "text_encoder") if teacher.get(key)]
    mode = head.get("mode") if isinstance(head, dict) else head
    residual = " with a residual" if isinstance(head, dict) and head.get("residual") else ""
    partner = teacher.get("partner", "none")
    beside = [] if partner == "none" else [f"partner {partner} ({teacher.get('combination', 'product')})"]
    return ", ".join([*named, *([f"head {mode}{residual}"] if mode else []), *beside])
