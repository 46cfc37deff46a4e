import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from interrupting import Interrupting, PowerCutError
from picturebook.config import RECIPES, dump_options, load_options, parse_options, run_recipe
from picturebook.errors import OptionError, PicturebookError, RunError, TextError
from picturebook.recipes.image_text import ImageTextRecipe
from picturebook.recipes.options import RecipeOptions
from toy_runs import RECIPE_CASES

Make = Callable[..., Any]

RUN_FILE = """\
recipe = "image_text"
out = "runs/a"
[data]
root = "birds"
[views]
crop_scale = [0.6, 1.0]
[student]
model_args = { channels = [8, 8, 8, 8] }
[teacher.head]
mode = "bank"
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    (tmp_path / "run.toml").write_text(RUN_FILE)
    return tmp_path / "run.toml"


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(OptionError) as refused:
        load_options(path, overrides)
    return str(refused.value)


def test_a_file_and_overrides_become_options(run_file: Path) -> None:
    options = load_options(run_file, ["out=runs/b", "views.crop_scale=[0.7, 0.9]", "seed=3", "student.model=resnet10t"])
    assert (options.out, options.seed, options.views.crop_scale) == ("runs/b", 3, (0.7, 0.9))
    assert (options.student.model, options.student.model_args) == ("resnet10t", {"channels": [8, 8, 8, 8]})


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sed=3", ["run.toml with --set: sed: There is no setting 'sed'", "Did you mean 'seed'?"]),
        ("teacher.hed.mode=own", ["teacher.hed: There is no setting 'hed'", "Did you mean 'head'?"]),
        ("teacher.head.widht=8", ["teacher.head.widht: There is no setting 'widht'", "Did you mean 'width'?"]),
        ("data.split.tets=0.1", ["data.split.tets: There is no setting 'tets'", "Did you mean 'test'?"]),
        ("teacher.train.epoch=2", ["teacher.train.epoch: There is no setting 'epoch'", "Did you mean 'epochs'?"]),
        ("seed=one", ["seed: should be a valid integer, got 'one'"]),
        ("train.epochs=1.5", ["train.epochs: "]),
        ("views.crop_scale=[0.9, 0.1]", ["views.crop_scale: crop_scale needs 0 < least"]),
        ("teacher.head.mode=banc", ["teacher.head.mode: ", "'bank'", "got 'banc'"]),
        ("recipe=image_txt", ["There is no recipe 'image_txt'. Did you mean 'image_text'?", "born_again"]),
        ("recipe=3", ["need recipe = one of align, ", "supervised, got 3"]),
        ("data=3", ["data: "]),
        ("text.template=a photo", ["text: template: need a {}"]),
        ("train.batch_size=3", ["train.batch_size: should be greater than or equal to 4, got 3"]),
        ("text.column=caption", ["text: column = 'caption' takes effect with source = 'column' only"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_path_and_the_nearest(run_file: Path, override: str, words: list[str]) -> None:
    sentence = refusal(run_file, override)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    "override",
    ["teacher.head.width=10", "teacher.head.residual=true", "teacher.head.num_heads=3"],
)
def test_a_setting_refused_by_the_head_is_named_with_its_file(run_file: Path, override: str) -> None:
    assert f"{run_file} with --set: teacher.head: " in refusal(run_file, override)
    name, value = override.removeprefix("teacher.head.").split("=")
    run_file.write_text(RUN_FILE + f"{name} = {value}\n")
    assert f"{run_file}: teacher.head: " in refusal(run_file)


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    assert "There is no file" in refusal(tmp_path / "none.toml")
    assert "is a folder: `picturebook init" in refusal(tmp_path)
    (tmp_path / "bad.toml").write_text("seed = = 3")
    assert "is no TOML that can be read" in refusal(tmp_path / "bad.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    assert "is no TOML that can be read" in refusal(tmp_path / "bytes.toml")
    (tmp_path / "empty.toml").write_text("")
    assert "need recipe = one of" in refusal(tmp_path / "empty.toml")


@pytest.mark.parametrize("case", RECIPE_CASES)
def test_what_was_resolved_loads_again(recipe_options: Make, tmp_path: Path, case: str) -> None:
    options = recipe_options(case, tmp_path / "run", views={"crop_scale": [0.6, 1.0]}, train={"learning_rate": 3e-5})
    (tmp_path / "run.toml").write_text(dump_options(options))
    again = load_options(tmp_path / "run.toml")
    assert again == options
    assert type(again) is RECIPES[tomllib.loads(dump_options(options))["recipe"]].options
    assert dump_options(again) == dump_options(options)


@pytest.mark.parametrize("name", RECIPES)
def test_the_defaults_of_every_recipe_load_again(tmp_path: Path, name: str) -> None:
    options = parse_options({"recipe": name, "out": "a", "data": {"root": "b"}}, source="the test")
    (tmp_path / "run.toml").write_text(dump_options(options))
    assert load_options(tmp_path / "run.toml") == options


@pytest.mark.parametrize("name", ["distil", "image_text"])
def test_one_setting_of_the_heads_training_leaves_its_other_defaults(name: str) -> None:
    settings = {"recipe": name, "out": "a", "data": {"root": "b"}}
    default = parse_options(settings, source="the test").model_dump()["teacher"]["train"]
    teacher = parse_options({**settings, "teacher": {"train": {"batch_size": 7}}}, source="the test").model_dump()["teacher"]
    assert teacher["train"] == {**default, "batch_size": 7}
    assert teacher["train"]["epochs"] == 10


@pytest.mark.parametrize(("name", "temperature", "label_weight"), [("born_again", 1.0, 0.0), ("distil", 2.0, 0.1)])
def test_one_setting_of_the_loss_leaves_the_recipes_other_defaults(name: str, temperature: float, label_weight: float) -> None:
    settings = {"recipe": name, "out": "a", "data": {"root": "b"}}
    for changes in ({"label_weight": 0.5}, {"temperature": 4.0}, {}):
        loss = parse_options({**settings, "loss": changes}, source="the test").model_dump()["loss"]
        assert (loss["temperature"], loss["label_weight"]) == (
            changes.get("temperature", temperature),
            changes.get("label_weight", label_weight),
        )


OWN_TEXT = {"source": "column", "kind": "label_blind"}


@pytest.mark.parametrize(
    ("case", "changes", "sentence"),
    [
        ("bank", {"text": OWN_TEXT}, "need text.source = 'classes' or 'descriptions', got 'column'"),
        ("bank", {"text": {"source": "none"}}, "need text.source = 'classes' or 'descriptions', got 'none'"),
        ("learned", {"text": {"source": "classes"}}, "reads no words: need text.source = 'none', got 'classes'"),
        ("linear", {"text": OWN_TEXT}, "reads no words: need text.source = 'none', got 'column'"),
        (
            "own",
            {"text": {"kind": "privileged"}, "teacher": {"head": {"residual": True}}},
            "need text.kind = 'label_blind', got 'privileged'",
        ),
        (
            "own",
            {"text": {"kind": "unknown"}, "teacher": {"head": {"residual": True}}},
            "need text.kind = 'label_blind', got 'unknown'",
        ),
    ],
)
def test_words_and_heads_that_do_not_go_together_are_refused_before_anything_is_done(
    recipe_options: Make, tmp_path: Path, case: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError) as refused:
        run_recipe(recipe_options(case, tmp_path / "run", **changes))
    assert sentence in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("case", "changes", "error", "sentence"),
    [
        *(
            (case, {"teacher": {name: value}}, OptionError, f"teacher.{name} takes no effect with teacher.head = 'classifier'")
            for case, name, value in [
                ("classifier", "train", {"epochs": 3}),
                ("classifier", "loss", {"label_smoothing": 0.1}),
                ("classifier", "token_views", 2),
                ("classifier", "token_budget_gb", 1.0),
            ]
        ),
        ("classifier", {"teacher": {"image_size": 32}}, OptionError, "teacher.image_size takes no effect"),
        ("classifier", {"teacher": {"image_size": 32, "image_encoder": "resnet10t"}}, OptionError, "head = 'classifier'"),
        ("distil", {"teacher": {"image_size": 32}}, OptionError, "teacher.image_size"),
        ("linear", {"teacher": {"image_size": 32}}, OptionError, "teacher.image_size"),
        ("own", {"text": {"source": "classes", "kind": "unknown"}}, TextError, "tells the teacher the label"),
        ("own", {"text": {"source": "none"}}, TextError, "got 'none'"),
        ("own", {"text": {"column": "words"}}, TextError, "There is no column 'words'"),
    ],
    ids=[
        *("classifier's training", "classifier's loss", "classifier's views", "classifier's budget"),
        *("trained classifier's size", "classifier's size"),
        *("trained encoder's size (distil)", "trained encoder's size (image_text)", "label", "none", "column"),
    ],
)
def test_settings_that_cannot_take_effect_are_refused_and_the_folder_stays_free(
    recipe_options: Make, tmp_path: Path, case: str, changes: dict[str, Any], error: type[PicturebookError], sentence: str
) -> None:
    with pytest.raises(error) as refused:
        run_recipe(recipe_options(case, tmp_path / "run", **changes))
    assert sentence in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_what_the_defaults_say_may_be_said(recipe_options: Make, tmp_path: Path) -> None:
    teacher = {"token_views": 4, "token_budget_gb": 4.0, "loss": {"label_smoothing": 0.0}, "train": {"epochs": 10}}
    assert RECIPES["distil"].check(recipe_options("classifier", tmp_path / "run", teacher=teacher)) is None


def test_a_device_that_is_not_there_leaves_the_folder_free(
    recipe_options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(OptionError, match="device = 'cuda': there is none on this machine"):
        run_recipe(recipe_options("supervised", tmp_path / "run", device="cuda"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("case", "changes", "name"),
    [
        ("supervised", {"student": {"model": "resnet10x"}}, "resnet10x"),
        ("supervised", {"student": {"model_args": {"chanels": [8]}}}, "chanels"),
        ("supervised", {"student": {"init": "runs/none"}}, "runs/none"),
        ("linear", {"teacher": {"image_encoder": "resnet1"}}, "resnet1"),
        ("distil", {"teacher": {"image_encoder": "resnet1"}}, "resnet1"),
        ("classifier", {"teacher": {"image_encoder": "runs/none"}}, "runs/none"),
        ("born_again", {"teacher": {"run": "runs/none"}}, "runs/none"),
        ("bank", {"teacher": {"text_encoder": "no/such"}}, "no/such"),
    ],
)
def test_a_part_that_does_not_exist_is_refused_before_the_training(
    recipe_options: Make, tmp_path: Path, case: str, changes: dict[str, Any], name: str
) -> None:
    with pytest.raises(PicturebookError) as refused:
        run_recipe(recipe_options(case, tmp_path / "run", **changes))
    assert name in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_begun_before_a_setting_came_goes_on(recipe_options: Make, tmp_path: Path) -> None:
    options = recipe_options("supervised", tmp_path / "run")
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting("training student", 3))
    file = tmp_path / "run" / "run.toml"
    before = tomlkit.parse(file.read_text())
    del before["smoothing_text"]
    file.write_text(tomlkit.dumps(before))
    run = run_recipe(options, resume=True)
    assert run.finished
    assert "smoothing_text" in run.settings.read_text()
    before = tomlkit.parse(run.settings.read_text())
    del before["smoothing_text"]
    run.forget_checksum(run.settings)
    run.settings.write_text(tomlkit.dumps(before))
    run.note_checksum(run.settings)
    assert run_recipe(options, resume=True) == run
    assert run.damage() is None
    assert "smoothing_text" not in run.settings.read_text(), "a finished run is left as it is"


def test_a_taken_folder_is_refused_and_a_finished_run_is_left_as_it_is(
    recipe_options: Make, finished_run: Make, tmp_path: Path
) -> None:
    run = finished_run("supervised")
    options = load_options(run.settings)
    assert isinstance(options, RecipeOptions)
    written = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(RunError, match="exists already"):
        run_recipe(options)
    assert run_recipe(options, resume=True) == run
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == written
    with pytest.raises(RunError, match="other settings"):
        run_recipe(options.model_copy(update={"seed": 1}), resume=True)


@pytest.mark.parametrize(
    ("kind", "head", "residual"),
    [
        ("label_blind", {"mode": "own"}, True),
        ("label_blind", {"mode": "own", "residual": False}, False),
        ("unknown", {"mode": "own"}, False),
        ("label_blind", {"mode": "text"}, False),
    ],
)
def test_captions_that_do_not_know_the_label_answer_too_unless_a_setting_says_no(
    kind: str, head: dict[str, Any], residual: bool
) -> None:
    settings = {"recipe": "image_text", "out": "run", "data": {"root": "birds"}, "text": {"source": "column", "kind": kind}}
    options = parse_options({**settings, "teacher": {"head": head}}, source="run.toml")
    assert isinstance(options, ImageTextRecipe)
    assert options.teacher.head.residual is residual
    written = tomllib.loads(dump_options(options))
    assert written["teacher"]["head"]["residual"] is residual
    assert parse_options(written, source="run.toml") == options
