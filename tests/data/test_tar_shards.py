"""Tar shards: what is read of good ones."""

import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from picturebook.data.pictures import load_pictures
from picturebook.data.shards import tar
from picturebook.data.tables import DataOptions, Table, read_table
from picturebook.types import UNLABELLED
from toy_shards import sample, shard_toy_data, write_tar
from toys import noise_png

PICTURES = [noise_png(seed) for seed in range(6)]


def read(root: Path | str, **settings: object) -> Table:
    return read_table(DataOptions.model_validate({"root": str(root), **settings}))


def two_shards(root: Path) -> Path:
    write_tar(root / "train-0.tar", [*sample("000", PICTURES[0], "ape"), *sample("001", PICTURES[1], "bat")])
    write_tar(root / "test-0.tar", [*sample("000", PICTURES[2], "ape"), *sample("001", PICTURES[3], "bat")])
    return root


def test_rows_are_called_after_shard_and_key_and_split_by_their_shards_name(tmp_path: Path) -> None:
    table = read(two_shards(tmp_path))
    assert table.names == ("test-0.tar/000", "test-0.tar/001", "train-0.tar/000", "train-0.tar/001")
    assert table.splits == ("test", "test", "train", "train")
    assert table.classes == ("ape", "bat")
    assert table.labels.tolist() == [0, 1, 0, 1]
    assert table.texts is None
    assert [table.read(row) for row in (2, 0, 3, 1)] == [PICTURES[0], PICTURES[2], PICTURES[1], PICTURES[3]]
    assert pickle.loads(pickle.dumps(table.read))(3) == PICTURES[1]


def test_a_pattern_or_one_file_names_shards_too(tmp_path: Path) -> None:
    root = two_shards(tmp_path / "a" / "b")
    assert read(f"{tmp_path}/a/*/train-*.tar").names == ("b/train-0.tar/000", "b/train-0.tar/001")
    assert read(root / "test-0.tar").names == ("test-0.tar/000", "test-0.tar/001")


def test_another_shard_leaves_the_ids_of_the_others_alone(tmp_path: Path) -> None:
    before = read(two_shards(tmp_path))
    write_tar(tmp_path / "another-train.tar", sample("x", PICTURES[4], "ape"))
    after = read(tmp_path)
    assert (
        dict(zip(before.names, before.ids.tolist(), strict=True)).items()
        <= dict(zip(after.names, after.ids.tolist(), strict=True)).items()
    )


def test_columns_come_from_json_cls_and_txt(tmp_path: Path) -> None:
    members = [
        ("a.jpg", PICTURES[0]),
        ("a.json", json.dumps({"label": 7, "group": "g1", "vendor": "v", "caption": " said "}).encode()),
        ("a.cls", b"3\n"),
        ("a.txt", b" a photo\n"),
        ("b.png", PICTURES[1]),
        ("b.cls", b"8"),
        ("b.json", b'{"label": null, "group": "g2", "split": "validation", "label_name": "owl"}'),
        ("b.txt", b""),
    ]
    write_tar(tmp_path / "0.tar", members)
    table = read(tmp_path)
    assert table.classes == ("7", "8")  # json's label goes before cls, but not an empty one
    assert table.texts == ("a photo", "")
    assert table.groups == ("g1", "g2")
    assert table.splits == ("", "val")
    named = read(tmp_path, columns={"label": "cls", "text": "caption", "domain": "vendor", "kind": "group"})
    assert named.classes == ("3", "8")
    assert named.texts == ("said", "")
    assert named.domains == ("v", "")
    assert named.kinds == ("g1", "g2")


def test_class_folders_in_a_shard_are_labels(tmp_path: Path) -> None:
    members = [("./ape/1.png", PICTURES[0]), ("./bat/1.png", PICTURES[1]), ("./bat/2.png", PICTURES[2])]
    table = read(write_tar(tmp_path / "all.tar", members))
    assert table.names == ("all.tar/ape/1", "all.tar/bat/1", "all.tar/bat/2")
    assert [table.classes[label] for label in table.labels] == ["ape", "bat", "bat"]


def test_kinds_that_some_shards_do_not_say_are_not_known(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a.png", PICTURES[0]), ("a.cls", b"x"), ("a.kind", b"privileged")])
    write_tar(tmp_path / "1.tar", [("b.png", PICTURES[1]), ("b.cls", b"y")])
    assert read(tmp_path).kinds == ("privileged", "")
    assert read(tmp_path, columns={"kind": ""}).kinds is None


def test_a_sample_of_several_pictures_is_read_by_the_column_that_is_named(tmp_path: Path) -> None:
    members = [
        member
        for key, label in (("a", b"x"), ("b", b"y"))
        for member in (
            (f"{key}.left.png", PICTURES[0]),
            (f"{key}.png", PICTURES[1]),
            (f"{key}.jpg", PICTURES[2]),
            (f"{key}.cls", label),
        )
    ]
    table = read(write_tar(tmp_path / "0.tar", members), columns={"image": "left.png"})
    assert table.read(1) == PICTURES[0]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["ape", "b" * 40 + "/" + "c" * 50, "d" * 90 + "/" + "e" * 90, "ö" * 60])
def test_names_of_any_length_in_every_format(tmp_path: Path, form: int, folder: str) -> None:
    members = [(f"{folder}/1.png", PICTURES[0]), ("z/1.png", PICTURES[1])]
    table = read(write_tar(tmp_path / "0.tar", members, form=form))
    assert table.names == (f"0.tar/{folder}/1", "0.tar/z/1")
    assert [table.read(row) for row in (0, 1)] == PICTURES[:2]


def test_what_is_no_sample_is_told(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as archive:
        folder, link = tarfile.TarInfo("folder"), tarfile.TarInfo("c.png")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(folder)
        archive.addfile(link)
    good = tmp_path / "1.tar"
    words = [("d.cls", b"x"), ("README", b"words"), (".hidden.png", b"")]
    write_tar(good, [*sample("a", PICTURES[0], "x"), *sample("b", PICTURES[1], ""), *sample("e", PICTURES[2], "y"), *words])
    table = read(tmp_path)
    assert table.names == ("1.tar/a", "1.tar/b", "1.tar/e")
    assert table.labels.tolist() == [0, UNLABELLED, 1]
    told = {finding.kind: finding.names for finding in table.findings}
    assert told["a link, device or pipe in a shard"] == ("0.tar/c.png",)
    assert told["a name without an ending"] == ("1.tar/README",)
    assert told["a sample without a picture"] == ("1.tar/d",)
    assert told["shard without pictures"] == ("0.tar",)
    assert told["no label"] == ("1.tar/b",)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_canvases_of_shards_are_those_of_the_folder(toy_data: Path, toy_cache: Path, tmp_path: Path, kind: str) -> None:
    root = shard_toy_data(toy_data, tmp_path / "shards", kind=kind)
    options = {"canvas_size": 16, "split": {"by": "group"}}
    folder = load_pictures(DataOptions.model_validate({"root": str(toy_data), **options}), cache=toy_cache)
    shards = load_pictures(DataOptions.model_validate({"root": str(root), **options}), cache=tmp_path / "cache")
    assert len(shards) == len(folder)
    by_picture = {canvas.tobytes(): row for row, canvas in enumerate(folder.canvases)}
    rows = [by_picture[canvas.tobytes()] for canvas in shards.canvases]
    assert sorted(rows) == list(range(len(folder)))
    assert isinstance(shards.canvases, np.memmap)
    assert shards.classes == folder.classes
    assert shards.labels.tolist() == folder.labels[rows].tolist()
    assert shards.texts == tuple(folder.texts[row] for row in rows)
    assert shards.groups == tuple(folder.groups[row] for row in rows)
    assert [shards.read(row) for row in (5, 0)] == [folder.read(rows[5]), folder.read(rows[0])]


def test_a_shard_is_indexed_once_and_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_now: list[str] = []
    real = tar.tar_members

    def counted(path: Path) -> object:
        read_now.append(path.name)
        return real(path)

    monkeypatch.setattr(tar, "tar_members", counted)
    root, cache = two_shards(tmp_path / "data"), tmp_path / "cache"
    write_tar(root / "train-1.tar", [*sample("é", PICTURES[4], "ape"), ("y.cls", b"bat")])
    options = DataOptions(root=str(root))
    first = read_table(options, cache=cache)
    again = read_table(options, cache=cache)
    assert read_now == ["test-0.tar", "train-0.tar", "train-1.tar"]
    assert (again.names, again.texts, again.findings, again.stamp) == (first.names, first.texts, first.findings, first.stamp)
    assert again.labels.tolist() == first.labels.tolist()
    assert [again.read(row) for row in range(5)] == [first.read(row) for row in range(5)]
    write_tar(root / "train-0.tar", sample("000", PICTURES[5], "bat"))
    for path in list((cache / "shards").iterdir())[:1]:
        path.write_text(path.read_text()[:-9])  # cut off
    read_now.clear()
    changed = read_table(options, cache=cache)
    assert "train-0.tar" in read_now
    assert len(read_now) <= 2
    assert changed.read(changed.names.index("train-0.tar/000")) == PICTURES[5]
