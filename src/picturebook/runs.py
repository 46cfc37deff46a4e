"""The run folder: what was asked for, what came out, and what is needed to go on after an interruption.

runs/birds/
    run.toml           the resolved settings; `picturebook train runs/birds/run.toml --set out=…` runs them again
    classes.json       class names in the order of the logits
    provenance.json    versions, seeds, threads, fingerprints, seconds per stage
    metrics.jsonl      one line an epoch
    train_ids.npy      ids of the pictures that were trained on
    predictions.npz    the student's logits on val and test, with ids, labels and groups
    audit.json         what an image-text teacher reads
    captions.jsonl     held-out pictures with their own text and what coca writes of them
    checksums.json     length and hash of the files above and below, but for what export writes
    results.json       evaluations, written at the end: a run with this file is finished
    student/           a timm model: config.json and model.safetensors
    exit/              a part of the student with a classifier of its own, for be_your_own_teacher's early_exit
    teacher/           head and texts of an image-text teacher
    export.json        what `picturebook export` wrote and measured, by kind
    export/            what it wrote, where --out names no other place
    stages/NAME/       what is needed to resume a stage; emptied when the run is finished
    tracking/          what trackers keep on this machine, where the run asks for some
    .lock              while a process works in the folder
"""

import json
import os
import shutil
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picturebook.checksums import CHECKSUMS, checksum, checksums_of, damage, damage_by
from picturebook.errors import RunError
from picturebook.locking import LOCK
from picturebook.options import first_difference, without
from picturebook.writing import (
    holds_something,
    json_bytes,
    read_json,
    remove_leftovers,
    write_atomically,
    write_json,
)

Settings = dict[str, Any]
"""As they stand in TOML, table in table."""

ALLOWANCE = ("teacher", "allow_label_privileged")
"""A setting that may change when a run is taken up again: it decides whether to go on, and nothing else."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's files by name."""

    path: Path

    def start(self, *, resume: bool, resolved: str, completed: Callable[[Settings], Settings] = dict) -> None:
        """Make the folder and write the resolved settings, or take up an interrupted run with the same settings.

        Args:
            resume: whether to take up a run that is there.
            resolved: the settings as TOML.
            completed: gives settings that were written earlier the defaults of those that came since.

        Raises:
            RunError: the folder holds something and `resume` is off, or its settings differ from `resolved`.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: `out` must name a folder.")
        if not self.path.is_dir() or not holds_something(self.path, but=LOCK):
            write_atomically(self.settings, resolved.encode())
        elif not self.settings.is_file():
            raise RunError(f"{self.path} holds files but no run.toml: it is no run folder; take another `out`.")
        elif not resume:
            raise RunError(f"{self.path} exists already: take another `out`, go on with --resume, or remove it.")
        elif (stored := self.settings.read_bytes()) != resolved.encode():
            if not resolved.encode().startswith(stored):  # cut off by a power cut, it can be nothing else
                before, now = completed(self._read_settings()), tomllib.loads(resolved)
                if without(before, ALLOWANCE) != without(now, ALLOWANCE):
                    raise RunError(
                        f"{self.path} was started with other settings: {first_difference(before, now)}. Take the same ones, or "
                        "another `out`."
                    )
            if not self.finished:
                self.forget_checksum(self.settings)
                write_atomically(self.settings, resolved.encode())

    def _read_settings(self) -> Settings:
        try:
            return tomllib.loads(self.settings.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.settings} is not whole ({error}): take another `out`.") from None

    def discard_if_untouched(self) -> None:
        """Remove a run that was refused before its first stage, so that the next try finds its folder free."""
        found = set(self.path.iterdir())
        if found - {self.path / LOCK} == {self.settings}:
            for path in found:
                path.unlink()
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
        if folder.results.is_file() and (wrong := damage(path, thorough=False)):
            raise RunError(f"{path} is damaged: {wrong}. Make it again with `picturebook train {folder.settings} --resume`.")
        if not folder.finished:
            raise RunError(f"{path} is half written: go on with `picturebook train {folder.settings} --resume`.")
        return folder

    def close(self, results: dict[str, Any]) -> None:
        """Write the results and, just before them, the checksums of all that a run is made of: it is finished."""
        content = json_bytes(results)
        names = sorted(path.relative_to(self.path).as_posix() for path in self._parts())
        sums = checksums_of(self.path, names) | {self.results.name: checksum(content)}
        write_json(self.path / CHECKSUMS, sums)
        write_atomically(self.results, content)

    def _parts(self) -> list[Path]:
        apart = {self.stages, self.exported, self.tracking}
        kept = [path for path in self.path.iterdir() if path not in apart and not path.name.startswith(".")]
        files = [file for path in kept for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
        return [file for file in files if file not in (self.results, self.export, self.path / CHECKSUMS)]

    def damage(self) -> str | None:
        """What is wrong with a finished run's files, each of them read; None where they are as they were written."""
        return damage(self.path, thorough=True)

    def exports(self) -> dict[str, Any]:
        """What export.json says of each kind of export; nothing where it is missing or was cut off."""
        try:
            records = read_json(self.export)
        except RunError:
            return {}
        return records if isinstance(records, dict) else {}

    def export_damage(self) -> str | None:
        """The first export that is not as it was written, in words; what was moved elsewhere is not looked for."""
        try:
            for kind, record in self.exports().items():
                place, sums = self.path / record["file"], record.get("checksums", {})
                if not place.exists():  # of two files the other may be there
                    sums = {name: one for name, one in sums.items() if (place.parent / name).exists()}
                if wrong := damage_by(sums, place.parent, thorough=True):
                    tops = sorted({place.parent / name.split("/")[0] for name in sums})
                    left = " and ".join(str(top) for top in tops if top.exists())
                    return f"the {kind} export in {place.parent} is damaged: {wrong}. Remove {left}, and export again."
        except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
            return f"{self.export} is not what export writes ({error}). Remove it, and export again."
        return None

    @property
    def num_checksums(self) -> int:
        """Files of which a checksum is kept."""
        return len(read_json(self.path / CHECKSUMS)) if (self.path / CHECKSUMS).is_file() else 0

    def reopen(self) -> None:
        """Take a damaged run for an unfinished one."""
        self.results.unlink(missing_ok=True)
        (self.path / CHECKSUMS).unlink(missing_ok=True)

    def forget_checksum(self, file: Path) -> None:
        """Before a file of a finished run is written anew."""
        if (self.path / CHECKSUMS).is_file():
            sums = read_json(self.path / CHECKSUMS)
            sums.pop(file.relative_to(self.path).as_posix(), None)
            write_json(self.path / CHECKSUMS, sums)

    def note_checksum(self, file: Path) -> None:
        """After a file of a finished run was written anew."""
        if (self.path / CHECKSUMS).is_file():
            write_json(
                self.path / CHECKSUMS,
                read_json(self.path / CHECKSUMS) | checksums_of(self.path, [file.relative_to(self.path).as_posix()]),
            )

    def remove_leftovers(self) -> None:
        """Remove what an interrupted process left half written; exports are another command's."""
        for folder in (self.path, *self.path.rglob("*")):
            if folder.is_dir() and self.exported not in (folder, *folder.parents):
                remove_leftovers(folder)

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
    def captions(self) -> Path:
        return self.path / "captions.jsonl"

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
    def exit(self) -> Path:
        """The student left early, as a model of its own."""
        return self.path / "exit"

    @property
    def teacher(self) -> Path:
        return self.path / "teacher"

    @property
    def export(self) -> Path:
        return self.path / "export.json"

    @property
    def exported(self) -> Path:
        return self.path / "export"

    @property
    def tracking(self) -> Path:
        return self.path / "tracking"

    @property
    def stages(self) -> Path:
        return self.path / "stages"

    @property
    def finished(self) -> bool:
        """Whether the results are there, and no file that belongs to them is missing or cut off."""
        return self.results.is_file() and damage(self.path, thorough=False) is None

    def stage(self, name: str) -> Path:
        """The folder of one stage, made when it is missing."""
        folder = self.stages / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl; a line cut off by an interruption is left out."""
        if not self.metrics.is_file():
            return []
        lines = []
        for text in self.metrics.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, RecursionError):
                line = json.loads(text)
                if isinstance(line, dict) and {"stage", "step"} <= line.keys():
                    lines.append(line)
        return lines

    def restore_metrics(self, stage: str, lines: list[dict[str, Any]]) -> None:
        """Let a stage's lines be these: what came after a saved state goes, and what was cut off comes back."""
        kept = self.read_metrics()
        if [line for line in kept if line["stage"] == stage] != lines:
            kept = [line for line in kept if line["stage"] != stage] + lines
        content = "".join(json.dumps(line) + "\n" for line in kept).encode()
        if content != (self.metrics.read_bytes() if self.metrics.is_file() else b""):
            write_atomically(self.metrics, content)
