"""SIGTERM: a machine is taken away. What is done is kept, and the process ends with a code that says "go on later"."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from picturebook.errors import InterruptionError

_SENTENCE = "Stopped by SIGTERM. What was done is kept: the same command with --resume goes on from there."


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM raises `InterruptionError` where the program stands, as Ctrl-C does.

    Raises:
        InterruptionError: SIGTERM came.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise InterruptionError(_SENTENCE)

    with _handled_by(stop):
        yield


@contextmanager
def sigterm_noted() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM is noted, and the function that is given says whether it came; after the block it counts.

    Raises:
        InterruptionError: at the end of the block, if SIGTERM came.
    """
    came = threading.Event()
    with _handled_by(lambda number, frame: came.set()):
        yield came.is_set
    if came.is_set():
        raise InterruptionError(_SENTENCE)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
