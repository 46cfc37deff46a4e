"""One caption a picture, by a captioner on this machine."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from picturebook.data.images import Broken, open_rgb
from picturebook.data.tables import Table
from picturebook.describe.answers import one_line
from picturebook.describe.patience import Patience
from picturebook.describe.prompts import fill, prompt_hash, spoken
from picturebook.describe.records import Records
from picturebook.models.captioners import Captioner
from picturebook.types import UNLABELLED, Progress

EMPTY = "the caption is empty"

_CHUNK = 64
"""Batches that are put in order of their prompts together, so that each has one prompt."""


def caption_prompt(template: str, table: Table, row: int) -> str | None:
    """What is asked of one picture; None where the prompt needs a label and the picture has none."""
    if "{label}" not in template:
        return template
    label = int(table.labels[row])
    return None if label == UNLABELLED else fill(template, {"label": spoken(table.classes[label])})


def write_captions(
    captioner: Captioner, table: Table, records: Records, *, template: str, batch_size: int, progress: Progress
) -> dict[str, str]:
    """Caption the pictures that have no line yet; a batch is on the disk before the next one starts.

    Args:
        captioner: who writes.
        table: the pictures.
        records: open for writing, by file name.
        template: the prompt before it is filled in.
        batch_size: pictures at once.
        progress: called with (pictures done, pictures in all).

    Returns:
        File name → why there is no caption.

    Raises:
        ModelError: MAX_IN_A_ROW captions in a row were empty.
        OptionError: the captioner takes no prompt.
    """
    captioner.effective_prompt(template)  # refused before a picture is read
    rows = {name: row for row, name in enumerate(table.names)}
    missing = [rows[name] for name in records.missing(table.names)]
    patience, done = Patience(), len(rows) - len(missing)
    failed: dict[str, str] = {}
    for prompt, batch in _batches(missing, template, table, batch_size):
        lines = _caption(captioner, table, batch, prompt)
        records.append(lines)
        failed |= {line["file_name"]: line["problem"] for line in lines if line["problem"]}
        done += len(batch)
        progress(done, len(rows))
        for line in lines:
            if line["problem"] in {"", EMPTY}:  # a picture that cannot be read is not the captioner's failure
                patience.note(line["problem"], done=f"{len(records.lines)} of {len(rows)} pictures have a caption.")
    return failed


def _batches(rows: Sequence[int], template: str, table: Table, batch_size: int) -> Iterator[tuple[str | None, list[int]]]:
    """Batches of one prompt each; without {label} simply the rows in their order."""
    for start in range(0, len(rows), _CHUNK * batch_size):
        prompts = {row: caption_prompt(template, table, row) for row in rows[start : start + _CHUNK * batch_size]}
        for prompt, group in groupby(sorted(prompts, key=lambda row: prompts[row] or ""), key=lambda row: prompts[row]):
            same = list(group)
            for first in range(0, len(same), batch_size):
                yield prompt, same[first : first + batch_size]


def _caption(captioner: Captioner, table: Table, rows: Sequence[int], prompt: str | None) -> list[dict[str, Any]]:
    if prompt is None:
        return [_line(table.names[row], "", None, "the prompt needs a label, and the picture has none") for row in rows]
    asked = captioner.effective_prompt(prompt)
    images, problems = {}, {}
    for row in rows:
        try:
            images[row] = open_rgb(table.read(row))
        except Broken as error:
            problems[row] = error.kind
        except OSError as error:
            problems[row] = error.strerror or "cannot be read"
    texts = dict(zip(images, captioner.caption(list(images.values()), asked), strict=True)) if images else {}
    captions = {row: one_line(text) for row, text in texts.items()}
    return [
        _line(table.names[row], "", asked, problems[row])
        if row in problems
        else _line(table.names[row], captions[row], asked, "" if captions[row] else EMPTY)
        for row in rows
    ]


def _line(name: str, text: str, prompt: str | None, problem: str) -> dict[str, Any]:
    return {
        "file_name": name,
        "text": text,
        "prompt": prompt,
        "prompt_sha256": None if prompt is None else prompt_hash(prompt),
        "problem": problem,
    }
