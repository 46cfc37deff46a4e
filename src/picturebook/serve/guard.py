"""What every request passes: who may ask, how much is read, and what the browser may do with the answer."""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from picturebook.serve.refusals import too_large

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(:\d+)?", re.IGNORECASE)


class Guard:
    """Refuses requests by a name that is not this server's, and requests that another page makes.

    A page of another site can point its own name at 127.0.0.1 and ask from the visitor's browser (DNS rebinding); the Host
    header then carries that name. An address is nobody's name, so addresses pass.

    Args:
        app: what is guarded.
        names: lower-case host names that are this server's.
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str]) -> None:
        self._app, self._names = app, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        if not self._is_ours(headers.getlist("host")):
            refused = "This server does not go by that name: open it at the address that it was started with."
            await JSONResponse({"error": refused}, status_code=421)(scope, receive, send_with_headers)
        elif not _is_own_page(headers):
            refused = "Only this server's own page, and programs that are no page, may ask here."
            await JSONResponse({"error": refused}, status_code=403)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _is_ours(self, hosts: list[str]) -> bool:
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None:
            return False
        name = found["name"].strip("[]").lower().removesuffix(".")
        return name in self._names or is_address(name)


def is_address(name: str) -> bool:
    """Whether a host is written as an IP address."""
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def _is_own_page(headers: Headers) -> bool:
    """Browsers say where a page's request comes from; programs need not."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers["host"].lower()


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read a body that may not be larger than `max_bytes`.

    Raises:
        Refusal: it is larger (413); nothing is read where its header says so, else no more than the limit is kept.
    """
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > max_bytes:
            raise too_large(max_bytes)
        body += chunk
    return bytes(body)


async def discard_body(request: Request, max_bytes: int, *, seconds: float) -> None:
    """Take in a body of acceptable size without keeping it, so that a browser that still sends gets to read its answer."""
    if int(request.headers.get("content-length", 0)) > max_bytes:
        return
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    return
