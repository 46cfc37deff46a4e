import errno
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from picturebook.errors import RunError
from picturebook.tensor_files import read_tensors, write_tensors
from picturebook.writing import atomic_folder, disk_errors_told, is_of_the_machine, read_json, write_atomically, write_json

DISK = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO]


def failing(number: int) -> Callable[..., None]:
    def fail(*arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    "function", ["os.fsync", "os.open", "tempfile.mkstemp", "pathlib.Path.replace", "pathlib.Path.write_bytes"]
)
@pytest.mark.parametrize("number", DISK)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(function, failing(number))
    with pytest.raises(
        RunError, match=rf"file cannot be written \({os.strerror(number)}\): name another place, or mend this one"
    ):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_an_atomic_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "state"
    with atomic_folder(target) as new:
        (new / "a").write_text("1")
        assert not target.exists()

    def interrupted() -> None:
        with atomic_folder(target) as new:
            (new / "b").write_text("2")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    assert [entry.name for entry in target.iterdir()] == ["a"]
    with atomic_folder(target) as new:
        (new / "c").write_text("3")
    assert [entry.name for entry in target.iterdir()] == ["c"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("number", DISK)
def test_a_disk_that_fails_an_atomic_folder_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    with atomic_folder(tmp_path / "state") as new:
        (new / "a").write_text("1")

    def write() -> None:
        with atomic_folder(tmp_path / "state") as new:
            (new / "b").write_text("2")
            monkeypatch.setattr("os.fsync", failing(number))

    with pytest.raises(RunError, match="state cannot be written"):
        write()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["a"]


@pytest.fixture
def little_room() -> object:
    """Files longer than 1000 bytes cannot be written, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("little_room")
def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    write_tensors({"a": torch.ones(3)}, tmp_path / "weights")
    with pytest.raises(RunError, match="file cannot be written"):
        write_atomically(tmp_path / "file", bytes(5000))
    with pytest.raises(RunError, match=r"weights.* cannot be written"):
        write_tensors({"a": torch.ones(3000)}, tmp_path / "weights")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert read_tensors(tmp_path / "weights")["a"].tolist() == [1, 1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "weights"]


def test_what_a_disk_does_is_told_and_mistakes_of_our_own_are_not(tmp_path: Path) -> None:
    def fail(error: OSError) -> None:
        with disk_errors_told(tmp_path):
            raise error

    with pytest.raises(RunError, match=rf"{tmp_path}: No space left on device\. What was done is kept"):
        fail(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RunError, match="b: Read-only file system"):
        fail(OSError(errno.EROFS, "Read-only file system", "a", None, "b"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        fail(OSError(errno.EBADF, "Bad file descriptor"))


def test_what_a_machine_does_is_told_from_what_a_file_holds() -> None:
    machine = [OSError(number, os.strerror(number)) for number in (*DISK, errno.EMFILE, errno.EACCES)]
    assert all(is_of_the_machine(error) for error in (*machine, MemoryError()))
    content = [FileNotFoundError(errno.ENOENT, "gone"), OSError("Invalid data stream"), ValueError("cut off"), None]
    assert not any(is_of_the_machine(error) for error in content)


def test_json_that_is_nested_without_end_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "value.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="is not whole"):
        read_json(tmp_path / "value.json")


def test_what_is_written_can_be_read_by_who_may_read_the_folder(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", json.loads("{}"))
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "value.json").stat().st_mode == plain.stat().st_mode
