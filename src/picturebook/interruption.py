"""SIGTERM: a machine is taken away, or somebody has seen enough. The process ends with a code that says whether it can go on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from picturebook.errors import AbandonedError, InterruptionError

_GO_ON = "Stopped by SIGTERM. What was done is kept: the same command goes on from there, `train` with --resume."
_BEGIN_ANEW = "Stopped by SIGTERM. Nothing half written was left: the same command begins anew."


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM raises `InterruptionError` where the program stands, as Ctrl-C does.

    Raises:
        InterruptionError: SIGTERM came; at the end of the block, where it came at a place from which nothing can be raised.
    """
    with _raising(InterruptionError(_GO_ON)):
        yield


@contextmanager
def sigterm_abandons() -> Iterator[None]:
    """As `sigterm_raises`, for work that is whole or not there at all.

    Raises:
        AbandonedError: SIGTERM came.
    """
    with _raising(AbandonedError(_BEGIN_ANEW)):
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
        raise InterruptionError(_GO_ON)


@contextmanager
def _raising(error: InterruptionError) -> Iterator[None]:
    came = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        came.set()
        raise error

    with _handled_by(stop):
        yield
    if came.is_set():  # Python drops what is raised within a destructor
        raise error


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
