"""Parquet shards: row groups of any size, and pictures in any order."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from picturebook.data.images import Broken
from picturebook.data.rows import ColumnOptions, Rows
from picturebook.data.shards import find_shards, parquet, read_parquet_shards
from toys import noise_png

NUM = 150
PICTURES = [noise_png(seed, 4, 4) for seed in range(NUM)]


def read(root: Path) -> Rows:
    shards = find_shards(str(root))
    assert shards is not None
    return read_parquet_shards(shards, ColumnOptions())


def write(root: Path, *, row_group_size: int) -> Path:
    root.mkdir()
    for number in range(2):
        pictures = PICTURES[number * 75 : number * 75 + 75]
        table = pa.table({"image": pictures, "label": [str(row % 3) for row in range(75)]})
        pq.write_table(table, root / f"{number}.parquet", row_group_size=row_group_size)
    return root


@pytest.mark.parametrize("row_group_size", [1, 40, 10_000])
def test_pictures_in_any_order_and_from_many_threads(tmp_path: Path, row_group_size: int) -> None:
    rows = read(write(tmp_path / "data", row_group_size=row_group_size))
    assert rows.names[74:76] == ("0.parquet/74", "1.parquet/0")
    order = [149, 0, 75, 74, 33, 31, 120, 119]
    assert [rows.read(row) for row in order] == [PICTURES[row] for row in order]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(rows.read, range(NUM))) == PICTURES


def test_a_row_group_is_gone_through_once_and_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read(write(tmp_path / "data", row_group_size=10_000))
    begun: list[object] = []
    real = parquet._ParquetPictures._start

    def counted(self: parquet._ParquetPictures, group: int) -> None:
        begun.append(group)
        real(self, group)

    monkeypatch.setattr(parquet._ParquetPictures, "_start", counted)
    monkeypatch.setattr(parquet, "_ROWS_OF_PICTURES", 4)
    held = []
    for row in range(NUM):
        rows.read(row)
        held.append(len(rows.read._kept))
    assert begun == [0, 1]
    assert max(held) <= 20


def test_a_row_group_damaged_in_its_middle_costs_its_own_rows_alone(tmp_path: Path) -> None:
    root = write(tmp_path / "data", row_group_size=25)
    path = root / "0.parquet"
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    spoilt = bytearray(path.read_bytes())
    start = column.data_page_offset if column.dictionary_page_offset is None else column.dictionary_page_offset
    spoilt[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(spoilt)
    rows = read(root)
    for row in (*range(25, 50), 30):
        with pytest.raises(Broken, match="a damaged row group"):
            rows.read(row)
    good = [*range(25), *range(50, NUM)]
    assert [rows.read(row) for row in good] == [PICTURES[row] for row in good]


def test_a_path_in_a_row_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "out.png").write_bytes(PICTURES[0])
    (tmp_path / "data" / "in.png").write_bytes(PICTURES[1])
    paths = ("../out.png", str(tmp_path / "out.png"), "in.png", "none.png", "zero\0.png")
    images = [{"bytes": None, "path": name} for name in paths]
    pq.write_table(pa.table({"image": images, "label": list("ababa")}), tmp_path / "data" / "a.parquet")
    rows = read(tmp_path / "data" / "a.parquet")
    for row, kind in ((0, "leads out"), (1, "leads out"), (3, "cannot be read"), (4, "cannot be read")):
        with pytest.raises(Broken, match=kind):
            rows.read(row)
    assert rows.read(2) == PICTURES[1]
