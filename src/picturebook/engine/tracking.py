"""Where the lines of metrics.jsonl go besides: TensorBoard, Weights & Biases or MLflow, through accelerate."""

import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

from accelerate import Accelerator

from picturebook.engine.devices import on_first_process
from picturebook.errors import OptionError, RunError
from picturebook.redaction import without_secrets
from picturebook.runs import RunFolder

Tracker = Literal["tensorboard", "wandb", "mlflow"]

_INSTALL: dict[Tracker, str] = {"tensorboard": "'picturebook[track]'", "wandb": "wandb", "mlflow": "mlflow"}
_PROJECT = "picturebook"


def check_trackers(names: Sequence[Tracker]) -> None:
    """Refuse trackers whose package is not there, which accelerate would leave out with a warning.

    Raises:
        OptionError: one is missing; it says what to install.
    """
    for name in names:
        if find_spec(name) is None:
            raise OptionError(f"track: {name} needs a Python package that is not installed. Run: pip install {_INSTALL[name]}")


def start_tracking(accelerator: Accelerator, run: RunFolder) -> None:
    """Start what the run asks for, once, with the run's settings; what is kept on this machine lies in the run's tracking/.

    Raises:
        RunError: a tracker cannot be started.
    """
    if accelerator.log_with:
        on_first_process(accelerator, partial(_start, accelerator, run))


def track(accelerator: Accelerator, line: Mapping[str, Any]) -> None:
    """Send a line's numbers to every tracker, as "stage/name"."""
    numbers = {f"{line['stage']}/{name}": value for name, value in line.items() if isinstance(value, int | float)}
    for tracker in accelerator.trackers:
        # Steps start again with each stage, and W&B drops lines whose step is below the last one's: it counts them itself.
        tracker.log(numbers, step=None if tracker.name == "wandb" else line["step"])


def finish_tracking(accelerator: Accelerator) -> None:
    """Let every tracker end its run."""
    for tracker in accelerator.trackers:  # end_training would also take down the process group, which later runs need
        tracker.finish()
    accelerator.trackers.clear()


def _start(accelerator: Accelerator, run: RunFolder) -> None:
    if accelerator.trackers:
        return
    run.tracking.mkdir(exist_ok=True)
    name, place = run.path.resolve().name, str(run.tracking)
    own = {"wandb": {"name": name, "dir": place}, "mlflow": {"run_name": name, "logging_dir": place}}
    settings = dict(_flat(tomllib.loads(run.settings.read_text(encoding="utf-8"))))
    try:
        accelerator.init_trackers(_PROJECT, config=settings, init_kwargs=own)
    except Exception as error:  # each tracker fails in its own way: no account, no server, no network
        accelerator.trackers.clear()
        shutil.rmtree(run.tracking, ignore_errors=True)  # so that a run refused before its first stage leaves nothing behind
        raise RunError(
            f"A tracker of track = {[str(name) for name in accelerator.log_with]} cannot be started "
            f"({without_secrets(str(error))}). Set it up as its documentation says, or leave it out: metrics.jsonl holds the "
            "same numbers."
        ) from None


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, int | float | str | bool]]:
    """Settings by path, of the types that every tracker takes."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value if isinstance(value, int | float | str) else str(value)
