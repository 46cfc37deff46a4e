"""Where and in what precision a process works, and what the first of several processes does for all."""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, InitProcessGroupKwargs, broadcast, broadcast_object_list, patch_environment
from torch import Tensor

from picturebook.engine.allocation import keep_freed_memory
from picturebook.errors import OptionError, RunError
from picturebook.models.device import Device, named_device

Strategy = Literal["ddp", "fsdp"]
"""Whether each of several processes has a whole model, or a part of it."""
_TORCH_OF_PARTS = "2.14"
_USE_FSDP = "ACCELERATE_USE_FSDP"
_CUT_UP = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def build_accelerator(
    *,
    device: Device,
    precision: Literal["auto", "bf16", "fp32"],
    trackers: Sequence[str] = (),
    tracking: Path | None = None,
) -> Accelerator:
    """The process's device and precision: `auto` takes what is there, and bf16 where that is faster than fp32.

    `trackers` are installed ones, by name; what they keep on this machine goes into `tracking`.

    Raises:
        OptionError: the launcher asked for parts of another kind than FSDP's.
    """
    cpu = named_device(device).type == "cpu"
    if cpu:
        keep_freed_memory()
    if precision == "auto":
        precision = (
            "bf16" if (cpu_prefers_bf16() if cpu else torch.cuda.is_available() and torch.cuda.is_bf16_supported()) else "fp32"
        )
    AcceleratorState._reset_state()  # a process may train one run after another, in another precision
    mixed = "bf16" if precision == "bf16" else "no"
    # One process decodes and evaluates while the others wait, longer than the half hour after which they would give up.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))
    asked = {"log_with": list(trackers), "project_dir": str(tracking)} if trackers else {}
    with patch_environment(**{_USE_FSDP: "false"}):  # the engine cuts by itself, on every device in the same way
        accelerator = Accelerator(cpu=cpu, mixed_precision=mixed, kwargs_handlers=[patience], **asked)
    if accelerator.distributed_type in _CUT_UP:
        raise OptionError(
            f"accelerate is set to {accelerator.distributed_type.value}, whose parts of a model picturebook cannot put together. "
            "Set it to FSDP, or start it with a whole model in each process: torchrun, or accelerate launch --multi_gpu."
        )
    return accelerator


def wants_parts(strategy: Strategy) -> bool:
    """Whether models are trained in parts: the settings say so, or accelerate's, which it hands over in the environment.

    Raises:
        OptionError: this torch is older than what it was tested with; before 2026 gradients of our losses were lost in parts.
    """
    wanted = strategy == "fsdp" or os.environ.get(_USE_FSDP, "false").lower() == "true"
    if wanted and torch.__version__ < _TORCH_OF_PARTS:
        raise OptionError(f"strategy = 'fsdp' needs torch {_TORCH_OF_PARTS}, this is {torch.__version__}: install a newer one.")
    return wanted


def on_first_process(accelerator: Accelerator, work: Callable[[], None]) -> None:
    """Do `work` in the first process; where it is refused, every process raises that error instead of waiting for the first.

    Raises:
        RunError: what `work` raised.
    """
    refusal: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            work()
        except RunError as error:
            refusal = [str(error)]
    broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise RunError(refusal[0])


def first_process_values(values: Tensor, device: torch.device) -> Tensor:
    """The first process's numbers, on the CPU, in every process: a last bit that differs would be another teacher's."""
    shared: Tensor = broadcast(values.to(device))
    return shared.cpu()


def cpu_prefers_bf16() -> bool:
    """Whether this processor trains faster in bf16 than in fp32: with AMX alone.

    AVX512_BF16 multiplies bf16 too, but a product of two matrices took twice its fp32 time with it, and a training step as long
    or longer.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch has no types here
        return False
    return bool(torch.cpu._is_amx_tile_supported())
