"""Where models compute, by the name that a person gives."""

from typing import Literal

import torch

from picturebook.errors import OptionError, unknown_name

Device = Literal["auto", "cpu", "cuda", "mps"]


def named_device(name: str) -> torch.device:
    """The device of that name; "auto" is the machine's accelerator, or the CPU where there is none.

    Raises:
        OptionError: there is no such name, or no such device on this machine.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind in ("cuda", "mps") if there[kind]), "cpu"))
    if name not in there:
        raise OptionError(unknown_name("device", name, ["auto", *there]))
    if not there[name]:
        raise OptionError(f"device = {name!r}: there is none on this machine. Say 'auto' or 'cpu'.")
    return torch.device(name)
