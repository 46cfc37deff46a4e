import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from loopback import KEY, Loopback, answer, running_loopback

from picturebook.describe.answers import BadAnswerError
from picturebook.describe.endpoint import MAX_WAIT, Endpoint, NoAnswerError, Server, Waiting
from picturebook.errors import ModelError, OptionError

Ask = Callable[..., str]


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with running_loopback() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def ask(loopback: Loopback, slept: list[float]) -> Ask:
    def complete(key: str = KEY, *, timeout: float = 5.0, **settings: Any) -> str:
        server = Server.find(loopback.url, {"OPENAI_API_KEY": key})
        waiting = Waiting(sleep=slept.append, jitter=lambda: 0.5)
        with Endpoint(server, "tiny", timeout=timeout, waiting=waiting, **settings) as endpoint:
            return endpoint.complete("What?", attempt=0)

    return complete


def test_a_request_holds_what_is_needed_and_no_more(ask: Ask, loopback: Loopback) -> None:
    loopback.script = [answer("hello")]
    assert ask() == "hello"
    assert ask("", max_tokens=5, temperature=0.0) == "hello"
    message = {"model": "tiny", "messages": [{"role": "user", "content": "What?"}]}
    assert loopback.requests == [message, {**message, "max_tokens": 5, "temperature": 0.0}]
    assert loopback.paths == ["/v1/chat/completions"] * 2
    assert [headers.get("Authorization") for headers in loopback.headers] == [f"Bearer {KEY}", None]


def test_a_content_in_parts_is_joined(ask: Ask, loopback: Loopback) -> None:
    loopback.script = [answer([{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}])]
    assert ask() == "hello"


def test_a_busy_server_is_asked_again_after_a_growing_wait(ask: Ask, loopback: Loopback, slept: list[float]) -> None:
    loopback.script = [(500, {}, b"oh"), (503, {}, b""), loopback.hang_up, answer("hello")]
    assert ask() == "hello"
    assert slept == [0.75, 1.5, 3.0]


def test_the_wait_that_a_server_asks_for_is_kept_within_bounds(ask: Ask, loopback: Loopback, slept: list[float]) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    waits = ["7", "999999", soon, "-5 o'clock"]
    loopback.script = [*((429, {"Retry-After": wait}, b"") for wait in waits), answer("hello")]
    assert ask() == "hello"
    assert slept[:2] == [7.0, MAX_WAIT]
    assert 25 < slept[2] <= 30
    assert slept[3] == 6.0, "what cannot be read is as if it were not there"


def test_a_server_that_stays_down_is_given_up(ask: Ask, loopback: Loopback, slept: list[float]) -> None:
    loopback.script = [(502, {}, b"")]
    with pytest.raises(NoAnswerError, match="answered 502, 5 times"):
        ask()
    assert len(loopback.requests) == 5
    assert len(slept) == 4


def test_a_closed_port_is_no_connection(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server.find("http://127.0.0.1:9/v1", {})
    with (
        Endpoint(server, "tiny", timeout=1.0, waiting=Waiting(sleep=slept.append)) as endpoint,
        pytest.raises(NoAnswerError, match="no connection"),
    ):
        endpoint.complete("What?", attempt=0)


@pytest.mark.parametrize("way", ["stall", "drip"])
def test_a_server_that_stalls_or_drips_is_left(ask: Ask, loopback: Loopback, way: str) -> None:
    loopback.script = [getattr(loopback, way), answer("hello")]
    start = time.monotonic()
    assert ask(timeout=0.2) == "hello"
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html><body>Welcome</body></html>", "no JSON: '<html>"),
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[]", "a list"),
        (b'{"error": {"message": "no"}}', "it has error"),
        (b'{"choices": []}', "it has choices"),
        (b'{"choices": [{"text": "old"}]}', "it has choices"),
        (b'{"choices": [{"message": "hello"}]}', "it has choices"),
        (answer(None), "empty"),
        (answer({"a": 1}), "empty"),
        (answer("half a li", finish_reason="length"), "raise --max-tokens"),
        (answer("", finish_reason="content_filter"), "refuses"),
        (b'{"choices": [{"message": {"content": null, "refusal": "I will not."}}]}', "refuses: 'I will not.'"),
        (b" " * 10_000_000, "more than 2 MiB"),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "cannot be unpacked"),
        ((400, {}, b'{"error": {"message": "prompt too long"}}'), "answered 400: .*prompt too long"),
    ],
)
def test_a_server_that_lies_is_a_bad_answer_at_once(ask: Ask, loopback: Loopback, body: Any, why: str) -> None:
    loopback.script = [body]
    with pytest.raises(BadAnswerError, match=why):
        ask()
    assert len(loopback.requests) == 1


@pytest.mark.parametrize(
    ("status", "headers", "why"),
    [
        (401, {}, "does not take the key. Set PICTUREBOOK_API_KEY or OPENAI_API_KEY"),
        (403, {}, "does not take the key"),
        (404, {}, "Check the URL .* and the model's name, 'tiny'"),
        (302, {"Location": "http://127.0.0.1:1/steal"}, "a redirect, which is not followed"),
    ],
)
def test_what_no_other_prompt_would_mend_ends_it(
    ask: Ask, loopback: Loopback, status: int, headers: dict[str, str], why: str
) -> None:
    loopback.script = [(status, headers, f"key {KEY} is wrong".encode())]
    with pytest.raises(ModelError, match=why) as caught:
        ask()
    assert KEY not in str(caught.value)
    assert len(loopback.requests) == 1


def test_a_key_that_is_sent_back_is_cut_out(ask: Ask, loopback: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hidden = "\u200b".join(KEY)
    loopback.script = [answer(f"your key is {KEY}, that is {hidden}")]
    assert ask() == "your key is [key], that is [key]"
    for body in (KEY.encode(), json.dumps({KEY: 1}).encode(), (400, {}, KEY.encode()), (200, {}, hidden.encode())):
        loopback.script = [body]
        with pytest.raises(BadAnswerError) as caught:
            ask()
        assert KEY not in str(caught.value)
    assert KEY not in caplog.text
    assert KEY not in repr(Server.find(loopback.url, {"OPENAI_API_KEY": KEY}))


def test_an_error_of_the_library_that_quotes_its_headers_is_told_without_the_key(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise httpx2.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'")

    monkeypatch.setattr(httpx2.Client, "stream", refuse)
    with pytest.raises(NoAnswerError, match=r"no connection \(Illegal header value b'Bearer \[key\]'\)") as caught:
        ask()
    error: BaseException | None = caught.value
    while error is not None:
        assert error.__suppress_context__ or error.__context__ is None or KEY not in str(error.__context__)
        assert KEY not in str(error)
        error = error.__cause__


def test_urls_end_at_chat_completions_and_are_shown_without_their_query() -> None:
    for url in ("https://host/v1", "https://host/v1/", "https://host/v1/chat/completions", " https://host/v1#x"):
        assert Server.find(url, {}).url == "https://host/v1/chat/completions"
    server = Server.find("https://host/v1?api-version=2", {})
    assert server.url == "https://host/v1/chat/completions?api-version=2"
    assert server.address == "https://host/v1/chat/completions"


def test_our_key_wins_and_an_empty_one_is_none() -> None:
    both = {"OPENAI_API_KEY": "theirs", "PICTUREBOOK_API_KEY": " ours\n"}
    assert Server.find("https://host/v1", both).key == "ours"
    assert Server.find("https://host/v1", {**both, "PICTUREBOOK_API_KEY": ""}).key == ""
    assert Server.find("http://far.example/v1", {**both, "PICTUREBOOK_API_KEY": ""}).key == ""


@pytest.mark.parametrize(
    ("url", "key", "why"),
    [
        ("host/v1", "", "expected a URL"),
        ("ftp://host/v1", "", "expected a URL"),
        ("http://", "", "expected a URL"),
        ("https://host:port/v1", "", "expected a URL"),
        (f"https://me:{KEY}@host/v1", "", "leave name and password out"),
        ("http://far.example/v1", KEY, "unencrypted to far.example"),
        ("https://host/v1", "two\nlines", "characters that no key has"),
        ("https://host/v1", "schlüssel", "characters that no key has"),
    ],
)
def test_urls_and_keys_that_cannot_be_are_refused_without_being_shown(url: str, key: str, why: str) -> None:
    with pytest.raises(OptionError, match=why) as caught:
        Server.find(url, {"OPENAI_API_KEY": key})
    assert KEY not in str(caught.value)
    assert not key or key not in str(caught.value)
