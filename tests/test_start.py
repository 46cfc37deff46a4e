import tomllib
from pathlib import Path

import pytest

from command_line import CommandLine, contents, write_pictures, write_table
from picturebook.config import load_options
from picturebook.recipes.image_text import ImageTextRecipe
from picturebook.runs import read_json

SMALL = (
    "device=cpu",
    "precision=fp32",
    "student.model_args={channels=[8, 8, 8, 8]}",
    "teacher.head.width=16",
    "teacher.train.epochs=1",
    "train.epochs=1",
)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    return tmp_path / "RUN.toml"


def written(picturebook: CommandLine, data: Path, run_file: Path) -> ImageTextRecipe:
    """The settings that `init` writes for the data, as `train` reads them."""
    answer = picturebook("init", data, "--out", run_file)
    assert answer.code == 0, answer
    assert answer.out == f"Wrote {run_file}. Look it over, then: picturebook train {run_file}\n"
    options = load_options(run_file)
    assert isinstance(options, ImageTextRecipe)
    assert options.data.root == str(data)
    return options


def trained(picturebook: CommandLine, run_file: Path, out: Path, *overrides: str) -> None:
    words = [word for override in (f"out={out.as_posix()}", *SMALL, *overrides) for word in ("--set", override)]
    answer = picturebook("train", run_file, *words)
    assert answer.code == 0, answer
    assert "student" in read_json(out / "results.json")["models"]


def test_pictures_with_texts_get_a_teacher_that_reads_them(
    picturebook: CommandLine, run_file: Path, tmp_path: Path, toy_text_encoder: Path
) -> None:
    options = written(picturebook, picturebook.data, run_file)
    assert (options.text.source, options.text.column, options.text.kind) == ("column", None, "unknown")
    assert options.teacher.head.mode == "own"
    trained(picturebook, run_file, tmp_path / "run", f"teacher.text_encoder={toy_text_encoder.as_posix()}")
    assert "teacher with the pictures' own words (unknown)" in read_json(tmp_path / "run" / "results.json")["models"]


def test_pictures_without_texts_get_a_bank_of_class_texts(
    picturebook: CommandLine, run_file: Path, tmp_path: Path, toy_text_encoder: Path
) -> None:
    write_pictures(tmp_path / "data")
    options = written(picturebook, tmp_path / "data", run_file)
    assert (options.text.source, options.text.column, options.teacher.head.mode) == ("classes", None, "bank")
    trained(picturebook, run_file, tmp_path / "run", f"teacher.text_encoder={toy_text_encoder.as_posix()}")


def test_few_texts_are_not_enough(picturebook: CommandLine, run_file: Path, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "data")
    write_table(tmp_path / "data", "file_name,text", [f"{name},words" for name in names[:18]])
    assert written(picturebook, tmp_path / "data", run_file).teacher.head.mode == "bank"


def test_groups_of_the_table_split_the_data(picturebook: CommandLine, run_file: Path, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "data")
    write_table(tmp_path / "data", "file_name,group", [f"{name},{name[:-5]}{int(name[-5]) // 2}" for name in names])
    options = written(picturebook, tmp_path / "data", run_file)
    assert options.data.split.by == "group"
    trained(picturebook, run_file, tmp_path / "run", "recipe=image_text", "text.source=none", "teacher.head.mode=linear")
    test = read_json(tmp_path / "run" / "results.json")["models"]["student"]["test"]
    assert "groups" in test["interval"]


def test_pictures_without_groups_are_split_by_class(picturebook: CommandLine, run_file: Path) -> None:
    options = written(picturebook, picturebook.data, run_file)
    assert options.data.split.by == "stratified"
    assert options.data.canvas_size >= options.student.image_size
    assert options.out == f"runs/{picturebook.data.name}"


@pytest.mark.parametrize("name", ['my "birds"', "Vögel [neu]", "back\\slash", "a 'b' #c"])
def test_any_folder_name_gives_a_file_that_can_be_read(
    picturebook: CommandLine, run_file: Path, tmp_path: Path, name: str
) -> None:
    write_pictures(tmp_path / name)
    assert written(picturebook, tmp_path / name, run_file).out == f"runs/{name}"


def test_the_working_directory_gives_its_own_name(
    picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "birds")
    monkeypatch.chdir(tmp_path / "birds")
    assert written(picturebook, Path(), Path("../RUN.toml")).out == "runs/birds"


def test_what_was_found_stands_in_the_file(picturebook: CommandLine, run_file: Path, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "data")
    (tmp_path / "data" / "sky" / "11.png").write_bytes(b"")
    write_table(tmp_path / "data", "file_name,label", [f"{n},{'' if n.endswith('00.png') else n.split('/')[0]}" for n in names])
    written(picturebook, tmp_path / "data", run_file)
    comments = [line for line in run_file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert comments[0].endswith("35 pictures, 3 classes, 3 without a label.")
    assert "# 1 file skipped: zero-byte file (sky/11.png)" in comments


def test_every_table_but_out_and_root_is_a_setting_somebody_may_change(picturebook: CommandLine, run_file: Path) -> None:
    written(picturebook, picturebook.data, run_file)
    settings = tomllib.loads(run_file.read_text(encoding="utf-8"))
    assert list(settings) == ["recipe", "seed", "out", "data", "student", "text", "teacher", "loss", "train"]


def test_a_file_that_exists_is_kept(picturebook: CommandLine, run_file: Path) -> None:
    run_file.write_text("mine")
    sentence = picturebook.refusal("init", picturebook.data, "--out", run_file)
    assert sentence == f"{run_file} exists already: name another file with --out."
    assert run_file.read_text() == "mine"


def test_data_that_cannot_be_used_give_no_file(picturebook: CommandLine, run_file: Path, tmp_path: Path) -> None:
    assert "there is no folder or file" in picturebook.refusal("init", tmp_path / "none", "--out", run_file)
    write_pictures(tmp_path / "one", classes=("apple",))
    assert "two classes" in picturebook.refusal("init", tmp_path / "one", "--out", run_file)
    assert not run_file.exists()
    assert set(contents(tmp_path)) == {f"one/apple/{index:02d}.png" for index in range(12)}
