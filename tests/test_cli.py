import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from command_line import CLASSES, CommandLine, contents, write_pictures, write_table
from picturebook import __version__
from picturebook.cli import app
from picturebook.config import RECIPES, load_options
from picturebook.objectives import OBJECTIVES
from picturebook.writing import read_json

COMMANDS = [
    f"{name} {part}" if isinstance(command, typer.core.TyperGroup) else name
    for name, command in typer.main.get_command(app).commands.items()
    for part in getattr(command, "commands", [""])
]


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parent.parent / "src")
    environment = {**os.environ, "PYTHONPATH": source, "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def numbers(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation without its table, in a form that approx compares."""
    return {name: value for name, value in evaluation.items() if name != "confusion"}


def test_a_process_tells_the_version() -> None:
    done = process("-m", "picturebook", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"picturebook {__version__}\n", "")


def test_a_process_refuses_in_one_line_and_with_code_2(tmp_path: Path) -> None:
    done = process("-m", "picturebook", "train", str(tmp_path / "RUN.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("picturebook: There is no file ")
    assert done.stderr.count("\n") == 1


def test_debug_shows_the_errors_traceback(picturebook: CommandLine, tmp_path: Path) -> None:
    answer = picturebook("--debug", "train", tmp_path / "RUN.toml")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Traceback (most recent call last):\n")
    assert answer.err.splitlines()[-1].startswith("picturebook.errors.OptionError: There is no file ")


@pytest.mark.parametrize("statement", ["import picturebook", "from picturebook.cli import main; main()"])
def test_import_and_help_leave_heavy_libraries_out(statement: str) -> None:
    code = f"""
import sys
sys.argv = ["picturebook", "--help"]
try:
    {statement}
except SystemExit:
    pass
heavy = {{"torch", "timm", "datasets", "transformers", "sentence_transformers", "accelerate", "matplotlib", "PIL", "numpy"}}
print("loaded:", sorted(heavy & sys.modules.keys()))
"""
    done = process("-c", code)
    assert done.stdout.splitlines()[-1] == "loaded: []", done.stderr


def test_every_command_has_help(picturebook: CommandLine) -> None:
    listing = picturebook("--help").out
    for command in COMMANDS:
        assert command.split()[0] in listing
        answer = picturebook(*command.split(), "--help")
        assert (answer.code, answer.err) == (0, "")
        assert f"`picturebook {command}" in " ".join(answer.out.split()), "an example"


def test_nothing_at_all_shows_the_help(picturebook: CommandLine) -> None:
    assert "Commands" in picturebook().out


def test_a_misspelt_command_is_answered_with_the_nearest(picturebook: CommandLine) -> None:
    answer = picturebook("trian", "RUN.toml")
    assert answer.code == 2
    assert "train" in answer.err


def test_training_leaves_a_whole_run_and_says_its_numbers(picturebook: CommandLine) -> None:
    run = picturebook.run
    assert {path.name for path in run.iterdir()} == {
        "run.toml",
        "checksums.json",
        "classes.json",
        "provenance.json",
        "metrics.jsonl",
        "predictions.npz",
        "results.json",
        "student",
        "train_ids.npy",
    }
    assert read_json(run / "classes.json") == list(CLASSES)
    assert set(read_json(run / "results.json")["models"]) == {"student", "student through timm's transform"}


def test_a_finished_run_resumes_to_itself(picturebook: CommandLine) -> None:
    before = contents(picturebook.run)
    answer = picturebook("train", picturebook.run_file, "--resume")
    assert answer.code == 0
    assert "is finished already" in answer.remarks
    assert "student" in answer.out
    assert contents(picturebook.run) == before


def test_a_runs_own_settings_run_again_to_the_same_weights(picturebook: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "again"
    answer = picturebook("train", picturebook.run / "run.toml", "--set", f"out={out.as_posix()}")
    assert answer.code == 0, answer
    again, first = contents(out / "student"), contents(picturebook.run / "student")
    assert again == first
    assert load_options(out / "run.toml").model_copy(update={"out": ""}) == load_options(picturebook.run / "run.toml").model_copy(
        update={"out": ""}
    )


def test_set_overrides_and_is_written_down(picturebook: CommandLine, tmp_path: Path) -> None:
    overrides = (f"out={(tmp_path / 'run').as_posix()}", "seed=7", "views.crop_scale=[0.9, 1.0]", "train.optimizer=sgd")
    answer = picturebook("train", picturebook.run_file, *(word for override in overrides for word in ("--set", override)))
    assert answer.code == 0, answer
    settings = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert (settings["seed"], settings["train"]["optimizer"], settings["views"]["crop_scale"]) == (7, "sgd", [0.9, 1.0])
    assert read_json(tmp_path / "run" / "provenance.json")["seed"] == 7


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_gives_the_runs_own_numbers(picturebook: CommandLine, split: str) -> None:
    answer = picturebook("evaluate", picturebook.run, picturebook.data, "--split", split, "--json")
    assert (answer.code, answer.err) == (0, "")
    evaluation, own = strict_json(answer.out), read_json(picturebook.run / "results.json")["models"]["student"][split]
    assert numbers(evaluation) == pytest.approx(numbers(own))
    assert evaluation["confusion"] == own["confusion"]


def test_evaluate_splits_the_data_as_the_run_did(picturebook: CommandLine, tmp_path: Path) -> None:
    """Else `--split test` measures on pictures that the run trained on."""
    out = tmp_path / "run"
    picturebook("train", picturebook.run_file, "--set", f"out={out.as_posix()}", "--set", "data.split={test=0.5, seed=4}")
    answer = picturebook("evaluate", out, picturebook.data, "--split", "test", "--json")
    own = read_json(out / "results.json")["models"]["student"]["test"]
    assert strict_json(answer.out)["num"] == own["num"]
    assert strict_json(answer.out)["nll"] == pytest.approx(own["nll"])


def test_evaluate_takes_the_test_pictures_of_the_runs_own_data_by_default(picturebook: CommandLine) -> None:
    answer = picturebook("evaluate", picturebook.run, picturebook.data, "--json")
    assert answer == picturebook("evaluate", picturebook.run, picturebook.data, "--split", "test", "--json")


def test_evaluate_takes_a_student_folder_too(picturebook: CommandLine) -> None:
    of_run = picturebook("evaluate", picturebook.run, picturebook.data, "--split", "all", "--json")
    of_student = picturebook("evaluate", picturebook.run / "student", picturebook.data, "--json")
    assert strict_json(of_student.out) == strict_json(of_run.out)
    assert strict_json(of_run.out)["num"] == 36


def test_evaluate_shows_a_table(picturebook: CommandLine) -> None:
    answer = picturebook("evaluate", picturebook.run, picturebook.data)
    assert answer.code == 0
    assert "accuracy" in answer.out
    assert "evaluating: done" in answer.err


def test_evaluate_goes_by_class_names_where_classes_are_missing(picturebook: CommandLine, tmp_path: Path) -> None:
    """`sky` alone would be class 1 of the new data, and is class 2 of the run."""
    write_pictures(tmp_path)
    for file in (tmp_path / "leaf").iterdir():
        file.unlink()
    answer = picturebook("evaluate", picturebook.run, tmp_path, "--json")
    confusion = strict_json(answer.out)["confusion"]
    assert [sum(row) for row in confusion] == [12, 0, 12]


@pytest.mark.parametrize("folders", [["apple"], ["apple", "sky"], ["test/apple", "test/sky"]])
def test_evaluate_needs_no_pictures_to_train_on(picturebook: CommandLine, tmp_path: Path, folders: list[str]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        file = f"{folder.removeprefix('test/')}/00.png"
        (tmp_path / folder / "00.png").write_bytes((picturebook.data / file).read_bytes())
    answer = picturebook("evaluate", picturebook.run, tmp_path, "--json")
    assert answer.code == 0, answer.err
    assert strict_json(answer.out)["num"] == len(folders)


def test_evaluate_refuses_classes_that_were_not_taught(picturebook: CommandLine, tmp_path: Path) -> None:
    write_pictures(tmp_path, classes=("apple", "leaf", "sea"))
    sentence = picturebook.refusal("evaluate", picturebook.run, tmp_path)
    assert "sea" in sentence
    assert "was not taught" in sentence


def test_evaluate_refuses_an_unknown_split(picturebook: CommandLine) -> None:
    assert "Did you mean 'test'?" in picturebook.refusal("evaluate", picturebook.run, picturebook.data, "--split", "tset")


def test_evaluate_refuses_a_split_without_pictures(picturebook: CommandLine, tmp_path: Path) -> None:
    names = write_pictures(tmp_path, num_a_class=2)
    write_table(tmp_path, "file_name,split", [f"{name},{'test' if name.endswith('00.png') else 'train'}" for name in names])
    assert "no val pictures" in picturebook.refusal("evaluate", picturebook.run, tmp_path, "--split", "val")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_folder_without_a_model_is_refused(picturebook: CommandLine, command: str, tmp_path: Path) -> None:
    assert "There is no run or student folder" in picturebook.refusal(command, tmp_path / "none", picturebook.data)
    assert "config.json is missing" in picturebook.refusal(command, tmp_path, picturebook.data)


def test_a_half_written_run_is_refused_with_how_to_go_on(picturebook: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes((picturebook.run / "run.toml").read_bytes())
    for arguments in (("evaluate", tmp_path, picturebook.data), ("predict", tmp_path, picturebook.data), ("inspect", tmp_path)):
        sentence = picturebook.refusal(*arguments)
        assert "half written" in sentence
        assert "--resume" in sentence


def test_list_recipes_objectives_and_texts(picturebook: CommandLine) -> None:
    names = {
        "recipes": set(RECIPES),
        "objectives": set(OBJECTIVES),
        "texts": {"classes", "column", "descriptions", "none"},
    }
    for what, expected in names.items():
        listed = strict_json(picturebook("list", what, "--json").out)
        assert set(listed) == expected
        assert all(listed.values()), f"a name of {what} has no word about it"
        plain = picturebook("list", what).out.splitlines()
        assert {line.split()[0] for line in plain} == expected


def test_list_settings_has_those_of_every_recipe(picturebook: CommandLine) -> None:
    listed = strict_json(picturebook("list", "settings", "--json").out)
    for name, recipe in RECIPES.items():
        assert set(recipe.options.model_fields) <= {path.split(".")[0] for path in listed}, name
    assert {"captioner.length", "loss.alignment.weight", "teacher.head.mode"} <= set(listed)


def test_list_models_takes_a_pattern(picturebook: CommandLine) -> None:
    assert picturebook("list", "models", "resnet1[04]t").out.split() == ["resnet10t", "resnet14t"]
    own = picturebook("list", "models", "wide_resnet28_4").out.split(maxsplit=1)
    assert own == ["wide_resnet28_4", "picturebook's own: timm knows it after `import picturebook.models`\n"]
    assert strict_json(picturebook("list", "models", "package:*", "--json").out).keys() == {"package:efficientnet-lite0"}


def test_list_refuses_an_unknown_kind(picturebook: CommandLine) -> None:
    assert picturebook.refusal("list", "model") == (
        "There is no list 'model'. Did you mean 'models'? Known: controls, models, objectives, recipes, settings, texts."
    )
