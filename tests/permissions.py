"""Folders that may not be written, for tests that may run as root, who obeys permissions once the right not to is given up."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Nothing can be written into the folder, by this thread, whoever runs it."""
    mode = folder.stat().st_mode
    folder.chmod(0o555)
    try:
        with _obeying_permissions():
            yield folder
    finally:
        folder.chmod(mode)


@contextmanager
def _obeying_permissions() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    try:
        library = ctypes.CDLL(None, use_errno=True)
        header, halves = _Header(_VERSION_3, 0), (_Half * 2)()
        done = library.capget(ctypes.byref(header), halves)
    except (OSError, AttributeError):  # not Linux
        done = -1
    if done != 0:
        pytest.skip("permissions do not bind root here")
    before = halves[0].effective
    halves[0].effective = before & ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    assert library.capset(ctypes.byref(header), halves) == 0
    try:
        yield
    finally:
        halves[0].effective = before
        assert library.capset(ctypes.byref(header), halves) == 0
