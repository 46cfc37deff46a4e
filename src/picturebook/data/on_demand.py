"""Canvases of pictures that are too many to be kept decoded: they are decoded each time that they are shown, in threads."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Int64, UInt8

from picturebook.data.images import Broken, decode
from picturebook.data.tables import Table
from picturebook.errors import DataError

Places = int | slice | np.ndarray


class DecodedOnDemand:
    """Looks like an array uint8 [n, S, S, 3] to whoever takes rows of it.

    Pillow decodes outside the interpreter's lock, so threads decode side by side, and beside a training that announces what it
    will show next.

    Args:
        table: the rows.
        rows: [n], those of them that gave a picture.
        side: height and width of a canvas, in pixels.
    """

    def __init__(self, table: Table, rows: Int64[np.ndarray, " pictures"], side: int) -> None:
        self.shape = (len(rows), side, side, 3)
        self._table, self._rows = table, rows
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
        self._expected: dict[int, Future[np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "side side 3"]]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, places: Places) -> UInt8[np.ndarray, "*places side side 3"]:
        """The canvases at some places.

        Raises:
            DataError: a file that gave a picture before gives none now.
        """
        wanted = np.arange(len(self))[places]
        futures = {place: self._begun(place) for place in np.unique(wanted).tolist()}
        found = {place: future.result() for place, future in futures.items()}
        if not wanted.ndim:
            return found[int(wanted)]
        return np.stack([found[place] for place in wanted.tolist()]) if len(wanted) else np.empty((0, *self.shape[1:]), np.uint8)

    def expect(self, places: np.ndarray) -> None:
        """Begin to decode what will be asked for next; what was expected before and never asked for is forgotten."""
        wanted = np.unique(places).tolist()
        for place in self._expected.keys() - set(wanted):
            self._expected.pop(place).cancel()
        for place in wanted:
            if place not in self._expected:
                self._expected[place] = self._pool.submit(self._decode, place)

    def _begun(self, place: int) -> "Future[np.ndarray]":
        return self._expected.pop(place, None) or self._pool.submit(self._decode, place)

    def _decode(self, place: int) -> np.ndarray:
        row = int(self._rows[place])
        try:
            return np.ascontiguousarray(decode(self._table.read(row), self.shape[1]).canvas)
        except Broken as broken:
            raise DataError(
                f"{self._table.names[row]} gave a picture when the data were first read, and gives none now ({broken.kind}): put "
                "the file back, or raise data.canvas_budget_gb so that pictures are kept decoded."
            ) from None
