"""What is read after a change, left out, or read and noted: said once, with a count, by `inspect` and `train`."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command_line import CommandLine, contents, sets, write_pictures, write_table
from picturebook.data.images import Broken, decode

CONVERTED = {
    "1 file converted: CMYK (apple/cmyk.jpg)",
    "1 file converted: 16-bit (apple/deep.png)",
    "1 file converted: palette with transparency (leaf/palette.png)",
    "1 file converted: grey (leaf/grey.png)",
    "1 file converted: animated, first frame taken (sky/moving.gif)",
    "1 file converted: EXIF-rotated (sky/turned.jpg)",
}
SKIPPED = {
    "1 file skipped: truncated file (apple/cut.png)",
    "1 file skipped: zero-byte file (apple/empty[final].png)",
    "1 file skipped: not an image (leaf/words.png)",
    "1 file skipped: decompression bomb (sky/bomb.png)",
    "1 file skipped: in the metadata but not on disk (sky/gone.png)",
    "1 file skipped: on disk but not in the metadata (apple/11.png)",
}


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8))


def png(side: int, depth: int, pixels: bytes) -> bytes:
    """An RGB PNG whose header claims `side` and `depth` bits, whatever its pixels are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def deep() -> bytes:
    """16 bits a channel, which Pillow itself cannot write; each line starts with its filter's number."""
    lines = np.random.default_rng(2).integers(0, 65536, (16, 48)).astype(">u2")
    return png(16, 16, b"".join(b"\0" + line.tobytes() for line in lines))


def bomb() -> bytes:
    """A few bytes that claim 50,000 x 50,000 pixels."""
    return png(50_000, 8, bytes(100))


def write_odd_pictures(root: Path) -> None:
    noise(1).convert("CMYK").save(root / "apple" / "cmyk.jpg")
    (root / "apple" / "deep.png").write_bytes(deep())
    noise(3).quantize(16).save(root / "leaf" / "palette.png", transparency=0)
    noise(4).convert("L").save(root / "leaf" / "grey.png")
    noise(5).save(root / "sky" / "moving.gif", save_all=True, append_images=[noise(6), noise(7)])
    turned = Image.Exif()
    turned[0x0112] = 6
    noise(8).save(root / "sky" / "turned.jpg", exif=turned)


def write_broken_pictures(root: Path) -> None:
    whole = (root / "apple" / "00.png").read_bytes()
    (root / "apple" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "apple" / "empty[final].png").write_bytes(b"")
    (root / "leaf" / "words.png").write_text("not a picture")
    (root / "sky" / "bomb.png").write_bytes(bomb())


@pytest.fixture(scope="module")
def odd_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd") / "data"
    write_pictures(root)
    write_odd_pictures(root)
    write_broken_pictures(root)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))
    rows = [f"{name},{name.split('/')[0]}" for name in [*names, "sky/gone.png"] if name != "apple/11.png"]
    write_table(root, "file_name,label", rows)
    return root


def inspected(picturebook: CommandLine, root: Path) -> dict[str, Any]:
    answer = picturebook("inspect", root, "--json")
    assert (answer.code, answer.err) == (0, "")
    found: dict[str, Any] = json.loads(answer.out)
    return found


def test_inspect_lists_every_oddity_once_with_its_count(picturebook: CommandLine, odd_data: Path) -> None:
    before = contents(odd_data)
    found = inspected(picturebook, odd_data)
    assert sorted(found["findings"]) == sorted(CONVERTED | SKIPPED)
    assert found["num_rows"] == 36 - 1 + 6
    table = " ".join(picturebook("inspect", odd_data).out.replace("│", " ").split())
    for sentence in CONVERTED | SKIPPED:
        assert table.count(sentence) == 1
    assert contents(odd_data) == before


def test_training_says_every_oddity_once_and_goes_on(picturebook: CommandLine, odd_data: Path, tmp_path: Path) -> None:
    overrides = sets(f"out={(tmp_path / 'run').as_posix()}", f"data.root={odd_data.as_posix()}")
    answer = picturebook("train", picturebook.run_file, *overrides)
    assert answer.code == 0, answer
    for sentence in CONVERTED | SKIPPED:
        assert answer.remarks.count(sentence) == 1, sentence
    findings = json.loads((tmp_path / "run" / "provenance.json").read_text())["findings"]
    assert sum(finding["count"] for finding in findings if finding["level"] == "skipped") == 6
    assert sum(finding["count"] for finding in findings if finding["level"] == "converted") == 6


def test_a_bomb_is_not_decoded() -> None:
    with pytest.raises(Broken, match="decompression bomb"):
        decode(bomb(), 16)


def test_many_oddities_of_a_kind_are_one_sentence(picturebook: CommandLine, class_folders: Path) -> None:
    for index in range(5):
        noise(index).convert("L").save(class_folders / "sky" / f"grey-{index}.png")
    (finding,) = inspected(picturebook, class_folders)["findings"]
    assert finding == "5 files converted: grey (sky/grey-0.png, sky/grey-1.png, sky/grey-2.png, …)"


def test_a_small_class_is_noted(picturebook: CommandLine, class_folders: Path) -> None:
    for file in sorted((class_folders / "sky").iterdir())[4:]:
        file.unlink()
    assert inspected(picturebook, class_folders)["findings"] == ["1 class noted: fewer than 5 pictures (sky)"]


def test_empty_texts_are_noted(picturebook: CommandLine, class_folders: Path) -> None:
    names = [path.relative_to(class_folders).as_posix() for path in sorted(class_folders.rglob("*.png"))]
    write_table(class_folders, "file_name,text", [f"{name},{'' if name.endswith('00.png') else 'words'}" for name in names])
    found = inspected(picturebook, class_folders)
    assert found["findings"] == ["3 files noted: no text (apple/00.png, leaf/00.png, sky/00.png)"]
    assert found["texts"]["num_rows"] == 33


def test_empty_labels_are_unlabelled_pictures_and_noted(picturebook: CommandLine, class_folders: Path, tmp_path: Path) -> None:
    names = [path.relative_to(class_folders).as_posix() for path in sorted(class_folders.rglob("*.png"))]
    write_table(class_folders, "file_name,label", [f"{name},{'' if '00.' in name else name.split('/')[0]}" for name in names])
    found = inspected(picturebook, class_folders)
    assert found["findings"] == ["3 files noted: no label (apple/00.png, leaf/00.png, sky/00.png)"]
    assert found["num_unlabelled"] == 3
    overrides = sets(f"out={(tmp_path / 'run').as_posix()}", f"data.root={class_folders.as_posix()}")
    answer = picturebook("train", picturebook.run_file, *overrides)
    assert answer.code == 0
    assert answer.remarks.count("3 files noted: no label") == 1
    assert "3 pictures without a label are left out where labels teach." in answer.remarks


@pytest.mark.packages
def test_texts_past_the_encoders_length_are_counted(picturebook: CommandLine, class_folders: Path, tmp_path: Path) -> None:
    names = [path.relative_to(class_folders).as_posix() for path in sorted(class_folders.rglob("*.png"))]
    rows = [f"{name},{'word ' * 600 if name == 'sky/00.png' else 'a word'}" for name in names]
    write_table(class_folders, "file_name,text", rows)
    overrides = sets(
        f"out={(tmp_path / 'run').as_posix()}",
        f"data.root={class_folders.as_posix()}",
        "teacher.text_encoder=package:all-MiniLM-L6-v2",
        "recipe=image_text",
        "text.source=column",
        "teacher.head.mode=own",
        "student.image_size=32",
        "teacher.train.epochs=1",
    )
    answer = picturebook("train", picturebook.run_file, *overrides)
    assert answer.code == 0, answer
    assert answer.remarks.count("1 text longer than the text encoder's") == 1
    assert "the rest is cut off" in answer.remarks
