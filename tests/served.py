"""A run that is served: in the test's own process for the API, at a real port for browsers and raw sockets."""

import shutil
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from picturebook.runs import RunFolder
from picturebook.serve.answers import Answers
from picturebook.serve.app import Answering, build_app
from picturebook.serve.opening import open_answers
from picturebook.serve.waiting import WaitingRoom
from picturebook.types import Silence

MAX_BYTES = 100_000
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
ZIP = b"PK\x03\x04" + bytes(60)


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 400 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def copy_to_change(run: Path, place: Path) -> Path:
    """A copy of a run without its checksums, so that what a test changes in it does not count as damage."""
    shutil.copytree(run, place)
    (place / "checksums.json").unlink(missing_ok=True)
    return place


def open_run(run: RunFolder, cache: Path) -> Answers:
    return open_answers(run.path, cache=cache, reporter=Silence())


@contextmanager
def app_of(answers: Answering, *, places: int = 16, seconds: float = 30.0) -> Iterator[Starlette]:
    with WaitingRoom(places=places, seconds=seconds) as room:
        yield build_app(answers, room, max_bytes=MAX_BYTES)


@contextmanager
def live(app: Starlette) -> Iterator[int]:
    """Serve `app` at a free port of 127.0.0.1, which is given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(timeout=10)
