"""Freed memory stays with the process, unless its user has said what malloc shall do."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from picturebook.engine.allocation import keep_freed_memory
if "keep" in sys.argv:
    print(keep_freed_memory())
torch.empty(10_000_000).fill_(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.empty(10_000_000).fill_(0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""20 tensors of 40 MB, one after the other; each page that is handed out anew is a minor fault."""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no mallopt")


def said(*arguments: str, **environment: str) -> list[str]:
    own = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "GLIBC" not in name}
    command = [sys.executable, "-c", FAULTS, *arguments]
    return subprocess.run(command, env=own | environment, check=True, capture_output=True, text=True).stdout.split()


@glibc
def test_a_tensor_gets_the_pages_of_the_one_before() -> None:
    kept, faults = said("keep")
    assert kept == "True"
    assert int(faults) * 4 < int(said()[0]), "pages were handed out again and again"


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_environment_says_stays(name: str) -> None:
    assert said("keep", **{name: "1000000"})[0] == "False"
