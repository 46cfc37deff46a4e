import errno
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import pytest

from picturebook.errors import RunError
from picturebook.locking import folder_held, wait_until_free


def take(folder: Path) -> None:
    with folder_held(folder):
        pass


def test_of_two_processes_one_is_refused_with_the_others_number(tmp_path: Path) -> None:
    expected = rf"run is being worked on by another process \(number {os.getpid()}\): wait"
    with folder_held(tmp_path / "run"), pytest.raises(RunError, match=expected):
        take(tmp_path / "run")
    take(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def _hold_and_die(folder: Path) -> None:
    with folder_held(folder):
        os._exit(0)


def test_who_was_killed_holds_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert (tmp_path / ".lock").is_file()
    take(tmp_path)


def test_a_folder_that_vanished_is_told_at_the_end(tmp_path: Path) -> None:
    def work(again: bool) -> None:
        with folder_held(tmp_path / "run"):
            shutil.rmtree(tmp_path / "run")
            if again:
                (tmp_path / "run").mkdir()

    for again in (False, True):
        with pytest.raises(RunError, match="run was removed or exchanged while this process worked in it"):
            work(again)


def test_an_error_of_the_block_is_not_hidden(tmp_path: Path) -> None:
    def fail() -> None:
        with folder_held(tmp_path / "run"):
            shutil.rmtree(tmp_path / "run")
            raise KeyError

    with pytest.raises(KeyError):
        fail()


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        take(tmp_path / "file" / "run")


def test_a_disk_that_keeps_the_lock_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with folder_held(tmp_path):
        monkeypatch.setattr(Path, "unlink", refuse)
    take(tmp_path)


def test_waiting_ends_when_the_folder_is_free(tmp_path: Path) -> None:
    wait_until_free(tmp_path / "nowhere")
    thread = threading.Thread(target=wait_until_free, args=(tmp_path,), daemon=True)
    with folder_held(tmp_path):
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()
