"""The records of a store cut into chunks, which several processes share out among themselves.

A chunk is as many records as a teacher answers at a time, and always the same ones: so a record is computed among the same
others whoever computes it, in whatever try, and a store of many processes equals that of one bit for bit (for equal threads).
"""

import fcntl
import os
import weakref
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from picturebook.errors import StoreError

CHUNK = 128
"""Records of a chunk; the last one has what is left."""
Share = tuple[int, int]
"""A process's number and the number of processes."""


def chunks_of(num_records: int, share: Share) -> range:
    """The chunks of a process: a run of them, as many as any other process has, or one more."""
    rank, world = share
    each, more = divmod(-(-num_records // CHUNK), world)
    first = rank * each + min(rank, more)
    return range(first, first + each + (rank < more))


def own_chunks(shape: tuple[int, ...], chunks: range | None) -> Bool[np.ndarray, "views samples"]:
    """Every record of those chunks; of the whole store where there are none."""
    inside = np.zeros(shape, dtype=bool)
    inside.reshape(-1)[slice(None) if chunks is None else slice(chunks.start * CHUNK, chunks.stop * CHUNK)] = True
    return inside


def whole_chunks(gaps: Bool[np.ndarray, "views samples"], chunks: range) -> Bool[np.ndarray, "views samples"]:
    """Every record of those chunks that have a gap. Chunks go through the samples view after view."""
    num = -(-gaps.size // CHUNK)
    padded = np.zeros(num * CHUNK, dtype=bool)
    padded[: gaps.size] = gaps.reshape(-1)
    wanted = np.asarray(padded.reshape(num, CHUNK).any(axis=1))
    wanted[: chunks.start] = False
    wanted[chunks.stop :] = False
    whole: np.ndarray = np.repeat(wanted, CHUNK)[: gaps.size].reshape(gaps.shape)
    return whole


class Claim:
    """A process's hold on some chunks of a store, until the process ends, however it ends."""

    def __init__(self, partial: Path, chunks: range) -> None:
        """Take the chunks.

        Raises:
            StoreError: another process has one of them.
        """
        # A byte stands for a chunk. Such locks reach over network file systems, and are one process's, not one thread's.
        handle = os.open(partial / "claims", os.O_WRONLY | os.O_CREAT, 0o666)
        self.release = weakref.finalize(self, os.close, handle)
        try:
            if chunks:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, len(chunks), chunks.start)
        except BlockingIOError:
            self.release()
            raise StoreError(
                f"{partial}: chunks {chunks.start} to {chunks.stop - 1} are being written by another process: wait for its end, "
                "or give each process a share of its own."
            ) from None


def refuse_claimed(partial: Path) -> None:
    """Raise a StoreError where any process is writing the unfinished store in `partial`."""
    if not (partial / "claims").exists():
        return
    with (partial / "claims").open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{partial} is being written by another process, for something else: wait for its end.") from None
