"""The index of a shard, kept in the cache: CACHE/shards/<key>.json, made once a shard and set of column names.

It saves reading a header a picture at each start, and no more: where it is missing, broken or cannot be written, the shard is
read anew.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from picturebook.data.rows import ColumnOptions
from picturebook.data.shards.gathering import Shard
from picturebook.errors import RunError
from picturebook.writing import write_atomically

_FORMAT = 1
"""Goes into the key: another way to read a shard is another index."""

Index = tuple[Shard, Int64[np.ndarray, "rows 2"]]
"""What a shard says, and offset and size of each picture in it."""


def kept_index(path: Path, columns: ColumnOptions, *, cache: Path | None, read: Callable[[], Index]) -> Index:
    """The index that was kept for the shard as it is now, else what `read` gives, which is kept.

    Args:
        path: of the shard; its size and time of change are part of the key.
        columns: what columns are called.
        cache: the folder of the cache; None keeps nothing.
        read: reads the shard's index.
    """
    if cache is None or not path.is_file():
        return read()
    file = cache / "shards" / f"{_key(path, columns)}.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        places = np.array(kept.pop("places"), dtype=np.int64).reshape(-1, 2)
        skipped = [(str(why), str(name)) for why, name in kept.pop("skipped")]
        shard = Shard(columns=tuple(kept.pop("columns")), skipped=skipped, **kept)
        if len(places) == len(shard.keys) and all(len(values) == len(places) for values in shard.values.values()):
            return shard, places
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    shard, places = read()
    with suppress(RunError):
        write_atomically(file, json.dumps(asdict(shard) | {"places": places.tolist()}).encode())
    return shard, places


def _key(path: Path, columns: ColumnOptions) -> str:
    status = path.stat()
    parts = (_FORMAT, path.resolve(), path.name, status.st_size, status.st_mtime_ns, columns.model_dump_json())
    return hashlib.blake2b("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
