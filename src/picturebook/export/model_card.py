"""The model card of a student: what a stranger has to know before using it. Numbers come from the run and nowhere else."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from picturebook import __version__
from picturebook.data.findings import quantity
from picturebook.export.source import Source
from picturebook.models.architectures import needed_import
from picturebook.report.wording import decimals, interval, percent
from picturebook.writing import read_json

NO_LICENCE = "other"
"""The hub's word for a licence that is none of its list."""
_MANY_CLASSES = 200
_WORDS = {
    "column": "Each training picture's own text (column `{column}`), kind `{kind}`: {knows}.",
    "classes": "The names of the classes in a sentence, {shown}.",
    "descriptions": "Sentences about each class from a file, {shown}.",
}
_KNOWS = {
    "label_blind": "written without knowledge of the label, as whoever trained it declared",
    "privileged": "made from the label",
    "unknown": "nobody said whether it was written with knowledge of the label",
}
_METHODS = {
    "image_text": "A teacher that reads pictures and words taught the student by its answers (self-distillation).",
    "distil": "A teacher network taught the student by its answers.",
    "born_again": "Networks of one architecture taught each other in a row, each the next, by their answers.",
    "supervised": "The student learned from the labels.",
}


def model_card(source: Source, *, licence: str) -> str:
    """Markdown with YAML in front, as the hub reads it."""
    settings = tomllib.loads(source.run.settings.read_text(encoding="utf-8"))
    provenance = read_json(source.run.provenance)
    encoder, classes = source.classifier.encoder, source.classifier.classes
    root = settings["data"]["root"]
    data = root if _is_hub_name(root) else Path(root).resolve().name
    parts = {
        f"{data}: {encoder.architecture}, {len(classes)} classes": (
            f"Names what is in a picture: one of {len(classes)} classes. {encoder.architecture}, "
            f"{source.results['parameters'] / 1e6:.1f} M parameters, {encoder.image_size} × {encoder.image_size} pixels, "
            f"trained with picturebook. At inference it needs the picture alone."
        ),
        "Numbers": _numbers(source),
        "Data": _data(data, settings, provenance, classes),
        "Words": _words(settings),
        "Method": _method(source.results["recipe"], settings),
        "Audit": _audit(source),
        "Calibration": _calibration(source),
        "Limits": _limits(source),
        "How to use it": _usage(source),
        "Versions": ", ".join(f"{name} {version}" for name, version in provenance["versions"].items()) + f"; card: {__version__}",
        "Licence": _licence(licence),
    }
    title, *rest = parts
    sections = [f"# {title}\n\n{parts[title]}", *(f"## {name}\n\n{parts[name]}" for name in rest)]
    return "\n\n".join([_front_matter(root, licence), *sections]) + "\n"


def _front_matter(root: str, licence: str) -> str:
    lines = [f"license: {licence}", *(["license_name: not-stated"] if licence == NO_LICENCE else [])]
    lines += ["library_name: timm", "pipeline_tag: image-classification"]
    lines += ["tags:", "- image-classification", "- timm", "- picturebook"]
    if _is_hub_name(root):
        lines += ["datasets:", f"- {root}"]
    return "\n".join(["---", *lines, "---"])


def _is_hub_name(root: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", root) is not None and not Path(root).parent.exists()


def _numbers(source: Source) -> str:
    numbers = source.numbers()
    if not numbers:
        return "Not measured: the run had no labelled pictures for validation or test."
    chosen = " (validation pictures, on which the temperature was fitted)" if numbers["split"] == "val" else ""
    constant = numbers["majority"]
    rows = (
        ("this student", percent(numbers["accuracy"]), interval(numbers["low"], numbers["high"])),
        ("always the most common class", percent(constant["accuracy"]), interval(constant["low"], constant["high"])),
    )
    table = ["| | accuracy | 95 % interval |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(table) + (
        f"\n\nOn {quantity(numbers['num'], 'picture')} of the split `{numbers['split']}`{chosen}, which did not train it. The "
        f"interval ({numbers['interval']}) says how the number would move with other pictures of the same kind, not with another "
        "training."
    )


def _data(name: str, settings: Mapping[str, Any], provenance: Mapping[str, Any], classes: tuple[str, ...]) -> str:
    rows = ", ".join(f"{count:,} {split}" for split, count in provenance["rows"].items())
    listed = ", ".join(f"`{' '.join(label.split())}`" for label in classes[:_MANY_CLASSES])
    rest = f" and {len(classes) - _MANY_CLASSES} more" if len(classes) > _MANY_CLASSES else ""
    supervision = settings["data"].get("supervision", {})
    named = (("labelled_share", 1.0, "share of the training labels that was used"), ("label_noise", 0.0, "share made wrong"))
    changed = [f"{what}: {supervision[key]:g}" for key, default, what in named if supervision.get(key, default) != default]
    less = f"\n\nLabels were changed on purpose ({'; '.join(changed)})." if changed else ""
    return f"`{name}`: {rows} pictures.{less}\n\nClasses: {listed}{rest}."


def _words(settings: Mapping[str, Any]) -> str:
    told = [
        _told(settings[part]) for part in ("text", "alignment_text") if settings.get(part, {}).get("source", "none") != "none"
    ]
    if settings.get("class_text", {}).get("source", "none") != "none":
        told.append(f"What is said of the classes taught the teacher too. {_told(settings['class_text'])}")
    if settings.get("smoothing_text", {}).get("source", "none") != "none":
        told.append("Labels were smoothed by words: more of each went to the classes of which the same is said.")
    return "\n\n".join(told) or "No words took part in this run."


def _told(text: Mapping[str, Any]) -> str:
    kind = text.get("kind", "unknown")
    shown = "each picture with those of its own label" if kind == "privileged" else "the same for every picture"
    words = _WORDS[text["source"]].format(column=text.get("column") or "text", kind=kind, knows=_KNOWS[kind], shown=shown)
    control = text.get("control", "none")
    return words if control == "none" else f"{words} As a control they were exchanged: `{control}`."


def _method(recipe: str, settings: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in settings.items() if name not in ("out", "cache", "device")}
    about = f"{_METHODS[recipe]} " if recipe in _METHODS else ""
    return (
        f"{about}Recipe `{recipe}` of picturebook {__version__}; its settings, with the names of folders and files in place of "
        f"their paths:\n\n```toml\n{tomlkit.dumps(_without_folders(kept)).strip()}\n```"
    )


def _without_folders(value: Any) -> Any:
    """Settings in which an absolute path is its last part: nobody else has the others."""
    if isinstance(value, dict):
        return {name: _without_folders(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_folders(part) for part in value]
    if isinstance(value, str):
        prefix, colon, rest = value.rpartition(":")
        path = Path(rest)
        return f"{prefix}{colon}{path.name}" if path.is_absolute() or rest.startswith("~") else value
    return value


def _audit(source: Source) -> str:
    if not source.run.audit.is_file():
        return "The run has no audit: that is asked of teachers that read words."
    found = read_json(source.run.audit)
    label = f" ({found['label']})" if found["label"] else ""
    reasons = "\n".join(f"- {reason}" for reason in found["reasons"])
    return (
        f"**{found['verdict']}**{label}: whether the teacher read the picture or the label, asked on "
        f"{quantity(found['num'], 'picture')} before it taught.\n\n{reasons}"
    ).strip()


def _calibration(source: Source) -> str:
    if not source.is_calibrated:
        return (
            "No temperature was fitted: there were no labelled validation pictures. Take probabilities as they are with caution."
        )
    fitted = (
        f"T = {source.temperature:.6g}, fitted on {quantity(len(source.predictions.get('val_labels', ())), 'validation picture')}"
    )
    told = f"Probabilities are softmax(logits / T) with {fitted} (arXiv:1706.04599). timm gives logits: divide them as below."
    numbers = source.numbers()
    if numbers.get("split") != "test":
        return told
    ece, nll = numbers["ece"], numbers["nll"]
    return (
        f"{told} On the test pictures the expected calibration error goes from {percent(ece['before'])} to "
        f"{percent(ece['after'])}, the negative log-likelihood from {decimals(nll['before'])} to {decimals(nll['after'])}."
    )


def _limits(source: Source) -> str:
    classes = source.classifier.classes
    limits = [
        f"It answers with one of its {len(classes)} classes whatever the picture shows; nothing tells it that none of them fits.",
        "It was measured on pictures of the data that it was trained on; other cameras, places and styles may lower this.",
        "It sees the square in the middle of a picture. What is at the ends of a long one is not seen.",
        "It is one training with one seed.",
    ]
    measured = source.results["models"]["student"].get("test")
    if measured is not None:
        worst = classes[measured["worst_class"]]
        limits.append(f"Classes differ: of `{worst}` it names {percent(measured['worst_class_accuracy'])} rightly, the least.")
    return "\n".join(f"- {limit}" for limit in limits)


def _usage(source: Source) -> str:
    needed = needed_import(source.classifier.encoder.architecture)
    first = f"{needed}  # brings the architecture to timm\n" if needed else ""
    return f"""With timm (`local-dir:FOLDER` in place of `hf-hub:OWNER/NAME` reads a folder on disk):

```python
{first}import timm
import torch
from PIL import Image

model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True).eval()  # without pretrained=True its weights are random
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
with torch.no_grad():
    logits = model(transform(Image.open("photo.jpg").convert("RGB"))[None])
probabilities = (logits / {source.temperature!r}).softmax(dim=1)[0]
print(model.pretrained_cfg["label_names"][int(probabilities.argmax())], float(probabilities.max()))
```

With picturebook, from a folder on disk: `picturebook predict FOLDER photos/ --top 3`."""


def _licence(licence: str) -> str:
    if licence == NO_LICENCE:
        return "Whoever exported this named no licence: ask them before you use or pass on the weights."
    return f"The weights are under `{licence}`. The training pictures and words have licences of their own."
