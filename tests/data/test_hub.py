import io
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from picturebook.data.tables import DataOptions, Table, read_table
from picturebook.errors import DataError
from picturebook.types import UNLABELLED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, colours: list[str], labels: list[int | None], **columns: list[object]) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["zebra", "ant"])}
        | {name: datasets.Value("string") for name in columns}
    )
    rows = {"image": [{"bytes": png(colour), "path": None} for colour in colours], "label": labels, **columns}
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)


def read(root: Path | str, **settings: object) -> Table:
    return read_table(DataOptions.model_validate({"root": str(root), **settings}))


def test_a_parquet_file_with_class_names(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", ["red", "green", "blue"], [1, 0, -1], text=["one", None, "three"], group=["x", "y", "x"])
    table = read(tmp_path / "all.parquet")
    assert table.names == ("all.parquet/0", "all.parquet/1", "all.parquet/2")
    assert table.classes == ("ant", "zebra")
    assert table.labels.tolist() == [0, 1, UNLABELLED]
    assert table.texts == ("one", "", "three")
    assert table.groups == ("x", "y", "x")
    assert table.domains is None
    named = read(tmp_path / "all.parquet", columns={"domain": "group", "kind": "text"})
    assert (named.domains, named.kinds) == (("x", "y", "x"), ("one", "", "three"))
    assert table.splits == ("train",) * 3
    assert [table.read(row) for row in range(3)] == [png("red"), png("green"), png("blue")]


def test_a_folder_of_parquet_files_takes_splits_from_names(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root / "data" / "train-00000-of-00002.parquet", ["red"], [0])
    write(root / "data" / "train-00001-of-00002.parquet", ["green"], [1])
    write(root / "data" / "validation-00000-of-00001.parquet", ["blue", "white"], [1, 0])
    table = read(root)
    assert dict(zip(table.names, table.splits or (), strict=True)) == {
        "data/train-00000-of-00002.parquet/0": "train",
        "data/train-00001-of-00002.parquet/0": "train",
        "data/validation-00000-of-00001.parquet/0": "val",
        "data/validation-00000-of-00001.parquet/1": "val",
    }
    assert table.read(3) == png("white")


def test_plain_bytes_and_strings_in_parquet(tmp_path: Path) -> None:
    rows = {"picture": [png("red"), png("blue")], "kind": ["01", "1"], "split": ["train", "test"]}
    pq.write_table(pa.table(rows), tmp_path / "plain.parquet")
    table = read(tmp_path / "plain.parquet", columns={"image": "picture", "label": "kind"})
    assert table.classes == ("01", "1")
    assert table.splits == ("train", "test")
    assert table.read(1) == png("blue")


def test_a_missing_image_column_names_the_columns_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [png("red")], "label": ["a"]}), tmp_path / "plain.parquet")
    with pytest.raises(DataError, match=r"no column 'image'. Did you mean 'img'\?.*Set data.columns.image"):
        read(tmp_path / "plain.parquet")


def test_a_column_without_pictures_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [1.5, 2.5], "label": ["a", "b"]}), tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="holds no pictures: expected bytes"):
        read(tmp_path / "plain.parquet")


def test_names_that_say_a_split_only_in_part_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root / "train.parquet", ["red"], [0])
    write(root / "more.parquet", ["green"], [1])
    with pytest.raises(DataError, match=r"name no split \(more.parquet\) beside others that do"):
        read(root)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match=r"plain.parquet cannot be read as parquet"):
        read(tmp_path / "plain.parquet")


def test_metadata_beside_parquet_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", ["red", "green"], [0, 1])
    with pytest.raises(DataError, match=r"data.metadata stands beside a folder of pictures"):
        read(tmp_path / "all.parquet", metadata="metadata.csv")


def test_a_hub_name_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"owner/no-such-name cannot be read from the Hugging Face hub \(and there is no such folder\)"
    ):
        read("owner/no-such-name")


def test_a_data_set_that_the_hub_gives_keeps_its_split_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", ["red", "green"], [0, 1])
    write(tmp_path / "b.parquet", ["blue"], [0])
    parts = {
        "train": datasets.Dataset.from_parquet(str(tmp_path / "a.parquet")),
        "validation": datasets.Dataset.from_parquet(str(tmp_path / "b.parquet")),
        "unsupervised": datasets.Dataset.from_parquet(str(tmp_path / "b.parquet")),
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda _name: datasets.DatasetDict(parts))
    table = read("owner/name")
    assert table.names == ("train/0", "train/1", "validation/0")
    assert table.splits == ("train", "train", "val")
    assert table.findings[0].names == ("unsupervised",)
    assert table.read(2) == png("blue")
