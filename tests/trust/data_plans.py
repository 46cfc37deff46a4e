"""What an enemy would think of who knows pictures, tables and folders: bombs, links, pipes and paths that lead out."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile import Corpus, Files, write

from toys import noise_png

Prepare = Callable[[Path], None]


class Evil:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """A PNG of zeros that says it is so large."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    compressor = zlib.compressobj(1)
    line = b"\0" * (1 + width * samples * depth // 8)
    data = b"".join(compressor.compress(line) for _ in range(height if rows is None else rows)) + compressor.flush()
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


def picture_plans() -> Files:
    """Pictures by what is wrong with them."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo("../../pwned")
        archive.addfile(member, io.BytesIO(b""))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../pwned", noise_png(1))
    return {
        "bomb of 40,000,000,000 pixels.png": png(200_000, 200_000, rows=1),
        "bomb of 99,000,000 pixels.png": partial(png, 11_000, 9_000),
        "bomb with alpha.png": partial(png, 11_000, 9_000, colour=6),
        "bomb of 16 bits.png": partial(png, 11_000, 9_000, depth=16, colour=0),
        "wide.png": png(99_999_999, 1, rows=1),
        "no pixels.png": png(0, 0),
        "two in one.png": noise_png(1) + noise_png(2),
        "a tar.png": tar.getvalue(),
        "a zip.png": zipped.getvalue(),
        "a pickle.png": pickle.dumps(Evil()),
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch pwned) (w) file\n",
        "svg.png": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
        "imagemagick.png": b"push graphic-context\nfill 'url(https://127.0.0.1/\"|touch pwned\")'\npop graphic-context\n",
        "many frames.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0" * 6 + b"," * 100_000,
    }


def in_data(make: Prepare, corpus: Corpus) -> Prepare:
    """Good class folders, in which `make` does its work."""

    def prepare(place: Path) -> None:
        write(corpus.data, place)
        make(place / "data")

    return prepare


def _fifo(data: Path) -> None:
    os.mkfifo(data / "apple" / "pipe.png")


def _link_to(target: str) -> Prepare:
    return lambda data: (data / "apple" / "link.png").symlink_to(target)


def _loop(data: Path) -> None:
    (data / "apple" / "again").symlink_to(data)
    (data / "apple" / "self.png").symlink_to("self.png")


def _sparse(data: Path) -> None:
    with (data / "apple" / "large.png").open("wb") as file:
        file.truncate(2**35)


def _gzip_bomb(stated: int) -> Prepare:
    """4 GB of pictures, whose header states another size."""

    def make(data: Path) -> None:
        header = gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", stated, 2**10, 2**6))
        content = header + 64 * gzip.compress(bytes(2**26), 1)
        for prefix in ("train", "t10k"):
            (data / f"{prefix}-images-idx3-ubyte.gz").write_bytes(content)
            (data / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(content)

    return make


def data_plans(corpus: Corpus) -> dict[str, Prepare]:
    """Data roots by what is wrong with them."""
    table = {
        name: _metadata(name)
        for name in ("../../outside.png", "/etc/passwd", "apple/../../outside.png", "C:\\win.ini", "a\0b", "\ud800", "")
    }
    plans = {f"a table that names {name!r}": in_data(make, corpus) for name, make in table.items()}
    places = {
        "a pipe for a picture": _fifo,
        "a link to /dev/zero": _link_to("/dev/zero"),
        "a link to /etc/passwd": _link_to("/etc/passwd"),
        "a link to /proc/self/mem": _link_to("/proc/self/mem"),
        "a dangling link": _link_to("nowhere"),
        "links in a circle": _loop,
        "a picture of 32 GB": _sparse,
        "a gzip bomb": _gzip_bomb(2**16),
        "a gzip bomb that states little": _gzip_bomb(2),
        "a table of one endless field": lambda data: (data / "metadata.csv").write_bytes(
            b"file_name,label\n" + b'"' + b"x" * 2**25
        ),
        "a table nested without end": lambda data: (data / "metadata.jsonl").write_bytes(b'{"file_name":' + b"[" * 200_000),
        "a table of numbers without end": lambda data: (data / "metadata.jsonl").write_bytes(
            b'{"file_name": ' + b"9" * 10**6 + b"}"
        ),
        "a table of lone surrogates": lambda data: (data / "metadata.jsonl").write_bytes(
            b'{"file_name": "apple/0.png", "label": "\\ud800", "text": "\\udfff"}\n{"file_name": "leaf/0.png", "label": "a"}\n'
        ),
        "a parquet table of one row a hundred million times": _parquet_bomb,
        "a table that is a folder": lambda data: (data / "metadata.csv").mkdir(),
        "a table that is a pipe": lambda data: os.mkfifo(data / "metadata.csv"),
    }
    return plans | {name: in_data(make, corpus) for name, make in places.items()}


def picture_table_plans() -> Files:
    """Parquet files of pictures that are said to lie elsewhere."""
    places = ("/etc/passwd", "/dev/zero", "/proc/self/mem", "../../outside.png", "http://127.0.0.1:9/a.png", "a\0b", "")
    rows = [{"image": {"bytes": None, "path": place}, "label": number % 2} for number, place in enumerate(places)]
    rows += [{"image": {"bytes": noise_png(number), "path": "a.png"}, "label": number % 2} for number in range(20)]
    tar = picture_plans()["a tar.png"]
    plans: Files = {}
    for name, table in {
        "pictures that lie elsewhere": pa.Table.from_pylist(rows),
        "pictures that are tars": pa.Table.from_pylist([{"image": {"bytes": tar, "path": "../../pwned.png"}, "label": 0}] * 20),
        "pictures that are numbers": pa.Table.from_pylist([{"image": 2**62, "label": 0}] * 9),
    }.items():
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        plans = {**plans, name: buffer.getvalue()}
    return plans


def _metadata(name: str) -> Prepare:
    line = json.dumps({"file_name": name, "label": "apple"}).encode()
    return lambda data: (data / "metadata.jsonl").write_bytes(line + b'\n{"file_name": "leaf/0.png", "label": "leaf"}\n') and None


def _parquet_bomb(data: Path) -> None:
    schema = pa.schema([("file_name", pa.dictionary(pa.int32(), pa.string())), ("label", pa.dictionary(pa.int32(), pa.string()))])
    indices = pa.array(np.zeros(10**6, dtype=np.int32))
    batch = pa.record_batch(
        [pa.DictionaryArray.from_arrays(indices, [text]) for text in ("apple/0.png", "x" * 1000)], schema=schema
    )
    with pq.ParquetWriter(data / "metadata.parquet", schema) as writer:
        for _ in range(100):
            writer.write_batch(batch)
