"""What glibc's allocator does with the memory of tensors that are gone."""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Numbers of malloc.h."""
_PAD = 64 * 2**20
_NEVER = 2**31 - 1
_CHOSEN_BY_USER = ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let this process keep what its tensors leave free, for the next step's; say whether it does.

    By default glibc gives large blocks back to the system, which hands them out again page by page, each cleared: a ResNet-18
    step on a CPU spent an eighth of its time there (docs/log.md). The peak stays what it was; memory below the peak is not given
    back before the process ends. Nothing is done under another C library, or where the environment already says what malloc
    shall do.
    """
    if any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # no glibc here
        return False
    return all([set_option(_M_MMAP_MAX, 0), set_option(_M_TRIM_THRESHOLD, _NEVER), set_option(_M_TOP_PAD, _PAD)])
