"""What several commands have: --json, --device, --set."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from command_line import CommandLine, sets
from picturebook.cli import app
from picturebook.config import load_options
from picturebook.errors import OptionError
from picturebook.models.device import named_device
from picturebook.writing import read_json

WITHOUT_JSON = {"init", "demo", "serve"}
"""They write a TOML file, show a table of pictures that are built, and answer as JSON at /api."""
WITH_DEVICE = {"train", "plan", "evaluate", "predict", "audit", "describe", "serve"}
"""The commands that compute; `compare` takes run.device, and `export` compares on the CPU, where ONNX files are run."""


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def commands() -> dict[str, Any]:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return dict(group.commands)


def test_every_command_speaks_json() -> None:
    for name, command in commands().items():
        for part in getattr(command, "commands", {"": command}).values():
            assert ("--json" in options_of(part)) == (name not in WITHOUT_JSON), name


def test_every_command_that_computes_takes_a_device() -> None:
    assert {name for name, command in commands().items() if "--device" in options_of(command)} == WITH_DEVICE


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "RUN.toml", "--resume"),
        ("plan", "RUN.toml"),
        ("evaluate", "run", "data"),
        ("predict", "run", "data/apple/00.png"),
        ("inspect", "data"),
        ("inspect", "run"),
        ("list", "recipes"),
        ("cache", "list"),
        ("cache", "clean", "unfinished"),
    ],
    ids=" ".join,
)
def test_json_is_all_that_goes_to_stdout(picturebook: CommandLine, arguments: tuple[str, ...]) -> None:
    there = {"RUN.toml": picturebook.run_file, "run": picturebook.run, "data": picturebook.data}
    words = [there.get(word, picturebook.folder / word if "/" in word else word) for word in arguments]
    answer = picturebook(*words, "--json")
    assert answer.code == 0, answer
    assert answer.out.count("\n") == 1
    json.loads(answer.out)


def test_training_export_and_report_say_what_they_wrote(picturebook: CommandLine, tmp_path: Path) -> None:
    told = json.loads(picturebook("train", picturebook.run_file, "--resume", "--json").out)
    assert told == {"run": str(picturebook.run)} | read_json(picturebook.run / "results.json")
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    told = json.loads(picturebook("export", run, "--to", "timm", "--json").out)
    assert told["paths"] == [str(run / "export" / "timm")]
    assert told["temperature"] == read_json(run / "export.json")["timm"]["temperature"]
    told = json.loads(picturebook("report", run, "--json").out)
    assert Path(told["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_predictions_as_json_are_jsonl(picturebook: CommandLine) -> None:
    picture = picturebook.data / "apple" / "00.png"
    answer = picturebook("predict", picturebook.run, picture, "--json")
    assert answer.out == picturebook("predict", picturebook.run, picture, "--format", "jsonl").out
    assert "leave one of them out" in picturebook.refusal("predict", picturebook.run, picture, "--json", "--format", "csv")


@pytest.mark.parametrize(
    "command", [("evaluate", "run", "data"), ("predict", "run", "data"), ("plan", "RUN.toml"), ("serve", "run")]
)
def test_a_device_that_is_not_there_is_refused(
    picturebook: CommandLine, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there = {"RUN.toml": picturebook.run_file, "run": picturebook.run, "data": picturebook.data}
    words = [there.get(word, word) for word in command] + (["--port", "0"] if command[0] == "serve" else [])
    assert picturebook.refusal(*words, "--device", "cuda") == (
        "device = 'cuda': there is none on this machine. Say 'auto' or 'cpu'."
    )
    assert "gpu" in picturebook.refusal(*words, "--device", "gpu")
    if command[0] in ("evaluate", "predict"):
        assert picturebook(*words, "--device", "cpu").out == picturebook(*words).out


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, device in ((False, False, "cpu"), (True, True, "cuda"), (False, True, "mps")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: there)
        assert named_device("auto") == torch.device(device)
    assert named_device("cpu") == torch.device("cpu")
    with pytest.raises(OptionError, match="Did you mean 'cuda'"):
        named_device("cude")


def test_an_onnx_file_is_run_on_the_cpu(picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (tmp_path / "student.onnx").write_bytes(b"")
    sentence = picturebook.refusal("predict", tmp_path / "student.onnx", picturebook.data, "--device", "cuda")
    assert sentence == "device = 'cuda': ONNX files are run on the CPU here. Leave it out, or name the run."


def test_an_endpoint_has_no_device(picturebook: CommandLine) -> None:
    words = ("describe", picturebook.data, "--classes", "--model", "m", "--endpoint", "http://127.0.0.1:9/v1", "--dry-run")
    assert "--device takes effect with a model on this machine only" in picturebook.refusal(*words, "--device", "cpu")


STUDY = """\
out = "{out}"
seeds = [0]
[run]
device = "cpu"
data = {{ root = "{data}", canvas_size = 32 }}
student = {{ model = "resnet10t", model_args = {{ channels = [8, 8, 8, 8] }}, image_size = 16 }}
[arms.supervised]
recipe = "supervised"
"""


def test_a_studys_settings_can_be_laid_over_the_file(picturebook: CommandLine, tmp_path: Path) -> None:
    study = tmp_path / "STUDY.toml"
    study.write_text(STUDY.format(out=(tmp_path / "out").as_posix(), data=picturebook.data.as_posix()))
    changes = sets("seeds=[3, 4]", "run.train.epochs=1")
    planned = json.loads(picturebook("compare", study, *changes, "--dry-run", "--json").out)
    assert [(run["seed"], run["state"]) for run in planned["runs"]] == [(3, "to do"), (4, "to do")]
    assert not (tmp_path / "out").exists()
    assert "'epoch'" in picturebook.refusal("compare", study, *sets("run.train.epoch=1"), "--dry-run")


def test_seed_and_device_are_settings_of_a_run(picturebook: CommandLine, tmp_path: Path) -> None:
    words = (picturebook.run_file, "--seed", 3, "--device", "cpu", "--set", f"out={(tmp_path / 'run').as_posix()}")
    assert picturebook("train", *words).code == 0
    options = load_options(tmp_path / "run" / "run.toml")
    assert (options.seed, options.device) == (3, "cpu")
