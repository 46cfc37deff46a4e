"""One worker, and a bounded number of requests that wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from types import TracebackType
from typing import TypeVar

from picturebook.serve.refusals import NOTHING_MORE, Refusal

Answer = TypeVar("Answer")


class Busy(Exception):  # noqa: N818 - a state that the caller answers, not an error of the program
    """Every place is taken."""


class WaitingRoom:
    """Places for requests; a place is held from before the body is read until the worker is done with it.

    So no more than `places` bodies are ever in memory, and the model answers one picture at a time.

    Args:
        places: requests that may be read, wait or be answered at once, at least 1.
        seconds: time for all of it, from the first byte to the answer.
    """

    def __init__(self, *, places: int, seconds: float) -> None:
        self.seconds = seconds
        self._places = BoundedSemaphore(places)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="picturebook-serve")

    def __enter__(self) -> "WaitingRoom":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def answer(self, read: Callable[[], Awaitable[bytes]], work: Callable[[bytes], Answer]) -> Answer:
        """Read a body and let the worker answer it.

        Raises:
            Busy: no place is free; nothing was read.
            Refusal: it took longer than it may (504), or `read` or `work` refuse.
        """
        if not self._places.acquire(blocking=False):
            raise Busy
        job: Future[Answer] | None = None
        try:
            async with asyncio.timeout(self.seconds):
                job = self._worker.submit(work, await read())
                return await asyncio.wrap_future(job)
        except TimeoutError:
            given_up = f"This took longer than {self.seconds:g} seconds and was given up: try again."
            raise Refusal(504, given_up, NOTHING_MORE) from None
        finally:
            if job is None:
                self._places.release()
            else:  # a job that has begun cannot be stopped, and keeps its place until it ends
                job.add_done_callback(lambda _: self._places.release())
