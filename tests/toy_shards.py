"""Toy pictures in tar and parquet shards."""

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Members = Iterable[tuple[str, bytes]]


def write_tar(path: Path, members: Members, *, form: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar file of (name, content), in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def sample(key: str, picture: bytes, label: str | None = None, **columns: object) -> list[tuple[str, bytes]]:
    """One sample's members: png, cls where there is a label, json where there are columns."""
    members = [(f"{key}.png", picture)]
    if label is not None:
        members.append((f"{key}.cls", label.encode()))
    if columns:
        members.append((f"{key}.json", json.dumps(columns).encode()))
    return members


def _rows(folder: Path) -> list[tuple[bytes, Mapping[str, str]]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [((folder / row["file_name"]).read_bytes(), {"label": row["file_name"].split("/")[0], **row}) for row in rows]


def shard_toy_data(folder: Path, root: Path, *, kind: str, num: int = 3) -> Path:
    """`write_toy_data`'s pictures with their labels, texts and groups in `num` shards of a kind."""
    rows = _rows(folder)
    root.mkdir(parents=True)
    for number in range(num):
        part = rows[number::num]
        if kind == "tar":
            members = [
                member
                for key, (picture, row) in enumerate(part)
                for member in sample(f"{key:04d}", picture, row["label"], text=row["text"], group=row["group"])
            ]
            write_tar(root / f"{number:05d}.tar", members)
        else:
            columns = {name: [row[name] for _, row in part] for name in ("label", "text", "group")}
            table = pa.table({"image": [{"bytes": picture, "path": None} for picture, _ in part], **columns})
            pq.write_table(table, root / f"{number:05d}.parquet", row_group_size=4)
    return root
