import errno
import os
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from permissions import locked as unwritable
from picturebook.errors import RunError, StoreError
from picturebook.stores.packed import PackedArray, PackedWriter, is_stored, locked, read_header
from picturebook.stores.sharing import CHUNK

IDS = np.array([7, -3, 2**62, -(2**62)], dtype=np.int64)
FINGERPRINT = {"teacher": "t1", "views": "v1", "classes": "c1"}


def start(folder: Path, **changes: object) -> PackedWriter:
    settings = {"ids": IDS, "num_views": 2, "record": (3,), "dtype": np.float16, "fingerprint": FINGERPRINT}
    return PackedWriter.start(folder, **{**settings, **changes})


def record(ids: np.ndarray, views: np.ndarray) -> np.ndarray:
    """A value that says whose it is."""
    places = np.array([np.flatnonzero(ids_ == IDS)[0] for ids_ in ids])
    return np.stack([places, views, np.full(len(ids), 0.5)], axis=1).astype(np.float32)


def fill(writer: PackedWriter, batch: int = 3, batches: int | None = None) -> list[tuple[int, int]]:
    """Write what is missing, or the first batches of it; returns what was written."""
    ids, views = writer.missing()
    done = []
    for number, begin in enumerate(range(0, len(ids), batch)):
        if number == batches:
            break
        part = slice(begin, begin + batch)
        writer.write(ids[part], views[part], record(ids[part], views[part]))
        done += list(zip(ids[part].tolist(), views[part].tolist(), strict=True))
    return done


@pytest.fixture
def store(tmp_path: Path) -> Path:
    writer = start(tmp_path / "store")
    fill(writer)
    writer.finish()
    return tmp_path / "store"


def test_every_record_comes_back_in_any_order(store: Path) -> None:
    array = PackedArray.open(store, FINGERPRINT)
    assert array.num_views == 2
    for order in ([0, 1, 2, 3], [3, 1], [2, 2, 0]):
        ids, views = IDS[order], np.array([0, 1, 1, 0])[order]
        np.testing.assert_array_equal(array.read(ids, views), record(ids, views).astype(np.float16))
    assert array.read(IDS[:0], np.zeros(0, np.int64)).shape == (0, 3)


@pytest.mark.parametrize("share", [None, (0, 1)])
def test_a_record_that_reached_the_disk_in_part_is_written_again(tmp_path: Path, share: tuple[int, int] | None) -> None:
    """As after a power cut, when sums were written and some values were not."""
    fill(start(tmp_path / "store"))
    values = np.load(tmp_path / "store.partial" / "values.npy", mmap_mode="r+")
    values[1, 0], values[3, 1, 2] = 0, 9
    values.flush()
    writer = start(tmp_path / "store")
    if share is not None:
        writer.take(share)
    ids, views = writer.missing()
    torn = {(int(np.sort(IDS)[1]), 0), (int(np.sort(IDS)[3]), 1)}
    found = set(zip(ids.tolist(), views.tolist(), strict=True))
    assert torn == found if share is None else torn <= found  # in chunks that are shared out, all of the chunk is
    writer.write(ids, views, record(ids, views))
    writer.finish()
    array = PackedArray.open(tmp_path / "store", FINGERPRINT)
    for view in (0, 1):
        np.testing.assert_array_equal(array.read(IDS, np.full(4, view)), record(IDS, np.full(4, view)).astype(np.float16))


def test_marks_of_another_process_are_left_to_it(tmp_path: Path) -> None:
    """It may be writing just now."""
    ids = np.arange(3 * CHUNK, dtype=np.int64)
    first, second = (start(tmp_path / "store", ids=ids, num_views=1, record=(1,)) for _ in range(2))
    first.take((0, 2))
    mine = first.missing()
    first.write(*mine, np.ones((len(mine[0]), 1)))
    first.values[0] = 5  # as if its values had not come here yet
    second.take((1, 2))
    theirs = second.missing()
    second.write(*theirs, np.ones((len(theirs[0]), 1)))
    second.finish()


def test_values_are_mapped_not_loaded(store: Path) -> None:
    assert isinstance(PackedArray.open(store, FINGERPRINT).values, np.memmap)


@pytest.mark.parametrize(
    ("expected", "field"),
    [
        ({**FINGERPRINT, "views": "v2"}, "its views is v1, this run's is v2"),
        ({"teacher": "t1", "views": "v1"}, "its classes is c1, this run's is nothing"),
        ({**FINGERPRINT, "words": "w"}, "its words is nothing, this run's is w"),
    ],
)
def test_another_fingerprint_is_refused_by_the_field_that_differs(store: Path, expected: dict[str, str], field: str) -> None:
    with pytest.raises(StoreError) as refused:
        PackedArray.open(store, expected)
    assert field in str(refused.value)


def test_an_unknown_sample_or_view_is_refused(store: Path) -> None:
    array = PackedArray.open(store, FINGERPRINT)
    for stranger in (8, 2**62 + 1, -(2**63), 2**63 - 1):
        with pytest.raises(StoreError, match=f"no record of sample {stranger}"):
            array.read(np.array([7, stranger], dtype=np.int64), np.array([0, 0]))
    for view in (2, -1):
        with pytest.raises(StoreError, match="holds views 0 to 1"):
            array.read(IDS[:1], np.array([view]))


def test_there_is_no_store_until_it_is_whole(tmp_path: Path) -> None:
    writer = start(tmp_path / "store")
    fill(writer, batches=1)
    with pytest.raises(StoreError, match="There is no store"):
        PackedArray.open(tmp_path / "store", FINGERPRINT)
    with pytest.raises(StoreError, match="incomplete: 5 records are missing"):
        writer.finish()
    assert not (tmp_path / "store").exists()


def test_what_is_missing_comes_view_after_view(tmp_path: Path) -> None:
    ids, views = start(tmp_path / "store").missing()
    assert views.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert ids.tolist() == [*sorted(IDS.tolist()), *sorted(IDS.tolist())]


def test_an_interrupted_writing_computes_only_what_is_missing(tmp_path: Path) -> None:
    first = fill(start(tmp_path / "store"), batches=2)
    writer = start(tmp_path / "store")
    second = fill(writer)
    writer.finish()
    assert len(first) == 6
    assert len(second) == 2
    assert set(first).isdisjoint(second)
    array = PackedArray.open(tmp_path / "store", FINGERPRINT)
    for view in (0, 1):
        views = np.full(4, view)
        np.testing.assert_array_equal(array.read(IDS, views), record(IDS, views).astype(np.float16))


@pytest.mark.parametrize(
    "changes", [{"fingerprint": {**FINGERPRINT, "teacher": "t2"}}, {"num_views": 3}, {"record": (4,)}, {"dtype": np.float32}]
)
def test_a_part_of_something_else_is_begun_anew(tmp_path: Path, changes: dict[str, object]) -> None:
    fill(start(tmp_path / "store"))
    ids, _ = start(tmp_path / "store", **changes).missing()
    assert len(ids) == 4 * int(changes.get("num_views", 2))


def test_a_part_without_a_header_is_begun_anew(tmp_path: Path) -> None:
    fill(start(tmp_path / "store"))
    (tmp_path / "store.partial" / "header.json").unlink()
    assert len(start(tmp_path / "store").missing()[0]) == 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_a_record_that_is_not_finite_is_refused_and_stays_missing(tmp_path: Path, value: float) -> None:
    writer = start(tmp_path / "store")
    values = np.array([[1.0, value, 2.0]], dtype=np.float32)
    with pytest.raises(StoreError, match="not finite, or past the range of float16"):
        writer.write(IDS[:1], np.array([0]), values)
    assert len(start(tmp_path / "store").missing()[0]) == 8


def test_a_broken_header_is_a_sentence(store: Path) -> None:
    (store / "header.json").write_text("{")
    with pytest.raises(StoreError, match="is not whole"):
        PackedArray.open(store, FINGERPRINT)


@pytest.mark.parametrize("text", ["[]", "{}", '{"fingerprint": "t1"}', '{"fingerprint": null}', "[" * 100_000])
def test_a_header_that_names_no_fingerprint_is_a_sentence(store: Path, text: str) -> None:
    (store / "header.json").write_text(text)
    with pytest.raises(StoreError, match=r"header\.json is not whole .*: remove "):
        read_header(store)


@pytest.mark.parametrize("name", ["ids.npy", "values.npy"])
def test_a_store_that_is_cut_off_is_a_sentence_and_then_removed(store: Path, name: str) -> None:
    assert is_stored(store)
    assert (store / name).exists()
    (store / name).write_bytes((store / name).read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"is not whole .*: remove it, and it is made again"):
        PackedArray.open(store, FINGERPRINT)
    said: list[str] = []
    assert not is_stored(store, say=said.append)
    assert not store.exists()
    assert not is_stored(store, say=said.append)
    assert said == [f"{store} was not whole, as after a power cut or a full disk: it was removed, and is made again."]


TROUBLES = [
    *(OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.EACCES, errno.EIO, errno.ENOMEM)),
    MemoryError(),
]


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, trouble: Exception, *, header: bool) -> None:
    def refuse(*arguments: Any, **switches: Any) -> Any:
        raise trouble

    if header:
        monkeypatch.setattr(Path, "read_text", refuse)
    else:
        monkeypatch.setattr(np.lib.format, "open_memmap", refuse)


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_a_store_that_cannot_be_read_now_is_a_sentence_and_stays(
    store: Path, monkeypatch: pytest.MonkeyPatch, trouble: OSError | MemoryError, header: bool
) -> None:
    why = getattr(trouble, "strerror", None) or "no memory is left"
    said: list[str] = []
    with monkeypatch.context() as broken:
        refuse_to_open(broken, trouble, header=header)
        with pytest.raises(StoreError, match=rf"store cannot be read \({why}\)\. Nothing of it was removed: mend this"):
            is_stored(store, say=said.append)
        with pytest.raises(StoreError, match="cannot be read"):
            PackedArray.open(store, FINGERPRINT)
    assert is_stored(store, say=said.append)
    assert said == []


@pytest.mark.parametrize("header", [False, True])
def test_a_part_that_cannot_be_read_now_is_not_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bool) -> None:
    fill(start(tmp_path / "store"), batches=1)
    with monkeypatch.context() as broken:
        refuse_to_open(broken, OSError(errno.EMFILE, os.strerror(errno.EMFILE)), header=header)
        with pytest.raises(StoreError, match=r"store\.partial cannot be read"):
            start(tmp_path / "store")
    assert len(start(tmp_path / "store").missing()[0]) == 5


@pytest.mark.parametrize("name", ["header.json", "ids.npy", "values.npy"])
def test_a_store_that_lacks_a_file_is_removed(store: Path, name: str) -> None:
    (store / name).unlink()
    assert not is_stored(store)
    assert not store.exists()


def test_a_part_that_is_cut_off_is_begun_anew(tmp_path: Path) -> None:
    fill(start(tmp_path / "store"), batches=1)
    values = tmp_path / "store.partial" / "values.npy"
    values.write_bytes(values.read_bytes()[:-1])
    assert len(start(tmp_path / "store").missing()[0]) == 8


def test_a_finished_store_keeps_no_flags(store: Path) -> None:
    assert sorted(path.name for path in store.iterdir()) == ["header.json", "ids.npy", "values.npy"]
    assert not store.with_name("store.partial").exists()


def test_one_at_a_time_holds_a_stores_lock(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path / "new" / "store"):
            order.append("second")

    thread = Thread(target=second, daemon=True)
    with locked(tmp_path / "new" / "store"):
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        with locked(tmp_path / "new" / "other"):
            order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_lock_in_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    refusal = pytest.raises(RunError, match=r"store\.lock cannot be written .*: name another place")
    with unwritable(tmp_path), refusal, locked(tmp_path / "store"):
        pass


def test_a_lock_is_let_go_when_its_holder_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with locked(tmp_path / "store"):
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
