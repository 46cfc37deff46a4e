"""Any server that speaks OpenAI's /chat/completions, asked with patience and trusted in nothing.

The key comes from the environment, goes into one header of requests to the given host, and is cut out of whatever the
server sends back, so that it cannot reach a file or the terminal.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any

import httpx2

from picturebook.describe.answers import BadAnswerError, excerpt, without_marks
from picturebook.errors import ModelError, OptionError

URL_VARIABLES = ("PICTUREBOOK_ENDPOINT", "OPENAI_BASE_URL")
KEY_VARIABLES = ("PICTUREBOOK_API_KEY", "OPENAI_API_KEY")
MAX_RESPONSE_BYTES = 2 * 2**20
MAX_WAIT = 120.0
"""Seconds that are waited before another try at most, whatever the server asks for."""

_NUM_TRIES = 5
_FIRST_WAIT = 1.0
_SHORTEST_SECRET = 6  # a local server's stand-in, "x" or "none", is no secret, and a word of the answer


class NoAnswerError(Exception):
    """The endpoint gave no answer in all tries; the message says why, for a person."""


class _TryAgain(Exception):  # noqa: N818 - a signal, not an error
    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Waiting:
    """How time passes between two tries; tests put their own in."""

    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.SystemRandom().random
    """In [0, 1)."""

    def before(self, num_failed: int, asked: float | None) -> None:
        """Wait 1, 2, 4, … seconds, less up to a half by chance, or as long as the server asked, and never over MAX_WAIT."""
        wait = _FIRST_WAIT * 2 ** (num_failed - 1) * (1 - self.jitter() / 2) if asked is None else asked
        self.sleep(min(max(wait, 0.0), MAX_WAIT))


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask, checked."""

    url: str = field(repr=False)
    """Of /chat/completions, with its query."""
    key: str = field(repr=False)
    """"" sends none."""

    @property
    def address(self) -> str:
        """The URL without its query, for files and messages."""
        return self.url.partition("?")[0]

    @classmethod
    def find(cls, url: str, environment: Mapping[str, str]) -> "Server":
        """Check a URL, and take the key from the environment: PICTUREBOOK_API_KEY, set but empty for none, or OPENAI_API_KEY.

        Raises:
            OptionError: it is no URL of a server, holds a password, or would carry the key unencrypted over a network.
        """
        key = next((environment[name].strip() for name in KEY_VARIABLES if name in environment), "")
        if not key.isascii() or not key.isprintable():
            raise OptionError(f"The key in {' or '.join(KEY_VARIABLES)} holds characters that no key has: set it again.")
        try:
            parsed = httpx2.URL(url.strip())
        except httpx2.InvalidURL:
            parsed = httpx2.URL("")
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise OptionError("--endpoint: expected a URL such as https://host/v1, and this is none.")
        if parsed.userinfo:
            raise OptionError(f"--endpoint: leave name and password out of the URL; a key goes into {KEY_VARIABLES[0]}.")
        if key and parsed.scheme == "http" and not _is_this_machine(parsed.host):
            raise OptionError(
                f"--endpoint: http would send your key unencrypted to {parsed.host}. Use https, or send no key: "
                f"set {KEY_VARIABLES[0]} to the empty text."
            )
        path = parsed.path.rstrip("/")
        path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
        return cls(str(parsed.copy_with(path=path, fragment=None)), key)


class Endpoint:
    """A model behind a server. Use it in a `with` block.

    Args:
        server: where to ask.
        model: the server's name for it.
        timeout: seconds that one request may take, from its first byte to its last.
        max_tokens: sent along where it is given.
        temperature: sent along where it is given.
        waiting: how time passes between tries.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        *,
        timeout: float,
        max_tokens: int | None = None,
        temperature: float | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        self._server, self._model, self._timeout = server, model, timeout
        self._waiting = waiting or Waiting()
        self._settings = {"max_tokens": max_tokens, "temperature": temperature}
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {server.key}"} if server.key else {})
        # A redirect would take the key to another host.
        self._client = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=False)

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    @property
    def provenance(self) -> dict[str, str]:
        return {"endpoint": self._server.address}

    def complete(self, prompt: str, *, attempt: int) -> str:
        """Ask once, with tries again where the server is busy, broken or away.

        Args:
            prompt: the user's turn; there is no other.
            attempt: of the same prompt, from 0; a server draws anew by itself.

        Raises:
            NoAnswerError: no answer in all tries.
            BadAnswerError: something came that is no answer.
            ModelError: the server refuses the key, the model or the path: no other prompt would fare better.
        """
        reason = ""
        for num_failed in range(_NUM_TRIES):
            try:
                return self._ask(prompt)
            except BadAnswerError as error:
                raise BadAnswerError(self._without_key(str(error))) from None
            except _TryAgain as error:
                reason = str(error)
                if num_failed + 1 < _NUM_TRIES:
                    self._waiting.before(num_failed + 1, error.wait)
        raise NoAnswerError(f"{self._server.address}: {reason}, {_NUM_TRIES} times")

    def _ask(self, prompt: str) -> str:
        given = {name: value for name, value in self._settings.items() if value is not None}
        body = {"model": self._model, "messages": [{"role": "user", "content": prompt}], **given}
        with self._transport_errors(), self._client.stream("POST", self._server.url, json=body) as response:
            content = self._read(response)
        if response.status_code != 200:
            self._refuse(response, content)
        try:
            return self._without_key(_message(json.loads(self._without_key(_decoded(content)))))
        except (ValueError, RecursionError):
            raise BadAnswerError(f"the endpoint sent no JSON: {excerpt(self._without_key(_decoded(content)))}") from None

    def _read(self, response: httpx2.Response) -> bytes:
        end = time.monotonic() + self._timeout  # the client's own limit is for one read, and a server can drip
        content = b""
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_RESPONSE_BYTES:
                raise BadAnswerError(f"the endpoint sent more than {MAX_RESPONSE_BYTES // 2**20} MiB")
            if time.monotonic() > end:
                raise _TryAgain(f"no whole answer within {self._timeout:g} s")
        return content

    def _refuse(self, response: httpx2.Response, content: bytes) -> None:
        code = response.status_code
        said = excerpt(self._without_key(_decoded(content)), 200)
        if code in {408, 409, 425, 429} or code >= 500:
            raise _TryAgain(f"the endpoint answered {code}", _retry_after(response.headers.get("retry-after")))
        if code in {400, 413, 422}:  # may be about this prompt alone
            raise BadAnswerError(f"the endpoint answered {code}: {said}")
        where = f"{self._server.address} answered {code}"
        if code in {401, 403}:
            raise ModelError(f"{where}: it does not take the key. Set {' or '.join(KEY_VARIABLES)}, or another endpoint. {said}")
        if 300 <= code < 400:
            raise ModelError(
                f"{where}, a redirect, which is not followed since it would take your key along. Give its end as URL."
            )
        raise ModelError(f"{where}. Check the URL (most end in /v1) and the model's name, {self._model!r}. {said}")

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException:
            raise _TryAgain(f"no answer within {self._timeout:g} s") from None
        except httpx2.TransportError as error:
            raise _TryAgain(f"no connection ({self._without_key(str(error)) or type(error).__name__})") from None
        except httpx2.DecodingError:
            raise BadAnswerError("the endpoint sent bytes that cannot be unpacked") from None

    def _without_key(self, text: str) -> str:
        if len(self._server.key) < _SHORTEST_SECRET:
            return text
        return without_marks(text).replace(self._server.key, "[key]")  # marks between its letters would hide it


def _message(answer: Any) -> str:
    """The first choice's text."""
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise BadAnswerError(f"the endpoint sent JSON without choices[0].message: it has {_fields(answer)}") from None
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise BadAnswerError(f"the model refuses: {excerpt(str(message.get('refusal') or content))}")
    if choice.get("finish_reason") == "length":
        raise BadAnswerError("the answer was cut at its greatest length: raise --max-tokens")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise BadAnswerError("the answer is empty")
    return content


def _fields(answer: Any) -> str:
    return (", ".join(sorted(map(str, answer)))[:80] or "nothing") if isinstance(answer, dict) else f"a {type(answer).__name__}"


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date; None where there is none that can be read."""
    if value is None:
        return None
    try:
        return float(value) if value.strip().isdigit() else (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
