"""Tar shards: a good one, what reads it, and what an enemy would put in one."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from picturebook.data.pictures import load_pictures
from picturebook.data.tables import DataOptions
from toy_shards import sample
from toys import CLASSES, noise_png

Change = Callable[[tarfile.TarInfo], None]


def read_shard(place: Path) -> None:
    options = DataOptions(root=str(place / "0.tar"), canvas_size=8, max_broken_share=1.0)
    load_pictures(options, cache=place / "cache")


def shard_file() -> bytes:
    """Six samples of each class, each with a label and a text."""
    members = [
        member
        for number in range(6 * len(CLASSES))
        for member in sample(f"{number:03d}", noise_png(number), CLASSES[number % len(CLASSES)], text=f"text {number}")
    ]
    return _tar([(name, content, None) for name, content in members])


def shard_plans() -> dict[str, bytes]:
    """What is wrong with a shard → the file."""
    picture = noise_png(1)
    names = ("../../outside.png", "/etc/pwned.png", "a/../../../b.png", "c\\..\\d.png", "C:/e.png", "f" * 10_000 + ".png", ".png")
    plans = {f"a tar member {name[:30]}": _with((name, picture, None)) for name in names}
    kinds = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}
    plans |= {f"a tar member that is a {name}": _with(("x.png", b"", _kind(kind))) for name, kind in kinds.items()}
    sizes = {"eight exabytes": 2**63 - 1, "more than there is": 10**6}
    plans |= {f"a tar member of {name}": _with(("x.png", picture, None), stated=size) for name, size in sizes.items()}
    contents = {
        "x.json": (b"[" * 200_000, b'{"label": "\\ud800"}', b'{"label": 1e999}', b"\0" * 1000, b'{"file_name": "/etc/passwd"}'),
        "x.cls": (b"\xff\xfe", b"a\0b", b"x" * 10**6, b""),
        "x.png.png": (picture,),
    }
    return plans | {
        f"a tar member {name}, {number}": _with(("x.png", picture, None), (name, content, None))
        for name, several in contents.items()
        for number, content in enumerate(several)
    }


def _kind(kind: bytes) -> Change:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, "/etc/passwd"

    return change


def _with(*members: tuple[str, bytes, Change | None], stated: int | None = None) -> bytes:
    good = [
        (name, content, None) for number, label in enumerate("xy") for name, content in sample(f"{number}", noise_png(7), label)
    ]
    return _tar([*good, *members], stated=stated)


def _tar(members: list[tuple[str, bytes, Change | None]], *, stated: int | None = None) -> bytes:
    """A tar file; `stated` is the size that the last member's header states."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for number, (name, content, change) in enumerate(members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if change is not None:
                change(member)
            if stated is not None and number == len(members) - 1:
                member.size = stated
                buffer.write(member.tobuf(tarfile.GNU_FORMAT) + content)
                return buffer.getvalue() + bytes(1024)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
