"""`picturebook serve`: bind, open, answer until it is stopped."""

import ipaddress
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from picturebook.errors import InterruptionError, OptionError
from picturebook.interruption import sigterm_raises
from picturebook.types import Reporter

_PLACES = 16
"""Requests that are read, wait or are answered at once."""
_SECONDS = 30.0
"""Time for one request, from its first byte to its answer."""


def serve(run: Path, *, host: str, port: int, max_mb: int, device: str = "auto", cache: Path, reporter: Reporter) -> None:
    """Serve a run's page until Ctrl-C or SIGTERM.

    Args:
        run: a finished run, or a student folder.
        host: address or name to listen at; others than loopback open it to the network, which is warned of.
        port: 0 for any that is free.
        device: where models compute.
        max_mb: size of a picture's file that is read at most, in megabytes.
        cache: folder of canvases, features and text vectors.
        reporter: where it tells how it goes.

    Raises:
        OptionError: a setting is impossible, the port is taken, or the extra is not installed.
        RunError, ModelError: there is no student, or the run is half written.
    """
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise OptionError(f"`picturebook serve` needs {' and '.join(missing)}: pip install 'picturebook[serve]'.")
    if max_mb <= 0:
        raise OptionError(f"--max-mb: need more than 0, got {max_mb}.")
    import uvicorn

    from picturebook.serve.app import build_app
    from picturebook.serve.opening import open_answers
    from picturebook.serve.waiting import WaitingRoom

    with _bind(host, port) as listener, WaitingRoom(places=_PLACES, seconds=_SECONDS) as room:
        answers = open_answers(run, device=device, cache=cache, reporter=reporter)
        address, number = listener.getsockname()[:2]
        if not ipaddress.ip_address(address).is_loopback:
            reporter.say(
                f"Warning: --host {host} lets everyone who can reach this machine ask this model, without password or "
                "encryption. Leave --host out to keep it to yourself."
            )
        app = build_app(answers, room, max_bytes=max_mb * 1_000_000, names={"localhost", host.lower()})
        shown = f"[{host}]" if ":" in host else host
        reporter.say(f"{run} answers at http://{shown}:{number}/ until Ctrl-C.")
        # No access log: an address may hold typed words.
        settings = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
        # It returns without KeyboardInterrupt where this process ignores SIGINT, as what a shell starts with & does.
        with suppress(KeyboardInterrupt, InterruptionError), sigterm_raises():
            uvicorn.Server(settings).run(sockets=[listener])  # ends what is being answered, then passes the signal on
        reporter.say("Stopped.")


def _bind(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise OptionError(f"--port: need 0 (any that is free) to 65535, got {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise OptionError(f"--host: {host!r} is no address or name of this machine: leave it out for 127.0.0.1.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that was just stopped may start again
        listener.bind(address)
        listener.listen(128)  # not only when the model is open: a second server must find the port taken
    except OSError as error:
        listener.close()
        raise OptionError(
            f"Port {port} of {host} cannot be had ({error.strerror or error}): another program may have it. "
            f"Take another one with --port {port + 1 if port < 65535 else 8000}, or --port 0 for any that is free."
        ) from None
    return listener
