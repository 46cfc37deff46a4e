import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picturebook.data.rows import sample_id
from picturebook.data.tables import DataOptions, read_table
from picturebook.errors import DataError, TextError
from picturebook.types import UNLABELLED

PNG = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(PNG, "PNG")


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG.getvalue())
    return root


def metadata(root: Path, lines: str, name: str = "metadata.csv") -> None:
    (root / name).write_text(lines, encoding="utf-8")


def options(root: Path, **settings: object) -> DataOptions:
    return DataOptions.model_validate({"root": str(root), **settings})


def data_refusal(root: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        read_table(options(root, **settings))
    return str(caught.value)


def found(table: object) -> dict[str, tuple[str, ...]]:
    return {f"{finding.level}: {finding.kind}": finding.names for finding in table.findings if "fewer than" not in finding.kind}


def test_class_folders_give_labels_and_ids_of_paths(tmp_path: Path) -> None:
    root = fill(tmp_path, "bat/1.png", "bat/deep/2.JPG", "ape/1.webp", "ape/.hidden.png", ".git/x/1.png")
    (root / "ape" / "notes.txt").write_text("not listed")
    table = read_table(options(root))
    assert table.names == ("ape/1.webp", "bat/1.png", "bat/deep/2.JPG")
    assert table.classes == ("ape", "bat")
    assert table.labels.tolist() == [0, 1, 1]
    assert table.ids.dtype == np.int64
    assert table.ids.tolist() == [sample_id(name) for name in table.names]
    assert (table.texts, table.splits, table.groups) == (None, None, None)
    assert table.read(0) == PNG.getvalue()
    assert found(table) == {}


def test_an_id_is_the_blake2b_of_the_path() -> None:
    digest = hashlib.blake2b(b"ape/1.png", digest_size=8).digest()
    assert sample_id("ape/1.png") == int.from_bytes(digest, "big", signed=True)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders_over_class_folders(tmp_path: Path, val: str) -> None:
    root = fill(tmp_path, "train/a/1.png", "train/b/1.png", f"{val}/a/2.png", "test/b/3.png")
    table = read_table(options(root))
    assert dict(zip(table.names, table.splits or (), strict=True)) == {
        "train/a/1.png": "train",
        "train/b/1.png": "train",
        f"{val}/a/2.png": "val",
        "test/b/3.png": "test",
    }
    assert table.classes == ("a", "b")


def test_one_class_called_train_is_a_class(tmp_path: Path) -> None:
    table = read_table(options(fill(tmp_path, "train/1.png", "plane/1.png")))
    assert (table.classes, table.splits) == (("plane", "train"), None)


def test_split_folders_beside_others_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, "train/a/1.png", "test/a/1.png", "extra/a/1.png")
    assert "split folders (test, train) beside other folders with pictures (extra)" in data_refusal(root)


def test_the_label_column_wins_over_class_folders(tmp_path: Path) -> None:
    root = fill(tmp_path, "pictures/1.png", "pictures/2.png", "pictures/3.png", "pictures/4.png")
    metadata(root, "file_name,label,text\npictures/2.png,01,two\npictures/1.png,1,one\npictures/3.png,,\npictures/9.png,1,\n")
    table = read_table(options(root))
    assert table.names == ("pictures/1.png", "pictures/2.png", "pictures/3.png")
    assert table.classes == ("01", "1")
    assert table.labels.tolist() == [1, 0, UNLABELLED]
    assert table.texts == ("one", "two", "")
    assert found(table) == {
        "skipped: in the metadata but not on disk": ("pictures/9.png",),
        "skipped: on disk but not in the metadata": ("pictures/4.png",),
        "warned: no label": ("pictures/3.png",),
        "warned: no text": ("pictures/3.png",),
    }


def test_metadata_without_labels_adds_texts_to_class_folders(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "a/2.png", "b/1.png", "stray.png")
    metadata(root, "file_name,text\na/1.png,one\nb/1.png,two\nb/7.png,gone\n", "captions.csv")
    table = read_table(options(root))
    assert table.names == ("a/1.png", "a/2.png", "b/1.png")
    assert table.classes == ("a", "b")
    assert table.texts == ("one", "", "two")
    assert found(table) == {
        "skipped: in the metadata but not on disk": ("b/7.png",),
        "skipped: not in a class folder": ("stray.png",),
        "warned: no row in the metadata, so no text": ("a/2.png",),
        "warned: no text": ("a/2.png",),
    }


def test_words_that_programs_write_for_nothing_are_noted(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png", "3.png")
    metadata(tmp_path, "file_name,label,text\n1.png,NaN,nan\n2.png,none,a none\n3.png,none,None\n")
    assert found(read_table(options(tmp_path))) == {
        "warned: a name that seems to stand for no label (if so, leave the label empty)": ("NaN",),
        "warned: a text that seems to stand for none (if so, leave it empty)": ("1.png", "3.png"),
    }


def test_an_empty_label_column_leaves_the_class_folders(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "b/1.png")
    metadata(root, "file_name,label\na/1.png,\nb/1.png,\n")
    assert read_table(options(root)).labels.tolist() == [0, 1]


def test_a_flat_folder_with_splits_and_groups(tmp_path: Path) -> None:
    root = fill(tmp_path, "1.png", "2.png", "3.png")
    rows = [("1.png", "a", "train", "x"), ("2.png", "b", "Validation", "y"), ("3.png", "a", "test", "x")]
    lines = [json.dumps(dict(zip(("file_name", "label", "split", "animal"), row, strict=True))) for row in rows]
    metadata(root, "\n".join(lines), "metadata.jsonl")
    table = read_table(options(root, columns={"group": "animal"}))
    assert table.splits == ("train", "val", "test")
    assert table.groups == ("x", "y", "x")
    assert table.domains is None
    assert read_table(options(root, columns={"domain": "animal"})).domains == ("x", "y", "x")
    assert read_table(options(root, columns={"kind": "animal"})).kinds == ("x", "y", "x")


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, "1.png", "2.png")
    metadata(root, "file_name,label,split\n1.png,a,train\n2.png,b,holdout\n")
    assert "puts 2.png in the split 'holdout': expected train, val" in data_refusal(root)


def test_metadata_in_split_folders_names_files_from_there(tmp_path: Path) -> None:
    root = fill(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    metadata(root / "train", "file_name,label\n1.png,a\n2.png,b\n")
    metadata(root / "test", "file_name,label\n1.png,b\n")
    table = read_table(options(root))
    assert dict(zip(table.names, table.labels.tolist(), strict=True)) == {"test/1.png": 1, "train/1.png": 0, "train/2.png": 1}
    assert table.splits == ("test", "train", "train")


def test_a_named_metadata_file_starts_at_the_root(tmp_path: Path) -> None:
    root = fill(tmp_path / "pictures", "1.png", "2.png")
    metadata(tmp_path, "file_name,label\n1.png,a\n2.png,b\n", "mine.csv")
    assert read_table(options(root, metadata="../mine.csv")).classes == ("a", "b")
    assert read_table(options(root, metadata=str(tmp_path / "mine.csv"))).classes == ("a", "b")
    assert "there is no file" in data_refusal(root, metadata="mine.csv")


def test_several_metadata_files_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, "1.png")
    metadata(root, "")
    metadata(root, "", "captions.csv")
    assert "several metadata files (metadata.csv, captions.csv)" in data_refusal(root)


def test_metadata_that_names_no_picture_on_disk_is_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "b/2.png")
    metadata(root, "file_name,label\n1.png,a\n2.png,b\n")
    assert "None of the 2 files in metadata.csv is a picture below" in data_refusal(root)


def test_a_file_of_another_format_in_the_metadata_is_listed(tmp_path: Path) -> None:
    root = fill(tmp_path, "1.png", "2.png", "3.svg")
    metadata(root, "file_name,label\n1.png,a\n2.png,b\n3.svg,b\n")
    assert found(read_table(options(root))) == {"skipped: in the metadata but no picture format that is read": ("3.svg",)}


def test_small_and_empty_classes_are_noted(tmp_path: Path) -> None:
    root = fill(tmp_path, *(f"a/{index}.png" for index in range(5)), "b/1.png")
    (root / "c").mkdir()
    findings = {(finding.kind, finding.unit): finding.names for finding in read_table(options(root)).findings}
    assert findings == {("fewer than 5 pictures", "class"): ("b",), ("class folder without pictures", "class"): ("c",)}


def test_a_link_that_leads_back_up_ends(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "b/1.png")
    (root / "a" / "loop").symlink_to(root)
    assert read_table(options(root)).names == ("a/1.png", "b/1.png")


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    assert "there is no folder or file" in data_refusal(tmp_path / "nowhere")


def test_a_file_as_root_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "1.png")
    assert "is a file; expected a folder" in data_refusal(tmp_path / "1.png")


def test_a_root_without_pictures_is_refused(tmp_path: Path) -> None:
    assert "it is empty" in data_refusal(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "drawing.svg").write_text("<svg/>")
    assert "its files end in .svg. Endings that are read: .avif" in data_refusal(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    message = data_refusal(fill(tmp_path, "images/1.png", "images/2.png"))
    assert "All 2 pictures in" in message
    assert "the label 'images'; a classifier needs two classes" in message


def test_no_label_at_all_is_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, "1.png", "2.png")
    assert "have no labels: no class folders, no metadata file" in data_refusal(root)
    metadata(root, "file_name,text\n1.png,one\n")
    assert "metadata.csv has no column 'label', only file_name, text" in data_refusal(root)
    metadata(root, "file_name,label\n1.png,\n")
    assert "the column 'label' of metadata.csv is empty in every row" in data_refusal(root)


@pytest.mark.parametrize("field", ["label", "split", "group", "domain", "kind"])
def test_a_named_column_that_is_not_there_is_refused(tmp_path: Path, field: str) -> None:
    root = fill(tmp_path, "a/1.png", "b/1.png")
    assert "has no metadata file beside its pictures" in data_refusal(root, columns={field: "sort"})
    metadata(root, "file_name,sorts\na/1.png,x\n")
    message = data_refusal(root, columns={field: "sort"})
    assert message.startswith(f"data.columns.{field}: There is no column 'sort'. Did you mean 'sorts'?")


def test_a_text_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(TextError, match=r"There is no column 'text': .* has no metadata file"):
        read_table(options(root), text_column="text")
    metadata(root, "file_name,caption\na/1.png,x\n")
    with pytest.raises(TextError, match=r"There is no column 'captions'. Did you mean 'caption'\?"):
        read_table(options(root), text_column="captions")
    with pytest.raises(TextError, match=r"Columns of metadata.csv: file_name, caption"):
        read_table(options(root, columns={"text": "words"}))
    assert read_table(options(root), text_column="caption").texts == ("x", "")


def test_texts_that_are_all_empty_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "b/1.png")
    metadata(root, "file_name,text\na/1.png,\nb/1.png,  \n")
    assert read_table(options(root)).texts is None
    with pytest.raises(TextError, match=r"text column 'text' of metadata.csv is empty in every row"):
        read_table(options(root), text_column="text")


def test_the_stamp_follows_the_files(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1.png", "b/1.png")
    first = read_table(options(root)).stamp
    assert read_table(options(root)).stamp == first
    (root / "a" / "1.png").write_bytes(PNG.getvalue() + b"x")
    assert read_table(options(root)).stamp != first


def test_idx_folders_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(TextError, match="IDX files hold no texts"):
        read_table(options(tmp_path), text_column="text")
