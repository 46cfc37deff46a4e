"""Parquet shards, indexed by their row groups: columns of words are read at once, pictures where and when they are decoded."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from picturebook.data.images import Broken, picture_bytes
from picturebook.data.metadata import PARQUET_ERRORS, as_text
from picturebook.data.rows import ColumnOptions, Rows, no_column
from picturebook.data.shards.files import ShardFiles
from picturebook.data.shards.gathering import ROLES, Shard, gather
from picturebook.errors import DataError

_ROWS_OF_WORDS = 4096
_ROWS_OF_PICTURES = 32
"""That are held at a time."""


def read_parquet_shards(files: ShardFiles, columns: ColumnOptions) -> Rows:
    """Read the columns of words of parquet shards. A row's key is its number in its shard.

    Raises:
        DataError: a shard cannot be read, or lacks the pictures or a column that another shard has.
    """
    opened = [_Opened(path) for path in files.paths]
    shards = [_shard(one, name, columns) for one, name in zip(opened, files.names, strict=True)]
    rows = [(path, one.group_sizes) for path, one in zip(files.paths, opened, strict=True)]
    return gather(shards, files, columns, read=_ParquetPictures(files.folder, rows, columns.image), findings=())


class _Opened:
    """A parquet file's columns and row groups."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq
        from datasets import Features

        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self.schema = file.schema_arrow
                groups = range(file.metadata.num_row_groups)
                self.group_sizes = [file.metadata.row_group(group).num_rows for group in groups]
            self.features: dict[str, Any] = dict(Features.from_arrow_schema(self.schema))
        except PARQUET_ERRORS as error:
            raise _unreadable(path, error) from None

    def texts(self, column: str) -> Iterator[str]:
        """A column as text; class numbers become class names."""
        import pyarrow.parquet as pq
        from datasets import ClassLabel

        feature = self.features[column]
        names = feature.names if isinstance(feature, ClassLabel) else None
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_ROWS_OF_WORDS, columns=[column], use_threads=False):
                    for value in batch.column(0).to_pylist():
                        # -1 is the hub's way to leave a label out.
                        yield as_text(value) if names is None else "" if value is None or value < 0 else names[value]
        except (*PARQUET_ERRORS, IndexError) as error:
            raise _unreadable(self.path, error, f"column {column!r}: ") from None


def _unreadable(path: Path, error: Exception, part: str = "") -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path} cannot be read as parquet: {part}{reason}. Fetch it again, or remove it.")


def _shard(opened: _Opened, name: str, columns: ColumnOptions) -> Shard:
    present = tuple(opened.schema.names)
    num = sum(opened.group_sizes)
    if num == 0:
        return Shard(name, present)
    if columns.image not in present:
        raise DataError(f"{no_column(columns.image, present, str(opened.path))} Set data.columns.image.")
    _refuse_no_pictures(opened, columns.image)
    roles = {role: str(getattr(columns, role)) for role in ROLES}
    values = {role: _words(opened.texts(column)) for role, column in roles.items() if column in present}
    return Shard(name, present, [str(row) for row in range(num)], values)


def _words(texts: Iterator[str]) -> list[str]:
    known: dict[str, str] = {}  # so that a label that comes a million times is one text
    return [known.setdefault(text, text) for text in texts]


def _refuse_no_pictures(opened: _Opened, column: str) -> None:
    import pyarrow as pa

    kind = opened.schema.field(column).type
    fields = {field.name for field in kind} if pa.types.is_struct(kind) else set()
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string)  # a string is a path
    if "bytes" not in fields and not any(test(kind) for test in tests):
        raise DataError(
            f"The column {column!r} of {opened.path} holds no pictures: expected bytes, got {kind}. Set data.columns.image."
        )


class _ParquetPictures:
    """Bytes of the picture at a row.

    Decoding asks for rows one after the other, from several threads: a row group is gone through a few rows at a time, and the
    last ones are kept, so that memory does not grow with the row group.
    """

    def __init__(self, folder: Path, rows: Sequence[tuple[Path, list[int]]], column: str) -> None:
        self._arguments = (folder, rows, column)
        self._folder, self._column = folder, column
        self._groups = [(path, group) for path, sizes in rows for group in range(len(sizes))]
        self._ends = list(accumulate(size for _, sizes in rows for size in sizes))
        self._lock = Lock()
        self._group = -1
        self._batches: Iterator[list[Any]] = iter(())
        self._kept: dict[int, Any] = {}
        self._next = 0
        self._broken: dict[int, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _ParquetPictures, self._arguments

    def __call__(self, row: int) -> bytes:
        with self._lock:
            value = self._value(row)
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None and isinstance(value, dict):
            data = value.get("path")
        return self._file(data) if isinstance(data, str) else data or b""

    def _value(self, row: int) -> Any:
        group = bisect_right(self._ends, row)
        if row not in self._kept:
            if row >= self._broken.get(group, row + 1):
                raise Broken("a damaged row group")
            if group != self._group or row < self._next:
                self._start(group)
            while self._next <= row:
                self._advance(group)
        return self._kept[row]

    def _start(self, group: int) -> None:
        import pyarrow.parquet as pq

        path, number = self._groups[group]
        self._group, self._kept = group, {}
        self._next = self._ends[group - 1] if group else 0

        def batches() -> Iterator[list[Any]]:
            with pq.ParquetFile(path, buffer_size=2**20) as file:
                options = {"row_groups": [number], "columns": [self._column], "use_threads": False}
                for batch in file.iter_batches(_ROWS_OF_PICTURES, **options):
                    yield batch.column(0).to_pylist()

        self._batches = batches()

    def _advance(self, group: int) -> None:
        try:
            batch = next(self._batches, None)
        except PARQUET_ERRORS:
            batch = None
        if batch is None:  # damaged, or shorter than the file's index says
            self._broken[group] = self._next
            self._group = -1
            raise Broken("a damaged row group")
        # Threads are at most as many rows behind as there are threads.
        least = self._next - 4 * _ROWS_OF_PICTURES
        self._kept = {row: value for row, value in self._kept.items() if row >= least}
        self._kept |= dict(enumerate(batch, start=self._next))
        self._next += len(batch)

    def _file(self, name: str) -> bytes:
        path = self._folder / name
        try:
            if not path.resolve().is_relative_to(self._folder.resolve()):
                raise Broken("a path that leads out of the shards' folder")
            return picture_bytes(path)
        except (OSError, ValueError) as error:  # a zero byte is a ValueError
            raise Broken(f"a file that cannot be read ({getattr(error, 'strerror', None) or error})") from error
