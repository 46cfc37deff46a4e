"""The queue: bounded, one at a time, nobody lost."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from picturebook.runs import RunFolder
from served import app_of, live, open_run


class Slow:
    """Answers with what came, after a while; notes how many it answers at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.inside, self.most, self.answered = 0, 0, 0
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        return {
            "name": "slow",
            "model": "none",
            "image_size": 1,
            "classes": [],
            "test": None,
            "neighbours": {"pictures": 0, "problem": ""},
            "words": {"available": False, "problem": "", "note": ""},
            "heat_key": ["#000000"],
        }

    def predict(self, data: bytes) -> dict[str, Any]:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(self.seconds)
        with self._lock:
            self.inside -= 1
            self.answered += 1
        return {"came": data.decode()}

    def look(self, data: bytes, *, words: str) -> dict[str, Any]:
        raise NotImplementedError

    def thumbnail(self, row: int) -> bytes:
        raise NotImplementedError


@contextmanager
def served(slow: Slow, **limits: Any) -> Iterator[str]:
    with app_of(slow, **limits) as app, live(app) as port:
        yield f"http://127.0.0.1:{port}"


def ask(address: str, content: bytes) -> httpx2.Response:
    with httpx2.Client(trust_env=False, timeout=30) as client:
        return client.post(f"{address}/api/predict", content=content)


def test_fifty_at_once_are_answered_or_told_to_wait() -> None:
    slow = Slow(0.05)
    with served(slow, places=4) as address, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda number: ask(address, b"%d" % number), range(50)))
        told = Counter(answer.status_code for answer in answers)
        assert set(told) == {200, 503}
        assert told[200] >= 4
        for number, answer in enumerate(answers):
            if answer.status_code == 200:
                assert answer.json() == {"came": str(number)}, "each gets its own answer"
            else:
                assert answer.headers["retry-after"] == "1"
                assert answer.json()["error"].startswith("Too many pictures wait already")
        assert ask(address, b"after").json() == {"came": "after"}, "every place is free again"
    assert slow.most == 1
    assert slow.answered == told[200] + 1


def test_fifty_who_wait_and_ask_again_all_get_the_models_answer(
    finished_run: Callable[[str], RunFolder], toy_cache: Path, toy_data: Path
) -> None:
    files = sorted(toy_data.glob("*/*.png"))
    contents = [files[number % len(files)].read_bytes() for number in range(50)]

    def patient(address: str, content: bytes) -> dict[str, Any]:
        for _ in range(200):
            answer = ask(address, content)
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code == 503
            time.sleep(0.05)
        raise AssertionError("never answered")

    with app_of(open_run(finished_run("supervised"), toy_cache)) as app, live(app) as port, ThreadPoolExecutor(50) as pool:
        address = f"http://127.0.0.1:{port}"
        answers = list(pool.map(lambda content: patient(address, content), contents))
        alone = [ask(address, content).json() for content in contents[:3]]
    assert answers[:3] == alone
    assert all(len(answer["classes"]) == 3 for answer in answers)


def test_what_takes_too_long_is_given_up_and_its_place_comes_back() -> None:
    slow = Slow(0.6)
    with served(slow, places=2, seconds=0.2) as address:
        answer = ask(address, b"a")
        assert answer.status_code == 504
        assert answer.json()["error"] == "This took longer than 0.2 seconds and was given up: try again."
        slow.seconds = 0
        time.sleep(0.7)
        assert [ask(address, b"b").status_code for _ in range(3)] == [200] * 3


def _raw(port: int, head: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head_bytes, _, content = received.partition(b"\r\n\r\n")
    return int(head_bytes.split()[1]), json.loads(content)


def test_a_gigabyte_is_refused_by_its_header_alone() -> None:
    with app_of(Slow(0)) as app, live(app) as port:
        started = time.monotonic()
        status, answer = _raw(port, "POST /api/predict HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 1000000000\n\n")
        assert time.monotonic() - started < 5
    assert status == 413
    assert answer["error"].startswith("This file is too large")


def test_a_body_that_never_ends_is_given_up() -> None:
    with app_of(Slow(0), seconds=0.3) as app, live(app) as port:
        status, _ = _raw(port, "POST /api/predict HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 1000\n\n", b"some")
    assert status == 504


def test_someone_who_leaves_before_the_body_is_whole_frees_the_place() -> None:
    with app_of(Slow(0), places=1) as app, live(app) as port:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nsome")
                time.sleep(0.1)
        time.sleep(0.2)
        assert ask(f"http://127.0.0.1:{port}", b"x").status_code == 200


@pytest.mark.parametrize("length", ["-1", "many", "1, 2"])
def test_an_impossible_length_is_refused(length: str) -> None:
    with app_of(Slow(0)) as app, live(app) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode())
        assert connection.recv(4096).split()[1] == b"400"
