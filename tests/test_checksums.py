from pathlib import Path

import pytest

from picturebook.checksums import CHECKSUMS, checksum, checksums_of, damage
from picturebook.writing import write_json


def test_damage_is_named(tmp_path: Path) -> None:
    assert damage(tmp_path, thorough=True) is None
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"")
    write_json(tmp_path / CHECKSUMS, checksums_of(tmp_path, ["a", "b"]))
    assert damage(tmp_path, thorough=True) is None
    (tmp_path / "a").write_bytes(b"54321")
    assert damage(tmp_path, thorough=False) is None
    assert damage(tmp_path, thorough=True) == "a does not hold what was written"
    (tmp_path / "a").write_bytes(b"123")
    assert damage(tmp_path, thorough=False) == "a has 3 bytes, 5 were written"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '{"a": {"bytes": "x", "blake2b": ""}}', '{"a": {"bytes": 1}}'])
def test_checksums_that_are_not_whole_are_damage(tmp_path: Path, content: str) -> None:
    (tmp_path / CHECKSUMS).write_text(content)
    assert damage(tmp_path, thorough=False) == "checksums.json is not whole"


def test_a_checksum_is_the_same_of_a_file_and_of_its_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert checksum(tmp_path / "file") == checksum(content)
