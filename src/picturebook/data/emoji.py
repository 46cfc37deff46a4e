"""The rules by which drawings of emoji become a labelled set of pictures with texts.

    records ─ keep_records ─► Emoji × drawings ─ fit_on_canvas, first_of_each ─► Drawing
    Drawing ─ name_groups, join_lookalikes ─► groups ─ split_groups ─► train / val / test

Every choice is made by SHA-256 of names, so a set built twice is the same set. Builders add where drawings and words come from.
"""

import hashlib
import json
import os
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from picturebook.data.emoji_labels import LABEL_OF_SUBGROUP
from picturebook.errors import DataError
from picturebook.types import Progress, no_progress

CANVAS_SIDE = 64
"""Side of a picture, in pixels."""
LONGER_SIDE = 60
"""Longer side of the drawing on it: two pixels of white remain on either side."""
NUM_FLAGS = 60
"""Of about 260 country flags, as many as a large class has emoji."""
MAX_KEYWORDS = 5
"""Keywords in one text."""

_VISIBLE_ALPHA = 8
_LOOKALIKE_DISTANCE = 0.03
_PERSON_WORDS = frozenset(
    "man men woman women person people mr mrs mx male female boy girl prince princess santa claus".split()  # noqa: SIM905 (read as words)
)

Record = Mapping[str, Any]
"""A row of the table of emoji: `unified`, `name`, `short_name`, `image`, `category`, `subcategory`, …"""


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji and what is known of it besides its drawings."""

    unified: str
    """Code points in hexadecimal, joined by hyphens, as in the table of emoji: "0033-FE0F-20E3"."""
    label: str
    """Its class, one of emoji_labels.SUBGROUPS."""
    category: str
    subgroup: str
    name: str
    keywords: tuple[str, ...]
    """Other words for it, without the name."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One vendor's drawing of an emoji, on its canvas."""

    emoji: Emoji
    vendor: str
    picture: Image.Image
    """RGB, CANVAS_SIDE × CANVAS_SIDE."""


def text_hash(text: str) -> int:
    """SHA-256 of the UTF-8 text as a non-negative integer."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def code_point_key(unified: str) -> str:
    """The spelling of code points that is equal in all tables: upper case, no FE0F, no zeros at the front."""
    return unified.upper().replace("-FE0F", "").lstrip("0")


def keep_records(records: Sequence[Record]) -> list[Record]:
    """Records of the kept subgroups, in their order; of the country flags the NUM_FLAGS whose `unified` hashes lowest."""
    kept = [record for record in records if record["subcategory"] in LABEL_OF_SUBGROUP]
    flags = sorted((record["unified"] for record in kept if record["subcategory"] == "country-flag"), key=text_hash)
    left_out = set(flags[NUM_FLAGS:])
    return [record for record in kept if record["unified"] not in left_out]


def fit_on_canvas(drawing: Image.Image) -> Image.Image | None:
    """Crop to what is visible, scale the longer side to LONGER_SIDE (Lanczos), centre on white; None when nothing is visible."""
    drawing = drawing.convert("RGBA")
    box = drawing.getchannel("A").point(lambda alpha: 255 if alpha > _VISIBLE_ALPHA else 0).getbbox()
    if box is None:
        return None
    drawing = drawing.crop(box)
    scale = LONGER_SIDE / max(drawing.size)
    width, height = (max(1, round(side * scale)) for side in drawing.size)
    drawing = drawing.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (CANVAS_SIDE, CANVAS_SIDE), (255, 255, 255, 255))
    canvas.alpha_composite(drawing, ((CANVAS_SIDE - width) // 2, (CANVAS_SIDE - height) // 2))
    return canvas.convert("RGB")


def first_of_each(drawings: Iterable[Drawing]) -> list[Drawing]:
    """Drop every drawing whose pixels came before, of whichever emoji and vendor: the first one stays."""
    first: dict[bytes, Drawing] = {}
    for drawing in drawings:
        first.setdefault(hashlib.sha256(drawing.picture.tobytes()).digest(), drawing)
    return list(first.values())


def group_name(label: str, name: str) -> str:
    """The label and the name without words of gender and person: variants of one emoji share it."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word and word not in _PERSON_WORDS]
    return f"{label}/{' '.join(words) or name.lower()}"


def group_emoji(drawings: Sequence[Drawing]) -> dict[str, str]:
    """The group of each emoji, by `unified`: what must stay in one split.

    Emoji of one label share a group when their names differ in words of gender and person only (group_name), or when any two of
    their drawings look alike; a joined group has the alphabetically first of the names.
    """
    groups = {drawing.emoji.unified: group_name(drawing.emoji.label, drawing.emoji.name) for drawing in drawings}
    by_label: dict[str, list[Drawing]] = defaultdict(list)
    for drawing in drawings:
        by_label[drawing.emoji.label].append(drawing)
    root = {group: group for group in groups.values()}

    def find(group: str) -> str:
        while root[group] != group:
            group = root[group]
        return group

    for members in by_label.values():
        for one, other in _lookalikes([drawing.picture for drawing in members]):
            first, second = sorted(find(groups[members[position].emoji.unified]) for position in (one, other))
            root[second] = first
    return {unified: find(group) for unified, group in groups.items()}


def _lookalikes(pictures: Sequence[Image.Image]) -> list[tuple[int, int]]:
    """Pairs of positions whose thumbnails differ little, measured against the flatter of the two."""
    side = 16
    thumbnails = [np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float64) for picture in pictures]
    vectors: NDArray[np.float64] = np.stack(thumbnails).reshape(len(pictures), -1) / 255
    vectors -= vectors.mean(axis=1, keepdims=True)
    power = (vectors**2).sum(axis=1)
    differences = power[:, None] + power[None, :] - 2 * vectors @ vectors.T
    distances = differences / (np.minimum(power[:, None], power[None, :]) + 1e-6)
    return [(int(one), int(other)) for one, other in np.argwhere(np.triu(distances < _LOOKALIKE_DISTANCE, k=1))]


def split_emoji(emoji: Iterable[Emoji], groups: Mapping[str, str]) -> dict[str, str]:
    """The split of each emoji, by `unified`: about 60 / 20 / 20 % of the emoji of every label, whole groups only.

    Args:
        emoji: each emoji once or more often (a repeated one counts once).
        groups: the group of each emoji, by `unified`, as group_emoji gives it.
    """
    labels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in emoji:
        labels[one.label][groups[one.unified]].add(one.unified)
    splits: dict[str, str] = {}
    for members in labels.values():
        total = sum(len(group) for group in members.values())
        taken = {"test": 0, "val": 0}
        for group in sorted(members, key=lambda group: text_hash(f"split{group}")):
            size = len(members[group])
            small = size <= 0.06 * total + 1  # a large family in a small split would be most of it
            split = next((name for name in taken if small and taken[name] + size <= 0.2 * total + 0.5), "train")
            if split != "train":
                taken[split] += size
            splits.update(dict.fromkeys(members[group], split))
    return splits


def compose_text(name: str, keywords: Sequence[str]) -> str:
    """The name, a full stop and the keywords; the name alone when there are none."""
    return f"{name}. {', '.join(keywords)}" if keywords else name


def words_beside(name: str, words: Iterable[str]) -> tuple[str, ...]:
    """The words that say something else than the name, whatever the case of their letters."""
    return tuple(word for word in words if word.lower() != name.lower())


def sample_keywords(emoji: Emoji, vendor: str) -> list[str]:
    """At most MAX_KEYWORDS of an emoji's keywords; which, and in what order, depends on emoji and vendor alone."""
    generator = random.Random(text_hash(code_point_key(emoji.unified) + vendor))  # noqa: S311 - no secret hangs on it
    return generator.sample(emoji.keywords, min(MAX_KEYWORDS, len(emoji.keywords)))


def class_words(emoji: Iterable[Emoji]) -> frozenset[str]:
    """Every word of any label, subgroup or category, with its plural and singular.

    The union over all emoji: a mask by the row's own label would itself depend on the label.
    """
    words: set[str] = set()
    for one in emoji:
        words.update(re.findall(r"[a-z]+", f"{one.label} {one.subgroup} {one.category}".lower()))
    plurals = {f"{word}s" for word in words}
    singulars = {word[:-1] for word in words if word.endswith("s") and len(word) > 3}
    return frozenset(words | plurals | singulars)


def mask_class_words(text: str, banned: frozenset[str]) -> str:
    """The lower-cased words of a text that are not banned, joined by blanks; "picture" when none remains.

    A banned word with digits ("clock7") is banned too: it says the class as well.
    """
    words = [word for word in re.findall(r"[a-z0-9']+", text.lower()) if re.sub(r"[0-9]", "", word) not in banned]
    return " ".join(words) or "picture"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a working folder that takes the place of `folder` when the block ends well, and is removed when it does not.

    Raises:
        DataError: there is something at `folder`; nothing of the user's is ever overwritten.
    """
    if folder.exists():
        raise DataError(f"{folder} should be new, but it exists. Remove it or name another folder.")
    working = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    try:
        yield working
        working.replace(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def save_set(
    folder: Path, rows: Sequence[Mapping[str, str]], pictures: Sequence[Image.Image], *, progress: Progress = no_progress
) -> None:
    """Save each picture as PNG under its row's `file_name`, and the rows as metadata.jsonl.

    Args:
        folder: exists and is empty.
        rows: one a picture, in its order, all with the same columns.
        pictures: RGB.
        progress: called with (pictures saved, all pictures).
    """
    for done, (row, picture) in enumerate(zip(rows, pictures, strict=True), start=1):
        path = folder / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        progress(done, len(rows))
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
