"""Which files a data root names as shards: one file, the shards below a folder, or those that a pattern matches."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from picturebook.data.findings import first_names
from picturebook.data.folders import picture_names
from picturebook.errors import DataError

Kind = Literal["tar", "parquet"]
_PACKED = re.compile(r"\.(tgz|tbz2?|txz|tar\.[a-z0-9]+)$", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """Shards of one kind."""

    folder: Path
    names: tuple[str, ...]
    """Sorted posix paths, relative to the folder."""
    kind: Kind
    source: str
    """The data root, as it was given."""

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.folder / name for name in self.names)


def find_shards(root: str) -> ShardFiles | None:
    """The shards of a data root; None where it is something else: a folder of pictures, a name of the hub, nothing.

    Raises:
        DataError: a pattern that matches no shard, tar beside parquet files, or compressed tar files.
    """
    path = Path(root)
    if path.is_file():
        return _shards(path.parent, [path.name], root) if _kind(path.name) or _PACKED.search(path.name) else None
    if path.is_dir():
        names = _below(path)
        return _shards(path, names, root) if names and not picture_names(path)[0] else None
    if not _MAGIC.search(root):
        return None
    first = next(number for number, part in enumerate(path.parts) if _MAGIC.search(part))
    folder, pattern = Path(*path.parts[:first]), "/".join(path.parts[first:])
    names = _shown(path.relative_to(folder).as_posix() for path in folder.glob(pattern) if path.is_file())
    others = [name for name in names if not _kind(name) and not _PACKED.search(name)]
    if others or not names:
        found = f"also {first_names(others)}" if others else "no file"
        raise DataError(f"data.root: {root} matches {found}; expected .tar or .parquet files. Quote a pattern in a shell.")
    return _shards(folder, names, root)


def _below(folder: Path) -> list[str]:
    """What ends like a shard below a folder; nothing is asked of the disk but names, since there may be a million pictures."""
    found = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names if _kind(name) or _PACKED.search(name))
    return _shown(path.relative_to(folder).as_posix() for path in found)


def _shown(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not re.search(r"(^|/)(\.|metadata\.parquet$)", name))


def _kind(name: str) -> Kind | None:
    kinds: dict[str, Kind] = {".tar": "tar", ".parquet": "parquet"}
    return kinds.get(Path(name).suffix.lower())


def _shards(folder: Path, names: list[str], source: str) -> ShardFiles:
    if packed := [name for name in names if _kind(name) is None]:
        raise DataError(
            f"{folder / packed[0]} is compressed, so no picture in it can be found without unpacking all before it: "
            "unpack it to a plain .tar (pictures are compressed in themselves)."
        )
    kinds: dict[Kind, str] = {}
    for name in names:
        kind = _kind(name)
        assert kind is not None
        kinds.setdefault(kind, name)
    if len(kinds) > 1:
        raise DataError(f"{source} holds shards of two kinds ({first_names(kinds.values())}): name one kind, as shards/*.tar.")
    return ShardFiles(folder, tuple(names), next(iter(kinds)), source)
