"""Several processes fill one store: disjoint chunks, deaths, and the same bytes as one process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from picturebook.errors import StoreError
from picturebook.stores.packed import PackedWriter
from picturebook.stores.sharing import CHUNK, chunks_of, whole_chunks

NUM, VIEWS = 500, 2  # 1,000 records, 8 chunks, one across both views, the last one short

# Every value depends on all that it was computed among, so that equal bytes mean equal batches.
WORKER = """
import sys
from pathlib import Path
import numpy as np
from picturebook.stores.packed import PackedWriter

CHUNK, NUM, VIEWS = 128, 500, 2

def begin(folder, fingerprint="t"):
    ids = np.arange(NUM, dtype=np.int64) * 7 - 900
    return PackedWriter.start(
        Path(folder), ids=ids, num_views=VIEWS, record=(3,), dtype=np.float16, fingerprint={"teacher": fingerprint}
    )

def values(ids, views):
    return np.stack([ids / 500, views + 0.5, np.full(len(ids), ids.mean() / 500)], axis=1)

def fill(writer, records=None):
    ids, views = writer.missing()
    for start in range(0, len(ids) if records is None else records, CHUNK):
        part = slice(start, start + CHUNK if records is None else min(start + CHUNK, records))
        writer.write(ids[part], views[part], values(ids[start:start + CHUNK], views[start:start + CHUNK])[:part.stop - start])
    return ids, views

if __name__ == "__main__":
    folder, rank, world, records = sys.argv[1], *map(int, sys.argv[2:])
    writer = begin(folder)
    writer.take((rank, world))
    fill(writer, None if records < 0 else records)
    print("done", flush=True)
    sys.stdin.read()  # alive, and holding its chunks, until it is told or killed
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that writes its share of `tmp_path/store`, or as many records of it, and waits until they are there."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    started: list[subprocess.Popen[bytes]] = []

    def start(rank: int, world: int, records: int = -1) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(script), str(tmp_path / "store"), str(rank), str(world), str(records)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def functions(tmp_path: Path, worker: Start) -> dict[str, Callable[..., object]]:
    names: dict[str, Callable[..., object]] = {}
    exec((tmp_path / "worker.py").read_text(), names)
    return names


def end(process: "subprocess.Popen[bytes]", how: signal.Signals | None = None) -> None:
    if how is not None:
        os.kill(process.pid, how)
    process.communicate()
    assert process.returncode == (0 if how is None else -how)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def alone(tmp_path: Path, functions: dict[str, Callable[..., object]]) -> dict[str, bytes]:
    """The store as one process writes it."""
    writer = functions["begin"](tmp_path / "alone")
    assert isinstance(writer, PackedWriter)
    writer.take((0, 1))
    functions["fill"](writer)
    writer.finish()
    assert {path.name for path in (tmp_path / "alone").iterdir()} == {"header.json", "ids.npy", "values.npy"}
    return content(tmp_path / "alone")


@pytest.mark.parametrize("num", [0, 1, 127, 128, 129, 1000, 5000])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_are_disjoint_even_and_all(num: int, world: int) -> None:
    shares = [chunks_of(num, (rank, world)) for rank in range(world)]
    assert [chunk for share in shares for chunk in share] == list(range(-(-num // CHUNK)))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_chunk_with_a_gap_is_made_again_whole_and_others_stay() -> None:
    gaps = np.zeros((2, 500), dtype=bool)
    gaps[0, 3] = gaps[1, 20] = gaps[1, 499] = True
    found = whole_chunks(gaps, range(7))
    flat = np.flatnonzero(found.reshape(-1))
    assert flat.tolist() == [*range(128), *range(512, 640)]


@pytest.mark.parametrize("world", [2, 3])
def test_many_processes_write_what_one_writes(
    tmp_path: Path, worker: Start, functions: dict[str, Callable[..., object]], alone: dict[str, bytes], world: int
) -> None:
    for process in [worker(rank, world) for rank in range(world)]:
        end(process)
    writer = functions["begin"](tmp_path / "store")
    assert isinstance(writer, PackedWriter)
    assert len(writer.missing()[0]) == 0
    writer.finish()
    assert content(tmp_path / "store") == alone


def test_of_three_processes_one_dies_and_is_taken_up(
    tmp_path: Path, worker: Start, functions: dict[str, Callable[..., object]], alone: dict[str, bytes]
) -> None:
    first, second = worker(0, 3), worker(1, 3, records=150)  # a chunk, and a part of the next one
    end(second, signal.SIGKILL)
    end(worker(2, 3))
    end(first)
    writer = functions["begin"](tmp_path / "store")
    assert isinstance(writer, PackedWriter)
    with pytest.raises(StoreError, match="is incomplete"):
        writer.finish()
    writer.take((1, 3))
    ids, _ = functions["fill"](writer)
    assert len(ids) == 2 * CHUNK  # the chunk that was cut off and the one after it, not the first
    writer.finish()
    assert content(tmp_path / "store") == alone


def test_two_writers_of_one_chunk_are_refused(tmp_path: Path, worker: Start, functions: dict[str, Callable[..., object]]) -> None:
    holder = worker(0, 2, records=128)
    for share in ((0, 1), (0, 2), (1, 3)):
        writer = functions["begin"](tmp_path / "store")
        assert isinstance(writer, PackedWriter)
        with pytest.raises(StoreError, match=r"store\.partial: chunks \d to \d are being written by another process"):
            writer.take(share)
    writer = functions["begin"](tmp_path / "store")
    assert isinstance(writer, PackedWriter)
    writer.take((1, 2))
    with pytest.raises(StoreError, match="is being written by another process, for something else"):
        functions["begin"](tmp_path / "store", "another")
    end(holder, signal.SIGKILL)
    again = functions["begin"](tmp_path / "store")
    assert isinstance(again, PackedWriter)
    again.take((0, 2))
    assert len(again.missing()[0]) == 3 * CHUNK  # nothing of what was written was lost
