"""The command line as a person meets it, on toy pictures, with one small finished run that all its tests share."""

import contextlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from unittest import mock

from picturebook.cli import main
from toys import CLASSES, toy_picture

NUM_A_CLASS = 12

RUN_FILE = """\
recipe = "supervised"
out = "{out}"
device = "cpu"
precision = "fp32"
[data]
root = "{data}"
canvas_size = 32
[student]
model = "resnet10t"
model_args = {{ channels = [8, 8, 8, 8] }}
image_size = 16
[train]
epochs = 1
batch_size = 16
"""


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def remarks(self) -> str:
        """stderr with the lines that were wrapped at 80 columns put together."""
        return " ".join(self.err.split())


def write_pictures(root: Path, *, num_a_class: int = NUM_A_CLASS, classes: tuple[str, ...] = CLASSES) -> list[str]:
    """Class folders of PNG files; their names, relative to `root`."""
    names = []
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(num_a_class):
            names.append(f"{name}/{index:02d}.png")
            toy_picture(label, index).save(root / names[-1])
    return names


def write_table(root: Path, header: str, rows: list[str]) -> None:
    (root / "metadata.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def sets(*overrides: str) -> list[str]:
    """`--set` before each setting."""
    return [word for override in overrides for word in ("--set", override)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class CommandLine:
    """Calls `picturebook` with arguments, with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"

    def __call__(self, *arguments: object) -> Answer:
        with (
            # Files, as the real streams are; StringIO is no whole TextIO.
            tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as err,
            mock.patch.object(sys, "argv", ["picturebook", *map(str, arguments)]),
            mock.patch.dict(os.environ, {"PICTUREBOOK_CACHE": str(self.cache)}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
                code: int | str | None = 0
            except SystemExit as end:
                code = end.code
            assert code is None or isinstance(code, int)
            out.seek(0)
            err.seek(0)
            return Answer(code or 0, out.read(), err.read())

    def refusal(self, *arguments: object) -> str:
        """The one sentence with which a command is refused; that it is one, with exit code 2, is asserted."""
        answer = self(*arguments)
        assert answer.code == 2, answer
        assert answer.out == ""
        assert "Traceback" not in answer.err
        *before, sentence = answer.err.splitlines()
        assert sentence.startswith("picturebook: "), answer.err
        assert not any(line.startswith("picturebook: ") for line in before)
        return sentence.removeprefix("picturebook: ")

    @cached_property
    def data(self) -> Path:
        """Class folders with a text beside each picture."""
        root = self.folder / "data"
        write_table(root, "file_name,text", [f"{name},photo {name[-6:-4]}" for name in write_pictures(root)])
        return root

    @cached_property
    def run_file(self) -> Path:
        """Settings of a supervised training of seconds."""
        path = self.folder / "RUN.toml"
        path.write_text(RUN_FILE.format(out=(self.folder / "run").as_posix(), data=self.data.as_posix()))
        return path

    @cached_property
    def run(self) -> Path:
        """The finished run of `run_file`."""
        answer = self("train", self.run_file)
        assert answer.code == 0, answer
        return self.folder / "run"

    @cached_property
    def exported(self) -> Path:
        """A copy of `run` from which an ONNX file was exported; the run itself stays as training left it."""
        copy = self.folder / "exported"
        shutil.copytree(self.run, copy)
        answer = self("export", copy, "--to", "onnx")
        assert answer.code == 0, answer
        return copy


@cache
def command_line(base: Path) -> CommandLine:
    """The session's one, in pytest's own folder."""
    folder = base / "command-line"
    folder.mkdir()
    return CommandLine(folder)
