"""Power cuts: an error that is none of ours, raised while a stage is under way."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from picturebook.types import Progress, Silence


class PowerCutError(Exception):
    """Not one of ours."""


class Interrupting(Silence):
    """Raises at the n-th call of one stage's progress."""

    def __init__(self, stage: str, calls: int) -> None:
        self._stage, self._calls = stage, calls

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        return self._watched() if name == self._stage else super().stage(name)

    @contextmanager
    def _watched(self) -> Iterator[Progress]:
        def progress(done: int, total: int) -> None:
            self._calls -= 1
            if self._calls == 0:
                raise PowerCutError

        yield progress
