from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from picturebook.data.metadata import Metadata, read_metadata
from picturebook.errors import DataError


def read(folder: Path, name: str, content: str | bytes) -> Metadata:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_metadata(path, file_name="file_name")


def refusal(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, name, content)
    return str(caught.value)


@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_csv_keeps_spelling_quotes_and_line_breaks(tmp_path: Path, bom: str) -> None:
    table = read(tmp_path, "metadata.csv", bom + 'file_name,label,text\r\na.png,01,"red, ""ripe""\nround"\r\n\r\nb.png, 1 ,é\r\n')
    assert table.columns == ("file_name", "label", "text")
    assert table.values("label", ["a.png", "b.png", "c.png"]) == ("01", "1", "")
    assert table.values("text", ["a.png", "b.png"]) == ('red, "ripe"\nround', "é")


@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_jsonl_keeps_the_spelling_of_numbers_and_takes_null_for_empty(tmp_path: Path, bom: str) -> None:
    lines = '{"file_name": "a.png", "label": "01", "size": 1.50}\n\n{"file_name": "b.png", "label": null, "more": [1]}\n'
    table = read(tmp_path, "metadata.jsonl", bom + lines)
    assert table.columns == ("file_name", "label", "size", "more")
    assert table.values("label", ["a.png", "b.png"]) == ("01", "")
    assert table.values("size", ["a.png", "b.png"]) == ("1.50", "")


def test_nan_is_nothing_as_tables_write_it(tmp_path: Path) -> None:
    lines = '{"file_name": "a.png", "label": NaN, "size": Infinity}\n{"file_name": "b.png", "label": "NaN"}\n'
    table = read(tmp_path, "metadata.jsonl", lines)
    assert table.values("label", ["a.png", "b.png"]) == ("", "NaN"), "a word is kept"
    assert table.values("size", ["a.png"]) == ("Infinity",)
    pq.write_table(pa.table({"file_name": ["a.png"], "text": [float("nan")]}), tmp_path / "metadata.parquet")
    assert read_metadata(tmp_path / "metadata.parquet", file_name="file_name").values("text", ["a.png"]) == ("",)


def test_parquet_gives_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "label": [7, None]}), tmp_path / "metadata.parquet")
    table = read_metadata(tmp_path / "metadata.parquet", file_name="file_name")
    assert table.values("label", ["a.png", "b.png"]) == ("7", "")


def test_file_names_become_plain_posix_paths(tmp_path: Path) -> None:
    assert list(read(tmp_path, "metadata.csv", "file_name\n./x//a.png\ny\\b.png\n").rows) == ["x/a.png", "y/b.png"]


def test_a_missing_file_name_column_names_the_columns_there_are(tmp_path: Path) -> None:
    message = refusal(tmp_path, "metadata.csv", "path,label\na.png,x\n")
    assert "has no column 'file_name'" in message
    assert "path, label" in message


def test_two_rows_for_one_file_are_refused_with_both_lines(tmp_path: Path) -> None:
    message = refusal(tmp_path, "metadata.csv", "file_name,label\na.png,x\nb.png,x\n./a.png,y\n")
    assert "two rows for a.png (line 2 and line 4): names start at the table's folder, as in bird/001.jpg." in message
    (tmp_path / "a.png").touch()
    message = refusal(tmp_path, "metadata.csv", "file_name,label\na.png,x\nb.png,x\n./a.png,y\n")
    assert "two rows for a.png (line 2 and line 4): keep one." in message


def test_an_invalid_json_line_is_named(tmp_path: Path) -> None:
    assert "line 2, is not valid JSON" in refusal(tmp_path, "metadata.jsonl", '{"file_name": "a"}\n{"file_name": \n')
    assert "line 1: expected a JSON object" in refusal(tmp_path, "metadata.jsonl", '["a.png"]\n')


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "x/../../a.png", "C:\\a.png", "..\\a.png", ".."])
def test_a_file_name_outside_the_root_is_refused(tmp_path: Path, name: str) -> None:
    assert "outside the data root" in refusal(tmp_path, "metadata.csv", f"file_name\n{name}\n")


def test_an_empty_file_name_is_refused(tmp_path: Path) -> None:
    assert "line 3 names no file" in refusal(tmp_path, "metadata.csv", "file_name,label\na.png,x\n,y\n")


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "metadata.csv", "file_name,text\na.png,red, round\n")
    assert "line 2, has 3 fields where the header has 2" in message


def test_an_open_quote_is_refused(tmp_path: Path) -> None:
    assert "is not valid CSV" in refusal(tmp_path, "metadata.csv", 'file_name,text\na.png,"red\nb.png,blue\n')


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    assert "names a column twice" in refusal(tmp_path, "metadata.csv", "file_name,text,text\na,b,c\n")


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    assert "is not UTF-8 (byte 13)" in refusal(tmp_path, "metadata.csv", b"file_name\nd\xc3\xa9\xe9.png\n")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read as parquet" in refusal(tmp_path, "metadata.parquet", b"PAR1 and then nothing")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    assert "expected .csv, .jsonl or .parquet" in refusal(tmp_path, "metadata.xlsx", b"")
