import fcntl
import os
import time
from pathlib import Path

import pytest

from picturebook.caching import cache_folder, clean_cache, describe, list_cache
from picturebook.errors import OptionError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name in (
        "0123/store.json",
        "tokens/ab/values.npy",
        "targets/gh/logits/values.npy",
        "tokens/ab.lock",
        "heads/kl/head.safetensors",
        "heads/.kl.x.unfinished/new/head.safetensors",
        "tokens/cd.partial/values.npy",
        "texts/ef.npz",
        "shards/gh.json",
        "shards/ij.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 10_000 * (1 + len(name)))
    (tmp_path / "unfinished-1").mkdir()
    (tmp_path / "somebody's file.txt").write_text("keep me")
    return tmp_path


def names(cache: Path) -> set[tuple[str, str]]:
    return {(entry.kind, entry.path.name) for entry in list_cache(cache)}


def test_everything_that_was_stored_is_listed_largest_first(cache: Path) -> None:
    expected = {
        ("canvases", "0123"),
        ("tokens", "ab"),
        ("heads", "kl"),
        ("unfinished", ".kl.x.unfinished"),
        ("targets", "gh"),
        ("texts", "ef.npz"),
        ("shards", "shards"),
        ("unfinished", "cd.partial"),
        ("unfinished", "unfinished-1"),
    }
    assert names(cache) == expected
    sizes = [entry.size for entry in list_cache(cache)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 100_000
    assert all(describe(kind) for kind, _ in expected)
    assert list_cache(cache / "nowhere") == []


def test_cleaning_takes_what_is_asked_and_nothing_of_others(cache: Path) -> None:
    assert [entry.path.name for entry in clean_cache(cache, kinds=["tokens"])] == ["ab"]
    assert ("tokens", "ab") not in names(cache)
    assert len(clean_cache(cache)) == 8
    assert names(cache) == set()
    assert (cache / "somebody's file.txt").read_text() == "keep me"


def test_cleaning_by_age_keeps_what_is_young(cache: Path) -> None:
    old = time.time() - 10 * 86_400
    os.utime(cache / "texts" / "ef.npz", (old, old))
    assert [entry.path.name for entry in clean_cache(cache, older_than=9.0)] == ["ef.npz"]


def test_what_a_run_is_filling_stays(cache: Path) -> None:
    with (cache / "tokens" / "ab.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert [entry.path.name for entry in clean_cache(cache, kinds=["tokens"])] == []
    with (cache / "heads" / "kl.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ".kl.x.unfinished" not in [entry.path.name for entry in clean_cache(cache, kinds=["unfinished"])]
    assert ("tokens", "ab") in names(cache)


def test_an_unknown_kind_is_refused(cache: Path) -> None:
    with pytest.raises(OptionError, match=r"There is no kind of cache entry 'token'\. Did you mean 'tokens'"):
        clean_cache(cache, kinds=["token"])


def test_the_cache_is_where_it_is_asked_then_where_the_environment_says_then_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICTUREBOOK_CACHE", str(tmp_path / "mine"))
    assert cache_folder(str(tmp_path / "asked")) == tmp_path / "asked"
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("PICTUREBOOK_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "picturebook"
