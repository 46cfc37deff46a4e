"""One process at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from picturebook.errors import RunError

LOCK = ".lock"
"""The file by which a folder is held, with the process's number. What a killed process left behind holds nothing."""


@contextmanager
def folder_held(folder: Path) -> Iterator[None]:
    """Hold a folder, made where it is not there, against every other process until the block ends.

    Raises:
        RunError: another process holds it, it cannot be written, or at the end of the block it is no longer there.
    """
    handle = _take(folder)
    path = folder / LOCK
    try:
        yield
        if not _is_at(handle, path):
            raise RunError(f"{folder} was removed or exchanged while this process worked in it: begin again.")
    finally:
        with suppress(OSError):  # left behind it holds nothing
            if _is_at(handle, path):
                path.unlink()
        os.close(handle)


def wait_until_free(folder: Path) -> None:
    """Wait while another process holds the folder."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


def _take(folder: Path) -> int:
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(f"{folder} cannot be written ({error.strerror}): name another place, or mend this one.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise RunError(
                f"{folder} is being worked on by another process (number {number}): wait for its end, or take another `out`."
            ) from None
        except OSError as error:
            os.close(handle)
            raise RunError(f"{folder} cannot be locked ({error.strerror}): take an `out` on another file system.") from error
        if _is_at(handle, path):  # its last holder may have removed it meanwhile
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            return handle
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
