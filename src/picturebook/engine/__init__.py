"""The one loop, and what it needs of the machine."""

from picturebook.engine.devices import (
    Strategy,
    build_accelerator,
    cpu_prefers_bf16,
    first_process_values,
    on_first_process,
    wants_parts,
)
from picturebook.engine.loop import train
from picturebook.engine.optimization import TrainOptions, build_optimizer, cosine_between, learning_rate
from picturebook.engine.together import is_there, written_together
from picturebook.engine.tracking import Tracker, check_trackers, finish_tracking, start_tracking
from picturebook.engine.training import Batches, Training

__all__ = [
    "Batches",
    "Strategy",
    "Tracker",
    "TrainOptions",
    "Training",
    "build_accelerator",
    "build_optimizer",
    "check_trackers",
    "cosine_between",
    "cpu_prefers_bf16",
    "finish_tracking",
    "first_process_values",
    "is_there",
    "learning_rate",
    "on_first_process",
    "start_tracking",
    "train",
    "wants_parts",
    "written_together",
]
