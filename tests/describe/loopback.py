"""A loopback endpoint that plays a script: it answers, fails, stalls and lies."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

PHRASES = [f"phrase number {number}" for number in range(12)]
KEY = "sk-loopback-1234567890abcdef"


def answer(content: Any, **choice: Any) -> bytes:
    """The body of a good response."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}, **choice}]}).encode()


class Loopback:
    """Plays `script`, one entry a request and the last one for ever: a body for 200, (status, headers, body), or an act."""

    def __init__(self) -> None:
        self.script: list[Any] = [answer(json.dumps(PHRASES))]
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.released = Event()
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                loopback.paths.append(self.path)
                loopback.headers.append(dict(self.headers))
                loopback.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                entry = loopback.script.pop(0) if len(loopback.script) > 1 else loopback.script[0]
                if callable(entry):
                    entry = entry(self)
                if entry is not None:
                    status, headers, body = entry if isinstance(entry, tuple) else (200, {}, entry)
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that hangs up is part of the play

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self._thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def prompts(self) -> list[str]:
        return [request["messages"][0]["content"] for request in self.requests]

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        """Say nothing until the test ends."""
        self.released.wait(5)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Send a byte now and then: no single read ever takes long."""
        handler.send_response(200)
        handler.end_headers()
        for _ in range(500):
            if self.released.wait(0.02):
                break
            handler.wfile.write(b" ")

    def hang_up(self, handler: BaseHTTPRequestHandler) -> None:
        """Close the connection without a word."""
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def running_loopback() -> Iterator[Loopback]:
    """An endpoint that ends with the block; no proxy stands before it."""
    server = Loopback()
    try:
        with mock.patch.dict(os.environ, {"NO_PROXY": "127.0.0.1"}):
            yield server
    finally:
        server.close()


def write_pictures(root: Path, *classes: str, num: int = 2) -> Path:
    """Class folders of tiny pictures of different sizes."""
    generator = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for index in range(num):
            pixels = generator.integers(0, 255, (12 + index, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root
