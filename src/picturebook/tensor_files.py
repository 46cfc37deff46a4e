"""Tensors on disk, as safetensors: no code can come with them."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from picturebook.errors import ModelError, RunError
from picturebook.writing import atomic_file


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors, whole or not at all.

    Raises:
        RunError: the place cannot be written.
    """
    # Tied weights share memory, which the format refuses: each gets its own.
    own = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        with atomic_file(path) as new:
            save_file(own, new, metadata={"format": "pt"})
    except SafetensorError as error:
        raise RunError(f"{path} cannot be written ({error}): name another place, or mend this one.") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        ModelError: the file is missing or broken.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no whole safetensors file ({error}): train or export again.") from error
