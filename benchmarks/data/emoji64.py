"""Build emoji64 or emoji64_lean: drawings of 1,572 emoji by up to six vendors in 35 classes, with names and keywords.

    python benchmarks/data/emoji64.py --out DIR [--lean] [--packages DIR] [--no-check]

Needs npm (it fetches about 190 MB, lean 160 MB) and, for the full set, resvg-py. The expected counts are those of Pillow 13.0.0
and resvg-py 0.5.0. The pictures belong to their vendors, under the licences that CREDITS.md in the folder names: use them, but do
not add them to a repository. The two sets split the emoji differently: never train on one and test on the other.
"""

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from picturebook.data.emoji import (
    Drawing,
    Emoji,
    class_words,
    code_point_key,
    compose_text,
    first_of_each,
    fit_on_canvas,
    group_emoji,
    keep_records,
    mask_class_words,
    new_folder,
    sample_keywords,
    save_set,
    split_emoji,
    words_beside,
)
from picturebook.data.emoji_labels import LABEL_OF_SUBGROUP, SUBGROUPS
from picturebook.errors import DataError, PicturebookError

HERE = Path(__file__).parent
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """What is taken from one npm package, and on what terms."""

    package: str
    """With its version, as npm writes it."""
    digest: str
    """First 16 digits of the SHA-256 of its archive."""
    path: str
    """Where in the package: a folder of drawings, or one file."""
    licence: str
    work: str
    """Whose work it is."""
    lean: bool = False
    """Part of the lean set too."""

    @property
    def archive(self) -> str:
        """File name of the archive, as `npm pack` chooses it."""
        return re.sub(r"[/@]", "-", self.package.removeprefix("@")) + ".tgz"


GOOGLE, TWITTER, FLUENT = "emoji-datasource-google@16.0.0", "emoji-datasource-twitter@16.0.0", "@lobehub/fluent-emoji-3d@1.1.0"
VENDORS = {  # the order decides which of two equal pictures stays
    "noto": Source(GOOGLE, "fb5fd131b362aab7", "img/google/64/", "Apache-2.0", "Noto Emoji by Google", lean=True),
    "twemoji": Source(TWITTER, "f64a530c63bca463", "img/twitter/64/", "CC-BY-4.0", "Twemoji by Twitter and others", lean=True),
    "fluent3d": Source(FLUENT, "c1bb7eee7de09020", "assets/", "MIT", "Fluent Emoji by Microsoft", lean=True),
    "noto_blob": Source(
        "emoji-datasource-google@3.0.0", "3247dd55dee7954d", "img/google/64/", "Apache-2.0", "Noto Emoji of 2017 by Google"
    ),
    "openmoji": Source("openmoji@17.0.0", "55ee7d13485dec86", "color/svg/", "CC-BY-SA-4.0", "OpenMoji, the open emoji project"),
    "emojitwo": Source("@iconify-json/emojione@1.2.3", "26a14f44284407e8", "icons.json", "CC-BY-4.0", "EmojiOne 2 / EmojiTwo"),
}
EMOJI = Source(GOOGLE, "fb5fd131b362aab7", "emoji.json", "MIT", "Which emoji there are, and their CLDR subgroups")
WORDS = Source(
    "emojibase-data@17.0.0", "d01d0e2ca4e22cb4", "en/data.json", "MIT; Unicode License", "Names and keywords of Unicode CLDR"
)


def fetch(sources: Sequence[Source], folder: Path) -> None:
    """Have npm fetch the archives that are not in the folder yet, and check the digest of each."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {source.archive: source.digest for source in sources}
    missing = {source.package for source in sources if not (folder / source.archive).exists()}
    if missing:
        subprocess.run(["npm", "pack", "--silent", *sorted(missing)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for name, expected in digests.items():
        with (folder / name).open("rb") as archive:
            digest = hashlib.file_digest(archive, "sha256").hexdigest()
        if not digest.startswith(expected):
            raise DataError(
                f"{folder / name} should have a SHA-256 that starts with {expected}, but it is {digest}. "
                "Remove the file, so that it is fetched again."
            )


def read_members(source: Source, packages: Path) -> dict[str, bytes]:
    """The files of a package under the source's path, by the rest of theirs. Nothing is unpacked to disk."""
    start = f"package/{source.path}"
    with tarfile.open(packages / source.archive) as members:
        return {
            member.name.removeprefix(start): content.read()
            for member in members
            if member.name.startswith(start) and (content := members.extractfile(member)) is not None
        }


def read_json(source: Source, packages: Path) -> Any:
    """The JSON file that is the source's path."""
    return json.loads(read_members(source, packages)[""])


def slug(name: str) -> str:
    """The spelling of names in icons.json."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("’", "")).strip("-")


def file_names(vendor: str, record: Mapping[str, Any]) -> list[str]:
    """Where a vendor's drawing of an emoji may be, the likelier place first."""
    if vendor == "openmoji":
        return [f"{unified}.svg" for unified in (record["unified"], record["unified"].replace("-FE0F", ""))]
    if vendor == "fluent3d":
        stem = Path(record["image"]).stem
        return [f"{stem}.webp", f"{stem.replace('-fe0f', '')}.webp"]
    return [record["image"]]


def icon_bodies(icons: Mapping[str, Any]) -> dict[str, bytes]:
    """Icons as SVG files, by slug."""
    drawings = {}
    for name, icon in icons["icons"].items():
        width, height = (icon.get(side, icons.get(side, 64)) for side in ("width", "height"))
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        drawings[name] = f"{head}{icon['body']}</svg>".encode()
    return drawings


def read_drawings(packages: Path, vendors: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """All drawings of the vendors as files: vendor → file name (emojitwo: slug) → content."""
    return {
        name: icon_bodies(read_json(VENDORS[name], packages)) if name == "emojitwo" else read_members(VENDORS[name], packages)
        for name in vendors
    }


def open_picture(content: bytes) -> Image.Image:
    """Decode PNG, WebP or SVG (at width 128)."""
    if content.lstrip().startswith((b"<svg", b"<?xml")):
        import resvg_py

        content = resvg_py.svg_to_bytes(svg_string=content.decode(), width=128)
    return Image.open(io.BytesIO(content))


def draw(packages: Path, vendors: Sequence[str]) -> Iterator[Drawing]:
    """Every vendor's drawing of every kept emoji, in the order of the table and of the vendors."""
    files = read_drawings(packages, vendors)
    words = {code_point_key(entry["hexcode"]): entry for entry in read_json(WORDS, packages)}
    for record in keep_records(read_json(EMOJI, packages)):
        entry = words[code_point_key(record["unified"])]
        name, subgroup = entry["label"], record["subcategory"]
        emoji = Emoji(
            unified=record["unified"],
            label=LABEL_OF_SUBGROUP[subgroup],
            category=record["category"],
            subgroup=subgroup,
            name=name,
            keywords=words_beside(name, entry.get("tags", ())),
        )
        for vendor in vendors:
            places = [slug(name), slug(record["short_name"])] if vendor == "emojitwo" else file_names(vendor, record)
            content = next((files[vendor][place] for place in places if place in files[vendor]), None)
            picture = None if content is None else fit_on_canvas(open_picture(content))
            if picture is not None:
                yield Drawing(emoji, vendor, picture)


def make_rows(drawings: Sequence[Drawing]) -> list[dict[str, str]]:
    """The table of the set: one row a picture."""
    emoji = [drawing.emoji for drawing in drawings]
    groups = group_emoji(drawings)
    splits = split_emoji(emoji, groups)
    banned = class_words(emoji)
    rows = []
    for drawing in drawings:
        one, split = drawing.emoji, splits[drawing.emoji.unified]
        sampled = sample_keywords(one, drawing.vendor)
        text = compose_text(one.name, sampled)
        row = {
            "file_name": f"{split}/{one.label}/{one.unified.lower()}_{drawing.vendor}.png",
            "label": one.label,
            "text": text,
            "masked_text": mask_class_words(text, banned),
            "masked_text_2": mask_class_words(compose_text(one.name, sampled[:2]), banned),
            "masked_name": mask_class_words(one.name, banned),
            "split": split,
            "category": one.category,
            "subgroup": one.subgroup,
            "name": one.name,
            "keywords": ", ".join(one.keywords),
            "vendor": drawing.vendor,
            "license": VENDORS[drawing.vendor].licence,
            "hexcode": one.unified,
            "group": groups[one.unified],
        }
        rows.append(row)
    return rows


def credits_text(vendors: Sequence[str]) -> str:
    """Whose work the set is."""
    sources = {name: VENDORS[name] for name in vendors} | {"texts": WORDS, "labels": EMOJI}
    rows = [f"| {name} | {source.work} | {source.package} | {source.licence} |" for name, source in sources.items()]
    head = ["# Credits", "", "| column `vendor` | work | package (npm) | licence |", "| --- | --- | --- | --- |"]
    notes = ["", "The drawings were cropped, scaled to 60 pixels and set on white. Two of the packages leave the licence of the"]
    notes += ["drawings unsaid (fluent3d, noto_blob): what stands here is that of the original work.", ""]
    return "\n".join(head + rows + notes)


def count(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, list[int]]]:
    """Emoji, then pictures in train, val and test of each label and of all; of each vendor the pictures; items of each split."""
    labels = {}
    for label in (*SUBGROUPS, "all"):
        chosen = [row for row in rows if label in ("all", row["label"])]
        splits = Counter(row["split"] for row in chosen)
        labels[label] = [len({row["hexcode"] for row in chosen}), *(splits[split] for split in SPLITS)]
    items = {}
    for item, column in (("emoji", "hexcode"), ("groups", "group")):
        splits = Counter(split for split, _ in {(row["split"], row[column]) for row in rows})
        items[item] = [splits[split] for split in SPLITS]
    vendors = {vendor: [number] for vendor, number in Counter(row["vendor"] for row in rows).items()}
    texts = {"different texts": [len({row["text"] for row in rows})]}
    return {"emoji | train val test": labels, "train val test": items, "pictures": vendors, "in all": texts}


def report(counts: Mapping[str, Mapping[str, list[int]]], expected: Mapping[str, Mapping[str, list[int]]]) -> int:
    """Print every count, and beside it the expected one where it is another. Return how many are."""
    num_different = 0
    for heading, numbers in counts.items():
        print(f"\n{heading}")
        for name, got in numbers.items():
            wanted = expected[heading].get(name)
            num_different += got != wanted
            print(
                f"  {name:<18}" + "".join(f"{number:>6}" for number in got) + ("" if got == wanted else f"   expected {wanted}")
            )
    return num_different


def build(out: Path, packages: Path, *, lean: bool, check: bool) -> None:
    """Fetch, build, count, and put the set in its place when the counts are right."""
    vendors = [name for name, vendor in VENDORS.items() if vendor.lean or not lean]
    with new_folder(out) as folder:
        fetch([EMOJI, WORDS, *(VENDORS[name] for name in vendors)], packages)
        drawings = first_of_each(draw(packages, vendors))
        rows = make_rows(drawings)
        save_set(folder, rows, [drawing.picture for drawing in drawings])
        (folder / "CREDITS.md").write_text(credits_text(vendors), encoding="utf-8")
        expected = json.loads((HERE / "emoji64_counts.json").read_text())["emoji64_lean" if lean else "emoji64"]
        num_different = report(count(rows), expected)
        if check and num_different:
            raise DataError(
                f"{num_different} counts are not the expected ones (above), so {out} was not written. Use Pillow 13.0.0 and "
                "resvg-py 0.5.0, or pass --no-check and say so beside every number."
            )


def main() -> int:
    """Read the command line, build, and say where the set is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the set; must not exist")
    parser.add_argument("--lean", action="store_true", help="three vendors, no SVG: 4,680 pictures instead of 8,120")
    parser.add_argument("--packages", type=Path, help="where the fetched archives are kept; default: packages, beside the set")
    parser.add_argument("--no-check", dest="check", action="store_false", help="keep the set whatever its counts")
    arguments = parser.parse_args()
    try:
        build(arguments.out, arguments.packages or arguments.out.parent / "packages", lean=arguments.lean, check=arguments.check)
    except PicturebookError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{arguments.out} is complete.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
