"""The run folder: what was asked for, what came out, and what is needed to go on after an interruption.

runs/birds/
    run.toml           the resolved settings; `picturebook train runs/birds/run.toml --set out=…` runs them again
    classes.json       class names in the order of the logits
    provenance.json    versions, seeds, threads, fingerprints, seconds per stage
    metrics.jsonl      one line an epoch
    train_ids.npy      ids of the pictures that were trained on
    predictions.npz    the student's logits on val and test, with ids, labels and groups
    audit.json         what an image-text teacher reads
    results.json       evaluations, written at the end: a run with this file is finished
    student/           a timm model: config.json and model.safetensors
    teacher/           head and texts of an image-text teacher
    stages/NAME/       what is needed to resume a stage; emptied when the run is finished
"""

import io
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from picturebook.errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Raises:
        RunError: the place cannot be written.
    """
    try:
        _write(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}): name another place, or mend this one.") from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.fchmod(handle, 0o666 & ~_umask())  # mkstemp's files are for nobody else; runs and caches are shared
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    umask = os.umask(0)  # reading it means setting it
    os.umask(umask)
    return umask


def npy(values: np.ndarray) -> bytes:
    """An array in numpy's file format."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays in numpy's file format, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's keywords are typed as its one flag
    return buffer.getvalue()


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


ALLOWANCE = ("teacher", "allow_label_privileged")
"""A setting that may change when a run is taken up again: it decides whether to go on, and nothing else."""


def _without(settings: dict[str, Any], path: tuple[str, str]) -> dict[str, Any]:
    table, name = path
    kept = settings.get(table)
    if not isinstance(kept, dict):
        return settings
    return settings | {table: {key: value for key, value in kept.items() if key != name}}


def _first_difference(theirs: dict[str, Any], ours: dict[str, Any], path: str = "") -> str:
    for name in sorted(theirs.keys() | ours.keys()):
        left, right = theirs.get(name), ours.get(name)
        if isinstance(left, dict) and isinstance(right, dict) and left != right:
            return _first_difference(left, right, f"{path}{name}.")
        if left != right:
            return f"{path}{name} is {left!r} there and {right!r} here"
    return "they are written differently"


def read_json(path: Path) -> Any:
    """Read a JSON file that picturebook wrote; a missing or broken one is a RunError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run was not finished, or this is no run folder.") from None
    except ValueError as error:
        raise RunError(f"{path} is not whole ({error}): run again, or take another run folder.") from None


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Fill a temporary folder; it takes the name `folder` when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    temporary.chmod(0o777 & ~_umask())
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's files by name."""

    path: Path

    def start(self, *, resume: bool, resolved: str) -> None:
        """Make the folder and write the resolved settings, or take up an interrupted run with the same settings.

        Raises:
            RunError: the folder holds something and `resume` is off, or its settings differ from `resolved`.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: `out` must name a folder.")
        if not self.path.is_dir() or not any(self.path.iterdir()):
            write_atomically(self.settings, resolved.encode())
        elif not self.settings.is_file():
            raise RunError(f"{self.path} holds files but no run.toml: it is no run folder; take another `out`.")
        elif not resume:
            raise RunError(f"{self.path} exists already: take another `out`, go on with --resume, or remove it.")
        elif self.settings.read_text(encoding="utf-8") != resolved:
            before, now = self._read_settings(), tomllib.loads(resolved)
            if _without(before, ALLOWANCE) == _without(now, ALLOWANCE):
                write_atomically(self.settings, resolved.encode())
                return
            difference = _first_difference(before, now)
            raise RunError(f"{self.path} was started with other settings: {difference}. Take the same ones, or another `out`.")

    def _read_settings(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.settings.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{self.settings} is not whole ({error}): take another `out`.") from None

    def discard_if_untouched(self) -> None:
        """Remove a run that was refused before its first stage, so that the next try finds its folder free."""
        if list(self.path.iterdir()) == [self.settings]:
            self.settings.unlink()
            self.path.rmdir()

    def discard_stages(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.stages, ignore_errors=True)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A finished run.

        Raises:
            RunError: there is no run, or it did not reach its end.
        """
        folder = cls(path)
        if not path.is_dir():
            raise RunError(f"There is no run folder {path}.")
        if not folder.settings.is_file():
            raise RunError(f"{path} holds no run.toml: it is no run folder.")
        if not folder.finished:
            raise RunError(f"{path} is half written: go on with `picturebook train {folder.settings} --resume`.")
        return folder

    @property
    def settings(self) -> Path:
        return self.path / "run.toml"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def classes(self) -> Path:
        return self.path / "classes.json"

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def train_ids(self) -> Path:
        """Ids of the pictures that the run trained on, so that nobody takes them for a test."""
        return self.path / "train_ids.npy"

    @property
    def predictions(self) -> Path:
        """The student's logits by split, so that studies can pair runs picture by picture."""
        return self.path / "predictions.npz"

    @property
    def audit(self) -> Path:
        return self.path / "audit.json"

    @property
    def student(self) -> Path:
        return self.path / "student"

    @property
    def teacher(self) -> Path:
        return self.path / "teacher"

    @property
    def stages(self) -> Path:
        return self.path / "stages"

    @property
    def finished(self) -> bool:
        return self.results.is_file()

    def stage(self, name: str) -> Path:
        """The folder of one stage, made when it is missing."""
        folder = self.stages / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl; a line cut off by an interruption is left out."""
        if not self.metrics.is_file():
            return []
        lines = []
        for text in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
        return lines

    def forget_metrics_after(self, stage: str, step: int) -> None:
        """Drop the lines of `stage` past `step`, which a resumed stage will write again."""
        kept = [line for line in self.read_metrics() if line["stage"] != stage or line["step"] <= step]
        write_atomically(self.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())
