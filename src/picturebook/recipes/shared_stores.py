"""Stores that several runs need: one makes them, the others wait and find them there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from accelerate import Accelerator

from picturebook.engine import is_there
from picturebook.stores.packed import locked


@contextmanager
def lacking(accelerator: Accelerator, folder: Path, look: Callable[[], bool]) -> Iterator[bool]:
    """Whether a store is to be made; while it is made in the block, runs that need the same one wait.

    Args:
        accelerator: of the run, all of whose processes come here.
        folder: the store's.
        look: whether it is there; asked by the first process alone.
    """
    if is_there(accelerator, look):  # a whole one is read without a lock, from a disk that cannot be written too
        yield False
        return
    # The run's other processes need no lock: they wait for the first.
    with locked(folder) if accelerator.is_main_process else nullcontext():
        yield not is_there(accelerator, look)
