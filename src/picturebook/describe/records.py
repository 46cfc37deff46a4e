"""A JSONL file of answers, one line an item, that survives whatever stops the program.

A line is written whole or, after a crash, cut and asked for again. A line with a `problem` holds no text; it is there to be
read, and dropped at the next start, when its item is asked for again.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from picturebook.data.findings import first_names, quantity
from picturebook.errors import StoreError
from picturebook.writing import write_atomically


class Records:
    """The lines of one task, kept by `key`, the field that names the item. Use it in a `with` block, which locks the file.

    Args:
        path: the file; made where it is not there.
        key: "file_name" or "class".
        settings: what every line must say of how it was made; they are put into each new line.

    Raises:
        StoreError: the file is another's (the field that differs is named), is no such file, or another process writes it.
    """

    def __init__(self, path: Path, *, key: str, settings: Mapping[str, Any]) -> None:
        self._path, self._key, self._settings = path, key, dict(settings)
        self._file: BinaryIO | None = None
        self.lines: dict[str, dict[str, Any]] = {}
        self._read()

    def check(self, name: str, value: Any) -> None:
        """Refuse lines that were made with another value of one setting; new lines get it.

        Raises:
            StoreError: a line has another.
        """
        for item, line in self.lines.items():
            if line.get(name) != value:
                raise StoreError(
                    f"{self._path} was written with another {name}: {line.get(name)!r} for {item}, now {value!r}. "
                    "Give the former setting, or another --out."
                )
        self._settings[name] = value

    def __enter__(self) -> "Records":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock()
            # Read again: another process may have written since, and has ended, for the lock is ours.
            if (kept := self._read()) != self._path.read_bytes():
                write_atomically(self._path, kept)
                self._close()
                self._lock()
        except OSError as error:
            self._close()
            raise StoreError(f"{self._path} cannot be written ({error.strerror}): name another --out.") from None
        except StoreError:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.lines and not self._path.stat().st_size:
            self._path.unlink()  # nothing came of it
        self._close()

    def missing(self, items: Iterable[str]) -> list[str]:
        """Items without a text, in their order."""
        return [item for item in items if item not in self.lines]

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write lines, each with the settings and the time, and wait until they are on the disk."""
        assert self._file is not None, "append outside of the with block"
        time = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [{**record, **self._settings, "time": time} for record in records]
        self._file.write(b"".join(map(_encode, lines)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.lines |= {line[self._key]: line for line in lines if not line.get("problem")}

    def _read(self) -> bytes:
        """Take the lines from the disk; what of the file is kept."""
        kept, self.lines = read_lines(self._path, key=self._key)
        for name, value in self._settings.items():
            self.check(name, value)
        return kept

    def _lock(self) -> None:
        self._file = self._path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise StoreError(f"{self._path} is being written by another process: wait for it, or name another --out.") from None

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_lines(path: Path, *, key: str) -> tuple[bytes, dict[str, dict[str, Any]]]:
    """Read what is whole: the bytes that are kept, and the lines with texts by item.

    A last line that was cut is left out, and so are lines with a problem. A file that is not there has no lines.

    Raises:
        StoreError: it cannot be read, or a line is none of ours.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): name another --out.") from None
    kept, lines = b"", {}
    for number, raw in enumerate(content.split(b"\n"), start=1):
        record = _decode(raw, key)
        if record is None:
            if raw.strip() and number <= content.count(b"\n"):
                raise StoreError(
                    f'{path}, line {number}, is no line of this command: expected an object with a "{key}", got {raw[:40]!r}. '
                    "Mend it, or name another --out."
                )
            continue
        if not record.get("problem"):
            kept += raw + b"\n"
            lines[record[key]] = record
    return kept, lines


def strangers(records: Records, items: Iterable[str]) -> str:
    """A remark on lines whose item the data do not have; "" where there are none."""
    unknown = sorted(records.lines.keys() - set(items))
    return (
        f"{quantity(len(unknown), 'line')} of the file are of items that the data lack ({first_names(unknown)})."
        if unknown
        else ""
    )


def _decode(raw: bytes, key: str) -> dict[str, Any] | None:
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get(key), str) else None


def _encode(record: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a file name that is no UTF-8 on disk
        return json.dumps(record).encode() + b"\n"
