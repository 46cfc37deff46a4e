"""What lies in the cache, by which names, and how `picturebook cache` empties it. All of it can be made again."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from picturebook.errors import OptionError, RunError, unknown_name
from picturebook.writing import UNFINISHED

_KINDS = {
    "canvases": "decoded pictures",
    "tokens": "image tokens of frozen encoders",
    "heads": "trained heads of teachers",
    "targets": "teachers' answers that students share",
    "texts": "vectors of words",
    "shards": "where pictures lie in tar files",
    "unfinished": "left by runs that were stopped",
}
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the cache."""

    kind: str
    path: Path
    size: int
    """Bytes on disk."""
    days: float
    """Since it was written last."""

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self) | {"path": str(self.path), "days": round(self.days, 2)}


def cache_folder(asked: str | None = None) -> Path:
    """Where canvases, tokens and text vectors are kept between runs: as asked, else as PICTUREBOOK_CACHE says, else at home."""
    return Path(asked or os.environ.get("PICTUREBOOK_CACHE") or Path.home() / ".cache" / "picturebook")


def list_cache(cache: Path) -> list[Entry]:
    """Everything in the cache, largest first."""
    return sorted((_entry(kind, path) for kind, path in _paths(cache)), key=lambda entry: (-entry.size, entry.path))


def clean_cache(cache: Path, *, kinds: Sequence[str] = (), older_than: float = 0.0) -> list[Entry]:
    """Remove entries, and give those that are gone. What a run is filling just now stays.

    Args:
        cache: the folder.
        kinds: only these; by default all.
        older_than: days since an entry was written last.

    Raises:
        OptionError: an unknown kind.
        RunError: something cannot be removed.
    """
    for kind in kinds:
        if kind not in _KINDS:
            raise OptionError(unknown_name("kind of cache entry", kind, _KINDS))
    chosen = [e for e in list_cache(cache) if (not kinds or e.kind in kinds) and e.days >= older_than]
    return [entry for entry in chosen if _remove(entry.path)]


def describe(kind: str) -> str:
    """What a kind of entry holds."""
    return _KINDS[kind]


def cache_key(fields: Mapping[str, str]) -> str:
    """A folder name for a fingerprint."""
    return short_hash("\n".join(f"{name}={value}" for name, value in sorted(fields.items())))


def short_hash(text: str) -> str:
    """24 hexadecimal digits that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _paths(cache: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(cache.iterdir()) if cache.is_dir() else ():
        if path.suffix == ".partial" or path.name.startswith("unfinished-"):
            yield "unfinished", path
        elif (path / "store.json").is_file():
            yield "canvases", path
    if (cache / "shards").is_dir():
        yield "shards", cache / "shards"  # as one, since there are as many as shards
    for kind in ("tokens", "heads", "targets", "texts"):
        for path in sorted((cache / kind).iterdir()) if (cache / kind).is_dir() else ():
            if path.suffix != ".lock":
                yield "unfinished" if path.suffix in (".partial", UNFINISHED) else kind, path


def _entry(kind: str, path: Path) -> Entry:
    stats = [part.stat() for part in ([path, *path.rglob("*")] if path.is_dir() else [path])]
    size = sum(stat.st_blocks * 512 for stat in stats)  # what sparse files really take
    return Entry(kind, path, size, (time.time() - max(stat.st_mtime for stat in stats)) / _DAY)


def _remove(path: Path) -> bool:
    """Remove an entry unless a process holds its lock."""
    name = path.name.removesuffix(".partial")
    if name.endswith(UNFINISHED):  # .NAME.xyz.unfinished
        name = name.removeprefix(".").split(".")[0]
    lock = path.with_name(name + ".lock")
    try:
        if not lock.is_file():
            _unlink(path)
            return True
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _unlink(path)
    except BlockingIOError:
        return False
    except OSError as error:
        raise RunError(f"{path} cannot be removed ({error.strerror or error}).") from error
    return True


def _unlink(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
