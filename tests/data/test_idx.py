import gzip
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picturebook.data.idx import CLASS_NAMES, read_idx, read_idx_table
from picturebook.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_set(folder: Path, labels: dict[str, list[int]], *, zipped: bool = True) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    pictures = {}
    for seed, (prefix, numbers) in enumerate(labels.items()):
        pictures[prefix] = np.random.default_rng(seed).integers(0, 256, (len(numbers), 6, 8), dtype=np.uint8)
        for kind, array in (("images-idx3", pictures[prefix]), ("labels-idx1", np.array(numbers, dtype=np.uint8))):
            content = idx_bytes(array)
            name = f"{prefix}-{kind}-ubyte"
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return pictures


@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 3, 2)])
@pytest.mark.parametrize("zipped", [False, True])
def test_read_idx_gives_what_was_written(tmp_path: Path, shape: tuple[int, ...], zipped: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = idx_bytes(array)
    (tmp_path / "file").write_bytes(gzip.compress(content) if zipped else content)
    read = read_idx(tmp_path / "file")
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "begins with nothing"),
        (GOOD[:3], "no IDX file"),
        (b"\x01" + GOOD[1:], "begins with 01 00 08 03"),
        (b"\0\0\x0d" + GOOD[3:], "begins with 00 00 0d 03"),
        (b"\0\0\x08\0", "no IDX file"),
        (b"<html>not found</html>", "no IDX file"),
        (GOOD[:10], "header should have 16 bytes, but the file has 10"),
        (GOOD[:-1], "2 × 3 × 4 = 24 bytes after its header, but it holds 23"),
        (GOOD + b"\0", "holds 25"),
        (gzip.compress(GOOD, mtime=0)[:-12], "gzip stream"),
        (b"\x1f\x8bnot gzip at all", "gzip stream"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        read_idx(tmp_path / "file")


def test_a_missing_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "file")


@pytest.mark.parametrize("zipped", [False, True])
def test_the_table_has_both_splits_in_file_order_and_pictures_as_png(tmp_path: Path, zipped: bool) -> None:
    pictures = write_set(tmp_path / "digits", {"train": [3, 0, 9, 1], "t10k": [2, 3]}, zipped=zipped)
    table = read_idx_table(tmp_path / "digits")
    assert table.names == ("train/00000", "train/00001", "train/00002", "train/00003", "test/00000", "test/00001")
    assert table.splits == ("train",) * 4 + ("test",) * 2
    assert [table.classes[label] for label in table.labels] == ["3", "0", "9", "1", "2", "3"]
    assert len(set(table.ids.tolist())) == 6
    assert table.ids.dtype == np.int64
    assert table.texts is None
    assert table.groups is None
    for read in (table.read, pickle.loads(pickle.dumps(table.read))):
        with Image.open(io.BytesIO(read(4))) as picture:
            assert picture.mode == "L"
            assert np.array_equal(np.asarray(picture), pictures["t10k"][0])
    with pytest.raises(IndexError):
        table.read(6)


def test_a_folder_called_fashion_mnist_has_named_classes_in_sorted_order(tmp_path: Path) -> None:
    write_set(tmp_path / "fashion-mnist", {"train": [9, 0, 5], "t10k": [1]})
    table = read_idx_table(tmp_path / "fashion-mnist")
    assert table.classes == tuple(sorted(CLASS_NAMES["fashion-mnist"]))
    assert [table.classes[label] for label in table.labels] == ["Ankle boot", "T-shirt/top", "Sandal", "Trouser"]


def test_labels_beyond_the_named_classes_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "fashion-mnist", {"train": [10], "t10k": [1]})
    with pytest.raises(DataError, match="Rename the folder"):
        read_idx_table(tmp_path / "fashion-mnist")


def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "digits", {"train": [1, 2], "t10k": [1]})
    (tmp_path / "digits" / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.zeros(3, dtype=np.uint8)))
    with pytest.raises(DataError, match="as many train labels as pictures"):
        read_idx_table(tmp_path / "digits")
