"""The canvas store: made once, made again where it is broken, and left alone where it only cannot be read."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from picturebook.data import decoding, pictures
from picturebook.data.pictures import load_pictures
from picturebook.data.tables import DataOptions
from picturebook.errors import RunError
from toys import noise_png, write_apes_and_bats


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_apes_and_bats(tmp_path / "data")


def options(root: Path, **settings: object) -> DataOptions:
    return DataOptions.model_validate({"root": str(root), "canvas_size": 8, **settings})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gathers the lengths of all files that are decoded."""
    lengths: list[int] = []
    real = decoding.decode

    def counted(data: bytes, side: int) -> object:
        lengths.append(len(data))
        return real(data, side)

    monkeypatch.setattr(decoding, "decode", counted)
    return lengths


def test_a_second_call_decodes_nothing_and_is_equal(root: Path, tmp_path: Path, decoded: list[int]) -> None:
    first = load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 20
    second = load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 20
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(first.canvases, second.canvases)
    other = load_pictures(options(root, split={"seed": 1}), cache=tmp_path / "cache")
    assert len(decoded) == 20
    assert other.fingerprint != first.fingerprint


def test_a_changed_file_or_canvas_size_is_decoded_anew(root: Path, tmp_path: Path, decoded: list[int]) -> None:
    first = load_pictures(options(root), cache=tmp_path / "cache")
    (root / "ape" / "0.png").write_bytes(noise_png(77, 30, 30))
    second = load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 40
    assert second.fingerprint != first.fingerprint
    load_pictures(options(root, canvas_size=9), cache=tmp_path / "cache")
    assert len(decoded) == 60


def test_an_interrupted_decoding_is_never_used_and_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    def interrupted(done: int, total: int) -> None:
        if done == 15:
            raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "CHUNK", 6)
    with pytest.raises(KeyboardInterrupt):
        load_pictures(options(root), cache=tmp_path / "cache", progress=interrupted)
    assert [path.suffix for path in sorted((tmp_path / "cache").iterdir())] == [".lock", ".partial"]
    decoded.clear()
    resumed = load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 20 - 12
    straight = load_pictures(options(root), cache=tmp_path / "other")
    assert resumed.fingerprint == straight.fingerprint
    assert resumed.findings == straight.findings
    np.testing.assert_array_equal(resumed.canvases, straight.canvases)
    assert [path.suffix for path in sorted((tmp_path / "cache").iterdir())] == ["", ".lock"]


@pytest.mark.parametrize("name", ["canvases.bin", "decoded.jsonl"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_a_part_that_was_cut_off_is_decoded_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, keep: float
) -> None:
    def interrupted(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "CHUNK", 6)
    with pytest.raises(KeyboardInterrupt):
        load_pictures(options(root), cache=tmp_path / "cache", progress=interrupted)
    (file,) = (tmp_path / "cache").glob(f"*.partial/{name}")
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    resumed, straight = (load_pictures(options(root), cache=tmp_path / cache) for cache in ("cache", "other"))
    assert resumed.fingerprint == straight.fingerprint
    np.testing.assert_array_equal(resumed.canvases, straight.canvases)


@pytest.mark.parametrize("name", ["canvases.bin", "rows.npy", "sizes.npy", "clusters.npy", "store.json"])
def test_a_store_that_was_cut_off_is_made_again(root: Path, tmp_path: Path, decoded: list[int], name: str) -> None:
    before = load_pictures(options(root), cache=tmp_path / "cache")
    fingerprint, canvases = before.fingerprint, np.array(before.canvases)
    (file,) = (tmp_path / "cache").glob(f"*/{name}")
    file.write_bytes(file.read_bytes()[:-5])
    after = load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 40
    assert after.fingerprint == fingerprint
    np.testing.assert_array_equal(after.canvases, canvases)


def test_of_two_that_need_a_store_one_makes_it(root: Path, tmp_path: Path, decoded: list[int]) -> None:
    with ThreadPoolExecutor(2) as pool:
        loaded = list(pool.map(lambda _: load_pictures(options(root), cache=tmp_path / "cache"), range(2)))
    assert [len(each) for each in loaded] == [20, 20]
    assert len(decoded) == 20


@pytest.mark.parametrize("function", ["numpy.memmap", "numpy.lib.format.open_memmap", "pathlib.Path.read_text"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_store_that_cannot_be_read_now_is_not_made_again(
    root: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    load_pictures(options(root), cache=tmp_path / "cache")

    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(function, refuse)
        with pytest.raises(RunError, match=rf"cannot be read \({os.strerror(number)}\)\. Nothing of it was removed: mend this"):
            load_pictures(options(root), cache=tmp_path / "cache")
    load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 20


def test_bytes_are_hashed_where_there_is_no_stamp(
    root: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    read_table = pictures.read_table
    monkeypatch.setattr(pictures, "read_table", lambda *args, **kwargs: replace(read_table(*args, **kwargs), stamp=""))
    for _ in range(2):
        load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 20
    (root / "ape" / "0.png").write_bytes(noise_png(5000))
    load_pictures(options(root), cache=tmp_path / "cache")
    assert len(decoded) == 40
