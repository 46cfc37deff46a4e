"""Two processes on one machine that speak by gloo, for tests that compare them with one.

They are forked, so that they need not import again what the test's process has imported.
"""

import gc
import os
import socket
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState
from torch import multiprocessing

LIMIT = 240
"""Seconds that the two processes may take before they are ended: one that waits for the other would wait for days."""


def join_two(rank: int, port: int) -> None:
    """Make this process one of two, before its first run."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    gc.freeze()  # as toy_fixtures.py does
    AcceleratorState._reset_state(reset_partial_state=True)  # the test's process was alone
    GradientState._reset_state()


def run_in_two(work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(rank, port, *arguments)` in two processes and wait for both."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the children need none of these
        context = multiprocessing.start_processes(work, (port, *arguments), nprocs=2, join=False, start_method="fork")
    end = time.monotonic() + LIMIT
    while not context.join(timeout=0.2):
        if time.monotonic() > end:
            for process in context.processes:
                process.kill()
            raise TimeoutError("The two processes wait for each other.")
