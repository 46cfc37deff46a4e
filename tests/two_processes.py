"""Two processes on one machine that speak by gloo, for tests that compare them with one."""

import gc
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import multiprocessing

LIMIT = 240
"""Seconds that the two processes may take before they are ended: one that waits for the other would wait for days."""


def join_two(rank: int, port: int) -> None:
    """Make this process one of two, before its first run."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    gc.freeze()  # as conftest.py does


def run_in_two(work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(rank, port, *arguments)` in two processes and wait for both."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    context = multiprocessing.spawn(work, (port, *arguments), nprocs=2, join=False)
    end = time.monotonic() + LIMIT
    while not context.join(timeout=1):
        if time.monotonic() > end:
            for process in context.processes:
                process.kill()
            raise TimeoutError("The two processes wait for each other.")
