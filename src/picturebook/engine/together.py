"""One store, written by all processes of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list


class SharedWriter(Protocol):
    """What is needed of a store that is being filled."""

    def take(self, share: tuple[int, int]) -> None: ...

    def finish(self) -> None: ...


Writer = TypeVar("Writer", bound=SharedWriter)


def is_there(accelerator: Accelerator, look: Callable[[], bool]) -> bool:
    """Whether a store is there, by what the first process sees: looking removes what is broken, and all must do the same."""
    found = [look() if accelerator.is_main_process else False]
    broadcast_object_list(found)
    return found[0]


@contextmanager
def written_together(accelerator: Accelerator, start: Callable[[], Writer]) -> Iterator[Writer]:
    """A writer of this process's share: the first process begins the store, all fill it in the block, the first closes it.

    Args:
        accelerator: of the run.
        start: begins the store, or joins one that was begun for the same.

    Raises:
        StoreError: another process, which is none of the run's, writes the same part.
    """
    share = (accelerator.process_index, accelerator.num_processes)
    if accelerator.is_main_process:
        writer = start()
        writer.take(share)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        writer = start()
        writer.take(share)
    yield writer
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        writer.finish()
    accelerator.wait_for_everyone()
