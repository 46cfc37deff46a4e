"""Freed memory stays with the process, unless its user has said what malloc shall do."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import importlib.util, resource, sys
import numpy
if "keep" in sys.argv:
    spec = importlib.util.spec_from_file_location("allocation", sys.argv[1])
    allocation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(allocation)
    print(allocation.keep_freed_memory())
numpy.empty(10_000_000, numpy.float32).fill(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    numpy.empty(10_000_000, numpy.float32).fill(0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""20 arrays of 40 MB; each page that is handed out anew is a minor fault. Without torch, whose import takes long."""
MODULE = Path(__file__).resolve().parents[2] / "src" / "picturebook" / "engine" / "allocation.py"

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")


def said(*arguments: str, **environment: str) -> list[str]:
    own = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "GLIBC" not in name}
    command = [sys.executable, "-c", FAULTS, str(MODULE), *arguments]
    return subprocess.run(command, env=own | environment, check=True, capture_output=True, text=True).stdout.split()


@glibc
def test_an_array_gets_the_pages_of_the_one_before() -> None:
    kept, faults = said("keep")
    assert kept == "True"
    assert int(faults) * 4 < int(said()[0]), "pages were handed out again and again"


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_environment_says_stays(name: str) -> None:
    assert said("keep", **{name: "1000000"})[0] == "False"
