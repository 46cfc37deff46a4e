"""Shards that are broken, or do not fit each other, are refused by name; nothing that was decoded before is lost."""

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from picturebook.data.pictures import load_pictures
from picturebook.data.tables import DataOptions, read_table
from picturebook.errors import DataError
from toy_shards import sample, write_tar
from toys import noise_png

A, B = noise_png(1), noise_png(2)
GOOD = [*sample("a", A, "x", group="1"), *sample("b", B, "y", group="2")]


def tar(members: list[tuple[str, bytes]]) -> Callable[[Path], object]:
    return lambda path: write_tar(path, members)


def cut(share: float) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        content = write_tar(path, GOOD).read_bytes()
        path.write_bytes(content[: int(share * (len(GOOD) * 1024 + 512))])

    return write


def cut_behind_a_member(path: Path) -> None:
    content = write_tar(path, GOOD).read_bytes()
    with tarfile.open(path) as archive:
        path.write_bytes(content[: archive.getmembers()[3].offset])


def spoilt_in_the_middle(path: Path) -> None:
    content = bytearray(write_tar(path, GOOD).read_bytes())
    with tarfile.open(path) as archive:
        content[archive.getmembers()[3].offset + 10] ^= 255
    path.write_bytes(content)


def of_pax(**headers: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            member = tarfile.TarInfo("a.png")
            member.size, member.pax_headers = len(A), headers
            archive.addfile(member, io.BytesIO(A))

    return write


def of_a_name_without_end(path: Path) -> None:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**33
    with path.open("wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**33 + 2048)


TARS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off in a picture": (cut(0.2), r"1\.tar is cut off: its last member starts at byte 1,024 and is not whole"),
    "cut off behind a member": (cut_behind_a_member, r"1\.tar is cut off"),
    "nothing": (lambda path: path.write_bytes(b""), r"1\.tar is cut off"),
    "no tar": (lambda path: path.write_bytes(b"words " * 999), r"1\.tar is no tar file"),
    "compressed": (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(2000)), r"1\.tar is no tar file"),
    "spoilt": (spoilt_in_the_middle, r"1\.tar is damaged: there is no tar header at byte"),
    "a size that lies": (of_pax(size="99999999999"), r"1\.tar is cut off"),
    "a size that is none": (of_pax(size="-1"), r"1\.tar is damaged: the member at byte \d[\d,]* states no size"),
    "a name without end": (of_a_name_without_end, r"1\.tar is damaged: a name of 8,589,934,592 bytes"),
    "up": (tar([*GOOD, *sample("../c", A, "x", group="1")]), r"1\.tar names '\.\./c\.png', outside the data root"),
    "absolute": (tar(sample("/etc/c", A, "x", group="1")), r"1\.tar names '/etc/c\.png', outside the data root"),
    "absolute by pax": (of_pax(path="/etc/c.png"), r"1\.tar names '/etc/c\.png', outside the data root"),
    "a key twice": (tar([*GOOD, *sample("a", B, "x", group="1")]), r"1\.tar has two samples called 'a'"),
    "a member twice": (tar([*GOOD, ("b.cls", b"z")]), r"1\.tar has two members called 'b\.cls'"),
    "two pictures": (tar([*GOOD, ("b.jpg", B)]), r"1\.tar: the sample 'b' has several pictures \(png, jpg\)"),
    "no picture": (
        tar([("a.cls", b"x"), ("b.npy", b"y")]),
        r"data\.columns\.image: .*1\.tar has no member with a picture's ending, only cls",
    ),
    "no cls": (
        tar(sample("a", A, None, group="1")),
        r"data\.columns\.label: 1\.tar has no 'label', but 0\.tar has",
    ),
    "no group": (tar(sample("a", A, "x", other="1")), r"data\.columns\.group: 1\.tar has no 'group', but 0\.tar has"),
    "no JSON": (tar([*sample("a", A, "x"), ("a.json", b"{")]), r"1\.tar: a\.json is not valid JSON"),
    "JSON without end": (tar([*sample("a", A, "x"), ("a.json", b"[" * 200_000)]), r"1\.tar: a\.json is not valid JSON"),
    "a list": (tar([*sample("a", A, "x"), ("a.json", b"[1]")]), r"1\.tar: a\.json holds no JSON object"),
    "half a pair": (
        tar([*sample("a", A, "x"), ("a.json", b'{"label": "\\ud800"}')]),
        r"1\.tar: a\.json holds half of a surrogate pair",
    ),
    "no UTF-8": (tar([("a.png", A), ("a.cls", b"\xff\xfe")]), r"1\.tar: a\.cls is not UTF-8"),
    "a novel": (tar([("a.png", A), ("a.txt", bytes(2**24 + 1))]), r"1\.tar: a\.txt has 16,777,217 bytes"),
    "another kind": (lambda path: path.with_suffix(".parquet").write_bytes(b""), r"holds shards of two kinds"),
    "packed": (lambda path: path.with_suffix(".tar.gz").write_bytes(b""), r"1\.tar\.gz is compressed"),
}


def options(root: Path, **settings: object) -> DataOptions:
    return DataOptions.model_validate({"root": str(root), "canvas_size": 8, **settings})


@pytest.mark.parametrize("case", TARS)
def test_a_broken_tar_shard_is_refused_by_name(tmp_path: Path, case: str) -> None:
    write, sentence = TARS[case]
    write_tar(tmp_path / "0.tar", GOOD)
    write(tmp_path / "1.tar")
    with pytest.raises(DataError, match=sentence):
        read_table(options(tmp_path))


def table(**changes: object) -> pa.Table:
    columns = {"image": [A, B], "label": ["x", "y"], "group": ["1", "2"], **changes}
    return pa.table({name: values for name, values in columns.items() if values is not None})


def parquet(**changes: object) -> Callable[[Path], object]:
    return lambda path: pq.write_table(table(**changes), path)


def cut_parquet(path: Path) -> None:
    parquet()(path)
    path.write_bytes(path.read_bytes()[:-30])


def spoilt_column(path: Path) -> None:
    parquet()(path)
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    content = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)


PARQUETS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no parquet": (lambda path: path.write_bytes(b"words"), r"1\.parquet cannot be read as parquet"),
    "nothing": (lambda path: path.write_bytes(b""), r"1\.parquet cannot be read as parquet"),
    "cut off": (cut_parquet, r"1\.parquet cannot be read as parquet"),
    "a spoilt column": (spoilt_column, r"1\.parquet cannot be read as parquet: column 'label'"),
    "no image": (parquet(image=None), r"There is no column 'image'.* Columns of .*1\.parquet: label, group"),
    "numbers": (parquet(image=[1.5, 2.5]), r"column 'image' of .*1\.parquet holds no pictures: expected bytes, got double"),
    "no label": (parquet(label=None), r"data\.columns\.label: 1\.parquet has no 'label', but 0\.parquet has"),
    "no group": (parquet(group=None), r"data\.columns\.group: 1\.parquet has no 'group', but 0\.parquet has"),
}


@pytest.mark.parametrize("case", PARQUETS)
def test_a_broken_parquet_shard_is_refused_by_name(tmp_path: Path, case: str) -> None:
    write, sentence = PARQUETS[case]
    parquet()(tmp_path / "0.parquet")
    write(tmp_path / "1.parquet")
    with pytest.raises(DataError, match=sentence):
        read_table(options(tmp_path))


def test_an_empty_shard_is_told_and_all_empty_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "p").mkdir()
    write_tar(tmp_path / "t" / "0.tar", [])
    pq.write_table(table().slice(0, 0), tmp_path / "p" / "0.parquet")
    for name in ("t", "p"):
        with pytest.raises(DataError, match=r"There is no picture in .* \(1 shards\)"):
            read_table(options(tmp_path / name))
    write_tar(tmp_path / "t" / "1.tar", GOOD)
    pq.write_table(table(), tmp_path / "p" / "1.parquet")
    for name, shard in (("t", "0.tar"), ("p", "0.parquet")):
        (finding,) = [one for one in read_table(options(tmp_path / name)).findings if one.unit == "shard"]
        assert finding.names == (shard,)


def test_shards_that_nobody_labelled_or_that_match_nothing_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", sample("a", A, None))
    with pytest.raises(DataError, match=r"have no labels: there is no column 'label' .* Columns: png"):
        read_table(options(tmp_path))
    with pytest.raises(DataError, match=r"\*\.parquet matches no file; expected \.tar or \.parquet"):
        read_table(options(tmp_path / "*.parquet"))
    with pytest.raises(DataError, match=r"data\.metadata stands beside a folder of pictures"):
        read_table(options(tmp_path, metadata="metadata.csv"))
    with pytest.raises(DataError, match="no column 'kind'"):
        read_table(options(tmp_path, columns={"label": "kind"}))


def test_nothing_is_lost_by_a_shard_that_breaks_later(tmp_path: Path) -> None:
    shards, cache = tmp_path / "shards", tmp_path / "cache"
    many = [member for key in range(8) for member in sample(str(key), noise_png(key), "xy"[key % 2])]
    good = write_tar(shards / "0.tar", many).read_bytes()
    before = load_pictures(options(shards), cache=cache)
    (shards / "0.tar").write_bytes(good[:5000])
    with pytest.raises(DataError, match="is cut off"):
        load_pictures(options(shards), cache=cache)
    (shards / "0.tar").write_bytes(good)
    assert load_pictures(options(shards), cache=cache).fingerprint == before.fingerprint


def test_a_bomb_or_a_broken_picture_in_a_shard_is_one_skipped_file(tmp_path: Path) -> None:
    bomb = bytearray(noise_png(3))
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2
    members = [member for key in range(12) for member in sample(str(key), noise_png(key), "xy"[key % 2])]
    write_tar(tmp_path / "s" / "0.tar", [*members, *sample("bomb", bytes(bomb), "x"), *sample("cut", A[:60], "x")])
    loaded = load_pictures(options(tmp_path / "s", max_broken_share=0.5), cache=tmp_path / "cache")
    skipped = {finding.kind: finding.names for finding in loaded.findings if finding.level == "skipped"}
    assert ("0.tar/bomb",) in skipped.values()
    assert sum("0.tar/cut" in names for names in skipped.values()) == 1
    assert len(loaded) == 12


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_spoilt_anywhere_is_read_or_refused_in_a_sentence(tmp_path: Path, form: int) -> None:
    long = "f" * 120
    good = write_tar(tmp_path / "0.tar", [*GOOD, *sample(f"{long}/c", A, "x", group="3")], form=form).read_bytes()
    headers = [start for start in range(0, len(good), 512) if good[start + 257 : start + 262] == b"ustar"]
    sentences = []
    for seed in range(300):
        chance = random.Random(seed)
        spoilt = bytearray(good)
        for _ in range(chance.choice((1, 1, 3))):
            block = chance.choice(headers)
            start = block + chance.choice((0, 100, 124, 148, 156, 257, 345, chance.randrange(512)))
            for place in range(start, min(start + chance.choice((1, 12)), len(good))):
                spoilt[place] = chance.choice((0, 32, 48, 55, 128, 255, chance.randrange(256)))
            if chance.random() < 0.7:  # a header that says what it is
                total = sum(spoilt[block : block + 148]) + sum(spoilt[block + 156 : block + 512]) + 256
                spoilt[block + 148 : block + 156] = b"%06o\0 " % total
        (tmp_path / "0.tar").write_bytes(spoilt)
        try:
            table = read_table(options(tmp_path), to_train=False)
            lengths = [len(table.read(row)) for row in range(len(table.names))]
            assert max(lengths) <= len(good)
        except DataError as error:
            sentences.append(str(error))
    assert 30 < len(sentences) < 300
    assert all(str(tmp_path) in sentence for sentence in sentences)
