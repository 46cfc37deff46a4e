"""`picturebook init`: a first RUN.toml for somebody's data, with the reasons beside the settings."""

import json
from pathlib import Path

from picturebook.data.findings import sentence
from picturebook.data.tables import DataOptions
from picturebook.errors import RunError
from picturebook.inspection import DataInspection, inspect_data
from picturebook.models.packaged import has_text_package
from picturebook.runs import write_atomically
from picturebook.types import Reporter

_TEMPLATE = """\
# Written by `picturebook init {root}`: {num} pictures, {classes} classes{unlabelled}.
# Check it, then: picturebook train {file}
{findings}
recipe = "image_text"          # supervised | distil | born_again | image_text
seed = 0
out = {out_in_toml}

[data]
root = {root_in_toml}
canvas_size = {canvas}               # each picture is decoded once to a square of this side; {size_reason}
# Where the data name a split it is kept; what is missing is split off: {by_reason}.
split = {{ test = 0.2, val = 0.1, by = "{by}" }}

[student]
model = "{model}"              # {model_reason}
init = "scratch"               # newly initialised | pretrained | a run folder
image_size = {size}

[text]
{text}

[teacher]
image_encoder = "train"        # trained first, same architecture as the student | a timm name (its weights) | a run folder
text_encoder = "{text_encoder}"   # a sentence-transformers name or folder; package: names come by pip
head = {{ mode = "{mode}" }}       # {mode_reason}; its training: [teacher.train], 10 epochs

[loss]
temperature = 2.0
label_weight = 0.1             # the rest of the weight is the teacher's

[train]
epochs = {epochs}                   # {epochs_reason}
batch_size = {batch}
"""

_OWN_TEXT = """\
source = "column"              # column = "…" names another column than "text"
kind = "unknown"               # say "label_blind" if the texts can be written without knowing the label, "privileged" if not"""
_CLASS_TEXT = """\
source = "classes"             # one text per class, from its name
template = "a photo of a {}.\""""


def write_run_file(data: str, out: Path, *, cache: Path, reporter: Reporter) -> None:
    """Look at the data and write `out`.

    Raises:
        RunError: `out` exists.
        DataError: the data cannot be used.
    """
    if out.exists():
        raise RunError(f"{out} exists already: name another file with --out.")
    with reporter.stage("decoding pictures") as progress:
        inspection = inspect_data(DataOptions(root=data), cache=cache, progress=progress)
    write_atomically(out, run_file(inspection, file=out).encode())


def run_file(inspection: DataInspection, *, file: Path) -> str:
    """The text of a RUN.toml for these data, with a reason beside each choice."""
    num, texts = inspection.num_rows, inspection.texts
    short_side = min(inspection.heights.median, inspection.widths.median)
    size = max(side for side in (32, 64, 128, 224) if side == 32 or side <= short_side)
    own = texts is not None and texts.num_rows > inspection.num_rows // 2
    num_train = sum(part.train for part in inspection.classes)
    epochs = max(25, min(200, round(500_000 / max(num_train, 1))))
    grouped = inspection.num_groups is not None
    return _TEMPLATE.format(
        file=file,
        root=inspection.root,
        root_in_toml=json.dumps(inspection.root, ensure_ascii=False),  # JSON's strings are TOML's
        num=num,
        classes=len(inspection.classes),
        unlabelled=f", {inspection.num_unlabelled} without a label" if inspection.num_unlabelled else "",
        findings="".join(f"# {sentence(finding)}\n" for finding in inspection.findings),
        out_in_toml=json.dumps(f"runs/{Path(inspection.root).resolve().name or 'first'}", ensure_ascii=False),
        canvas=size,
        size_reason=f"the pictures' median is {inspection.heights.median:.0f} x {inspection.widths.median:.0f}",
        by="group" if grouped else "stratified",
        by_reason="whole groups of the table" if grouped else "classes in equal shares, near-duplicates together",
        model="resnet10t" if num < 20_000 else "resnet18",
        model_reason=f"small, for {num} pictures" if num < 20_000 else f"for {num} pictures",
        size=size,
        text=_OWN_TEXT if own else _CLASS_TEXT,
        text_encoder="package:all-MiniLM-L6-v2" if has_text_package() else "sentence-transformers/all-MiniLM-L6-v2",
        mode="own" if own else "bank",
        mode_reason="each picture's own text asks" if own else "all class texts ask every picture: no label reaches the teacher",
        epochs=epochs,
        epochs_reason=f"{epochs * num_train:,} pictures seen by the student, and by the teacher's encoder",
        batch=128 if num >= 1000 else 32,
    )
