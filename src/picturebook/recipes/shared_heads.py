"""Heads that a run has taught already: the same start, pictures, words and order lead to the same weights, so they are kept."""

import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from torch import nn

from picturebook.caching import cache_key, short_hash
from picturebook.checksums import CHECKSUMS, checksums_of, damage
from picturebook.engine import TrainOptions, is_there
from picturebook.errors import ModelError, RunError
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.objectives.image_text import ImageText
from picturebook.recipes.shared_stores import lacking
from picturebook.recipes.stages import Stages
from picturebook.tensor_files import read_tensors, write_tensors
from picturebook.types import Reporter
from picturebook.writing import atomic_folder, read_json, write_atomically, write_json

_VERSION = "1"
"""Of how heads are taught: raise it where the same inputs would lead to other weights."""
_WEIGHTS, _TOLD = "head.safetensors", "training.json"


def teach(
    stages: Stages,
    name: str,
    objective: ImageText,
    *,
    rows: Int64[np.ndarray, " taught"],
    options: TrainOptions,
    inputs: Mapping[str, str],
) -> None:
    """Train a head on stored tokens, or take the weights and the log that another run with the same inputs left in the cache.

    Args:
        stages: the run.
        name: of the stage.
        objective: with the head, at its start.
        rows: labelled pictures that teach it.
        options: of the training.
        inputs: what else the weights depend on, by name.
    """
    stages.begin()
    key = cache_key(_identity(stages, name, objective.head, rows=rows, options=options, inputs=inputs))
    folder, accelerator = stages.cache / "heads" / key, stages.accelerator
    look = partial(_is_whole, folder, stages.reporter)
    if stages.in_parts or not is_there(accelerator, partial(_is_writable, folder)):
        if not stages.in_parts and is_there(accelerator, look):
            _take(stages, name, objective.head, folder)
            return
        stages.train(name, objective, rows=rows, options=options, on_tokens=True)
        return
    with lacking(accelerator, folder, look) as wanted:
        if wanted:
            is_ours = _mark(stages.folder.stage(name), key) if accelerator.is_main_process else False
            stages.train(name, objective, rows=rows, options=options, on_tokens=True)
            if is_ours:
                _keep(stages, name, objective.head, folder)
            accelerator.wait_for_everyone()
            return
    _take(stages, name, objective.head, folder)


def _mark(stage: Path, key: str) -> bool:
    """Whether all of a training is of this key: what was begun before may be of another device or version."""
    mark = stage / "cache_key"
    if not any(stage.glob("state-*")):
        write_atomically(mark, key.encode())
    return mark.is_file() and mark.read_text(encoding="utf-8") == key


def _identity(
    stages: Stages, name: str, head: nn.Module, *, rows: np.ndarray, options: TrainOptions, inputs: Mapping[str, str]
) -> dict[str, str]:
    accelerator = stages.accelerator
    return {
        **stages.view_fingerprint(),
        **inputs,
        "version": f"{_VERSION} {version('picturebook')} {version('torch')}",
        "stage": name,
        "start": weights_fingerprint(head),
        "rows": short_hash(stages.pictures.ids[rows].tobytes().hex()),
        "training": options.model_dump_json(),
        "processes": f"{accelerator.num_processes} on {accelerator.device.type}",
    }


def _is_writable(folder: Path) -> bool:
    """Whether heads can be kept: a cache on a disk that cannot be written is read and no more."""
    return os.access(next(parent for parent in folder.parents if parent.is_dir()), os.W_OK)


def _is_whole(folder: Path, reporter: Reporter) -> bool:
    if not folder.is_dir():
        return False
    if (wrong := damage(folder, thorough=True)) is not None:
        reporter.say(f"{folder} is damaged ({wrong}): the head is trained again.")
        return False
    return (folder / CHECKSUMS).is_file()


def _keep(stages: Stages, name: str, head: nn.Module, folder: Path) -> None:
    lines = [line for line in stages.folder.read_metrics() if line["stage"] == name]
    try:
        with atomic_folder(folder) as new:
            write_tensors(head.state_dict(), new / _WEIGHTS)
            write_json(new / _TOLD, {"lines": lines, "seconds": stages.seconds.get(name, 0.0)})
            write_json(new / CHECKSUMS, checksums_of(new, (_WEIGHTS, _TOLD)))
    except RunError as error:  # the run has its head and needs no other to have it
        stages.reporter.say(f"The head is not kept for other runs: {error}")


def _take(stages: Stages, name: str, head: nn.Module, folder: Path) -> None:
    try:
        told = read_json(folder / _TOLD)
        head.load_state_dict(read_tensors(folder / _WEIGHTS))
    except (ModelError, RuntimeError) as error:
        raise RunError(f"{folder} cannot be read ({error}): remove it, and go on with --resume.") from error
    head.to(stages.device)
    stages.cached_seconds[name] = max(0.0, float(told["seconds"]) - stages.seconds.get(name, 0.0))
    if stages.accelerator.is_main_process:
        stages.folder.restore_metrics(name, told["lines"])
    stages.reporter.say(f"{name}: another run has taught it, and its weights are taken from the cache.")
