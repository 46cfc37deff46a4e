"""The points of the cost curves: what one costs, measured in a process of its own (run.py).

A point gives seconds of each step, on the clock and of the processor, bytes on disk, and the private memory (RssAnon) before it
began and at most while it ran. The data are 32-pixel JPEGs with labels, made once per number of rows.
"""

import io
import multiprocessing
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from picturebook.data.canvases import open_canvases
from picturebook.data.loaders import TrainingBatches
from picturebook.data.tables import DataOptions, read_table
from picturebook.stores.sharing import CHUNK
from picturebook.stores.targets import TargetStore, TargetWriter
from picturebook.types import Batch, Targets

SIDE = 32
SHARD = 10_000
"""Rows of a shard."""
BATCH = 256
FINGERPRINT = {"teacher": "none"}
FORK = multiprocessing.get_context("fork")


def private_memory() -> int:
    """Bytes of this process that no file stands for."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024


class Measured:
    """Seconds by step, and the highest private memory while they ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.work: dict[str, float] = {}
        """Of the processor, all threads."""
        self.base = self.peak = private_memory()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                self.peak = max(self.peak, private_memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start, work = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.work[name] = time.process_time() - work
        over.set()
        watcher.join()
        self.peak = max(self.peak, private_memory())

    def told(self, **more: Any) -> dict[str, Any]:
        memory = {"base": self.base, "memory": self.peak}
        rounded = ({name: round(value, 4) for name, value in values.items()} for values in (self.seconds, self.work))
        return {"seconds": next(rounded), "work": next(rounded), **memory, **more}


def jpeg(row: int) -> bytes:
    """A smooth picture that no other row has."""
    small = np.random.default_rng(row).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def data(folder: Path, kind: str, rows: int, classes: int = 10) -> Path:
    """Shards of `rows` pictures, made where they are not there."""
    root = folder / f"{kind}-{rows}"
    if root.is_dir():
        return root
    new = root.with_suffix(".new")
    new.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, rows, SHARD)):
        part = range(start, min(start + SHARD, rows))
        if kind == "parquet":
            table = pa.table({"image": [jpeg(row) for row in part], "label": [str(row % classes) for row in part]})
            pq.write_table(table, new / f"{number:05d}.parquet", row_group_size=1000)
            continue
        with tarfile.open(new / f"{number:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for row in part:
                for ending, content in (("jpg", jpeg(row)), ("cls", str(row % classes).encode())):
                    member = tarfile.TarInfo(f"{row:09d}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    new.rename(root)
    return root


def reading(kind: str) -> Callable[..., dict[str, Any]]:
    """Index the shards, decode them into canvases, and open what was decoded again."""

    def measure(rows: int, classes: int, processes: int, folder: Path) -> dict[str, Any]:
        options = DataOptions(root=str(data(folder, kind, rows)), canvas_size=SIDE)
        cache = folder / "cache" / f"{os.getpid()}"
        measured = Measured()
        with measured.step("index"):
            table = read_table(options)
        with measured.step("decode"):
            open_canvases(table, side=SIDE, root=options.root, cache=cache)
        with measured.step("open"):
            open_canvases(table, side=SIDE, root=options.root, cache=cache)
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        shutil.rmtree(cache)
        return measured.told(bytes=size)

    return measure


class Rows:
    """Makes batches of nothing but ids."""

    def batch(self, rows: np.ndarray, views: np.ndarray, *, with_images: bool = True) -> Batch:
        return Batch(torch.from_numpy(rows), torch.from_numpy(views), torch.from_numpy(rows))

    def expect(self, rows: np.ndarray) -> None:
        """Nothing is decoded."""


def sampling(rows: int, classes: int, processes: int, folder: Path) -> dict[str, Any]:
    """Step → ids, one process's share, over three epochs."""
    measured = Measured()
    with measured.step("begin"):
        batches = TrainingBatches(
            Rows(), np.arange(rows), batch_size=BATCH, epochs=3, num_views=3, seed=0, share=(0, processes), with_images=False
        )
        batches.at(0)
    steps = np.linspace(0, batches.num_steps - 1, min(batches.num_steps, 300)).astype(int).tolist()
    with measured.step("steps"):
        for step in steps:
            batches.at(step)
    return measured.told(steps=len(steps))


def writer(folder: Path, rows: int, classes: int) -> TargetWriter:
    ids = np.arange(rows, dtype=np.int64)
    return TargetWriter(folder, FINGERPRINT, ids=ids, num_views=1, num_classes=classes, representation_width=None)


def fill(folder: Path, rows: int, classes: int, share: tuple[int, int], ready: Barrier) -> None:
    """Write one process's part, of answers that cost nothing, once every process is ready."""
    store = writer(folder, rows, classes)
    store.take(share)
    answers = torch.randn(CHUNK, classes, generator=torch.Generator().manual_seed(0))
    ids, views = store.missing()
    ready.wait()
    for start in range(0, len(ids), CHUNK):
        part = slice(start, start + CHUNK)
        store.write(ids[part], views[part], Targets(answers[: len(ids[part])]))


def targets(rows: int, classes: int, processes: int, folder: Path) -> dict[str, Any]:
    """A target store written by processes that share it out, and read in random batches."""
    store = folder / "targets" / f"{os.getpid()}"
    writer(store, rows, classes)
    ready = FORK.Barrier(processes)
    others = [FORK.Process(target=fill, args=(store, rows, classes, (rank, processes), ready)) for rank in range(1, processes)]
    for other in others:
        other.start()
    measured = Measured()
    with measured.step("write"):
        fill(store, rows, classes, (0, processes), ready)
        for other in others:
            other.join()
    writer(store, rows, classes).finish()
    read = TargetStore(store, FINGERPRINT, num_classes=classes, with_representation=False)
    order = np.random.default_rng(0).permutation(rows)[: 40 * BATCH]
    with measured.step("read"):
        for begin in range(0, len(order), BATCH):
            ids = torch.from_numpy(order[begin : begin + BATCH])
            read.read(Batch(ids, torch.zeros_like(ids), ids))
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    shutil.rmtree(store)
    return measured.told(bytes=size, records_read=len(order))


def made(rows: int, classes: int, processes: int, folder: Path) -> dict[str, Any]:
    """The data of the points that read, so that making them is none of their memory."""
    for kind in ("tar", "parquet"):
        data(folder, kind, rows)
    return {}


PARTS = {"data": made, "tar": reading("tar"), "parquet": reading("parquet"), "sampling": sampling, "targets": targets}


def measure(part: str, rows: int, classes: int, processes: int, folder: Path) -> dict[str, Any]:
    """One point, in a process that is a copy of this one, so that no other point's memory is in it."""
    ours, theirs = FORK.Pipe()

    def work() -> None:
        theirs.send(PARTS[part](rows, classes, processes, folder))

    process = FORK.Process(target=work)
    process.start()
    theirs.close()
    found: dict[str, Any] = ours.recv()
    process.join()
    return found
