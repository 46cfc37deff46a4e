import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from lines import Line, training
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from picturebook.config import run_recipe
from picturebook.engine import check_trackers, finish_tracking, train
from picturebook.errors import OptionError, RunError
from picturebook.recipes.options import RecipeOptions
from picturebook.runs import RunFolder

SETTINGS = 'recipe = "x"\nout = "runs/x"\ntrack = ["mlflow"]\n[train]\nepochs = 3\nclip = 0.5\ncompile = false\n'


class Notebook(GeneralTracker):
    """A tracker that remembers."""

    requires_logging_directory = False

    def __init__(self, name: str, *, broken: bool = False) -> None:
        super().__init__(_blank=True)
        self.name, self._broken = name, broken
        self.lines: list[tuple[int | None, dict[str, Any]]] = []
        self.settings: list[dict[str, Any]] = []
        self.ends = 0

    @property
    def tracker(self) -> "Notebook":
        return self

    def start(self) -> None:
        if self._broken:
            raise ConnectionError("nobody answers")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings.append(values)

    def log(self, values: dict[str, Any], step: int | None = None, **rest: Any) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.ends += 1


def tracked(folder: Path, *trackers: Notebook) -> RunFolder:
    """Two trainings of one run, one after the other, and its end."""
    run = RunFolder(folder)
    folder.mkdir()
    run.settings.write_text(SETTINGS)
    accelerator = Accelerator(cpu=True, log_with=list(trackers))
    for _ in range(2):
        train(training(Line(), validate=lambda: {"val_accuracy": 0.5}, validations=1), run=run, accelerator=accelerator)
    finish_tracking(accelerator)
    return run


def test_a_tracker_gets_every_number_of_every_line_with_its_stage_and_step(tmp_path: Path) -> None:
    notebook = Notebook("notebook")
    run = tracked(tmp_path / "run", notebook)
    lines = run.read_metrics()
    assert [step for step, _ in notebook.lines] == [4, 8, 12]
    for (step, values), line in zip(notebook.lines, lines, strict=True):
        assert values == {f"line/{name}": value for name, value in line.items() if name != "stage"}
        assert values["line/step"] == step
    assert "line/val_accuracy" in notebook.lines[-1][1]


def test_a_tracker_starts_once_with_the_runs_settings_and_ends_with_the_run(tmp_path: Path) -> None:
    notebook = Notebook("notebook")
    tracked(tmp_path / "run", notebook)
    assert notebook.settings == [
        {"recipe": "x", "out": "runs/x", "track": "['mlflow']", "train.epochs": 3, "train.clip": 0.5, "train.compile": False}
    ]
    assert notebook.ends == 1


def test_steps_that_start_again_with_each_stage_are_not_given_to_wandb(tmp_path: Path) -> None:
    notebook = Notebook("wandb")
    tracked(tmp_path / "run", notebook)
    assert [step for step, _ in notebook.lines] == [None, None, None]
    assert [values["line/step"] for _, values in notebook.lines] == [4, 8, 12]


def test_what_cannot_be_logged_is_left_out(tmp_path: Path) -> None:
    notebook = Notebook("notebook")
    run = RunFolder(tmp_path)
    run.settings.write_text(SETTINGS)
    accelerator = Accelerator(cpu=True, log_with=[notebook])
    train(training(Line(), validate=lambda: {"val_nll": float("nan")}, validations=1), run=run, accelerator=accelerator)
    assert all(isinstance(value, int | float) for _, values in notebook.lines for value in values.values())


def test_a_tracker_that_cannot_be_started_stops_the_run_before_its_first_step(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"cannot be started \(nobody answers\)\. Set it up .* metrics\.jsonl holds the same numbers"
    ):
        tracked(tmp_path / "run", Notebook("notebook", broken=True))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.toml"]


@pytest.mark.parametrize(
    ("name", "install"), [("tensorboard", r"'picturebook\[track\]'"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_tracker_that_is_not_installed_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: Any, install: str
) -> None:
    monkeypatch.setattr("picturebook.engine.tracking.find_spec", lambda module: None)
    with pytest.raises(
        OptionError, match=f"track: {name} needs a Python package that is not installed. Run: pip install {install}$"
    ):
        check_trackers([name])
    check_trackers([])


def test_a_refused_tracker_leaves_no_run(
    monkeypatch: pytest.MonkeyPatch, recipe_options: Callable[..., RecipeOptions], tmp_path: Path
) -> None:
    monkeypatch.setattr("picturebook.engine.tracking.find_spec", lambda module: None)
    with pytest.raises(OptionError, match="track: tensorboard needs"):
        run_recipe(recipe_options("supervised", tmp_path / "run", track=["tensorboard"]))
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_does_not_start_leaves_no_run(
    monkeypatch: pytest.MonkeyPatch, recipe_options: Callable[..., RecipeOptions], tmp_path: Path
) -> None:
    def refused(*arguments: object, **keywords: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setattr("accelerate.Accelerator.init_trackers", refused)
    with pytest.raises(RunError, match="nobody answers"):
        run_recipe(recipe_options("supervised", tmp_path / "run", track=["tensorboard"]))
    assert not (tmp_path / "run").exists()


def test_another_tracker_is_unknown(recipe_options: Callable[..., RecipeOptions], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"track\.0: should be 'tensorboard', 'wandb' or 'mlflow'"):
        recipe_options("supervised", tmp_path / "run", track=["paper"])


def test_tensorboard_holds_the_numbers_of_metrics_jsonl(recipe_options: Callable[..., RecipeOptions], tmp_path: Path) -> None:
    run = run_recipe(recipe_options("born_again", tmp_path / "run", track=["tensorboard"]))
    events = EventAccumulator(str(run.tracking / "picturebook"))
    events.Reload()
    lines = run.read_metrics()
    assert {line["stage"] for line in lines} == {"encoder", "student"}
    for line in lines:
        for name in ("loss", "learning_rate", "val_accuracy"):
            if name in line:
                found = {event.step: event.value for event in events.Scalars(f"{line['stage']}/{name}")}
                assert found[line["step"]] == pytest.approx(line[name], rel=1e-6)
    assert run.damage() is None  # event files are no part of the run's checksums: they may grow
    assert not any(path.startswith("tracking") for path in run.path.joinpath("checksums.json").read_text().split('"'))


def test_without_trackers_nothing_of_them_is_there(finished_run: Callable[[str], RunFolder]) -> None:
    assert not finished_run("supervised").tracking.exists()


def test_tensorboard_is_not_imported_until_it_is_asked_for() -> None:
    code = "import sys, picturebook.config; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
