"""What a person can get wrong, as they meet it: one sentence, exit code 2, and nothing lost or left behind."""

from pathlib import Path

import pytest

from command_line import CommandLine, contents, sets, write_pictures, write_table

IMAGE_TEXT = ("recipe=image_text", "text.source=column", "teacher.head.mode=own", "student.image_size=32")


def refused(picturebook: CommandLine, tmp_path: Path, *overrides: str, data: Path | None = None) -> str:
    """The sentence of a training that is refused; nothing of it stays, and the data are as they were."""
    out = tmp_path / "out"
    root = picturebook.data if data is None else data
    before = contents(tmp_path), contents(picturebook.data)
    sentence = picturebook.refusal(
        "train", picturebook.run_file, *sets(f"out={out.as_posix()}", f"data.root={root.as_posix()}", *overrides)
    )
    assert not out.exists()
    assert (contents(tmp_path), contents(picturebook.data)) == before
    return sentence


# --- the pictures


def test_a_missing_folder(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = refused(picturebook, tmp_path, data=tmp_path / "nowhere")
    assert sentence.startswith(f"data.root: there is no folder or file {tmp_path / 'nowhere'}.")


def test_what_failed_is_not_called_done(picturebook: CommandLine, tmp_path: Path) -> None:
    for command in (("inspect", tmp_path), ("init", tmp_path, "--out", tmp_path / "RUN.toml")):
        assert picturebook(*command).err.splitlines()[0].startswith("picturebook: There are no pictures in")


def test_an_empty_folder(picturebook: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "There are no pictures in" in (sentence := refused(picturebook, tmp_path, data=tmp_path / "data"))
    assert "it is empty" in sentence


def test_one_class_alone(picturebook: CommandLine, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", classes=("apple",))
    sentence = refused(picturebook, tmp_path, data=tmp_path / "data")
    assert "All 12 pictures" in sentence
    assert "the label 'apple'; a classifier needs two classes or more" in sentence


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no class folders, no metadata file"),
        ("file_name,text", "metadata.csv has no column 'label', only file_name, text"),
        ("file_name,label", "the column 'label' of metadata.csv is empty in every row"),
    ],
)
def test_neither_labels_nor_class_folders(picturebook: CommandLine, tmp_path: Path, header: str | None, reason: str) -> None:
    write_pictures(tmp_path / "data", classes=("apple",))
    if header is not None:
        write_table(tmp_path / "data" / "apple", header, ["00.png,"])
    sentence = refused(picturebook, tmp_path, data=tmp_path / "data" / "apple")
    assert reason in sentence
    assert "add metadata.csv with the columns file_name and label" in sentence


def test_two_rows_for_one_picture(picturebook: CommandLine, tmp_path: Path, class_folders: Path) -> None:
    write_table(class_folders, "file_name,text", ["apple/00.png,one", "leaf/00.png,two", "apple/00.png,three"])
    sentence = refused(picturebook, tmp_path, data=class_folders)
    assert sentence.endswith("metadata.csv has two rows for apple/00.png (line 2 and line 4): keep one.")


def test_too_many_broken_pictures(picturebook: CommandLine, tmp_path: Path, class_folders: Path) -> None:
    for name in ("00", "01", "02", "03"):
        (class_folders / "sky" / f"{name}.png").write_bytes(b"")
    sentence = refused(picturebook, tmp_path, data=class_folders)
    assert sentence.startswith("4 files of 36 (11.1%) give no picture, more than data.max_broken_share = 0.1 allows: ")
    assert "sky/00.png (zero-byte file)" in sentence
    answer = picturebook(
        "train",
        picturebook.run_file,
        *sets(f"out={(tmp_path / 'out').as_posix()}", f"data.root={class_folders.as_posix()}", "data.max_broken_share=0.12"),
    )
    assert answer.code == 0
    assert answer.remarks.count("4 files skipped: zero-byte file") == 1


# --- the words


def test_text_asked_for_and_no_metadata(picturebook: CommandLine, tmp_path: Path, class_folders: Path) -> None:
    sentence = refused(picturebook, tmp_path, *IMAGE_TEXT, data=class_folders)
    assert sentence.startswith("There is no column 'text': ")
    assert sentence.endswith("has no metadata file beside its pictures. Add metadata.csv with it.")


def test_text_asked_for_and_no_such_column(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = refused(picturebook, tmp_path, *IMAGE_TEXT, "text.column=txt")
    assert sentence.startswith("There is no column 'txt'. Did you mean 'text'?")


def test_text_asked_for_and_all_empty(picturebook: CommandLine, tmp_path: Path, class_folders: Path) -> None:
    write_table(class_folders, "file_name,text", ["apple/00.png,", "leaf/00.png,"])
    assert "is empty in every row" in refused(picturebook, tmp_path, *IMAGE_TEXT, data=class_folders)


def test_class_names_as_own_words_must_be_called_privileged(
    picturebook: CommandLine, tmp_path: Path, toy_text_encoder: Path
) -> None:
    encoder = f"teacher.text_encoder={toy_text_encoder.as_posix()}"
    sentence = refused(picturebook, tmp_path, *IMAGE_TEXT, "text.source=classes", encoder)
    assert "tells the teacher the label: say text.kind = 'privileged', or take teacher.head.mode = 'bank'" in sentence


def test_a_bank_takes_class_texts_alone(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = refused(picturebook, tmp_path, *IMAGE_TEXT, "teacher.head.mode=bank")
    assert (
        sentence
        == "teacher.head.mode = 'bank' asks with class texts: need text.source = 'classes' or 'descriptions', got 'column'."
    )


def test_an_unknown_text_encoder(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = refused(picturebook, tmp_path, *IMAGE_TEXT, "teacher.text_encoder=package:all-MiniLM-L12-v2")
    assert "Did you mean 'package:all-MiniLM-L6-v2'?" in sentence


# --- models and runs


@pytest.mark.parametrize(
    ("overrides", "nearest"),
    [
        (["student.model=resnet10"], "resnet10t"),
        (["student.model_args={chanels=[8, 8, 8, 8]}"], "channels"),
        (["recipe=distil", "teacher.image_encoder=resnet10"], "resnet10t"),
        (["recipe=distil", "teacher.image_encoder=package:eficientnet-lite0"], "package:efficientnet-lite0"),
        ([*IMAGE_TEXT, "teacher.image_encoder=resnet10"], "resnet10t"),
    ],
)
def test_an_unknown_model(picturebook: CommandLine, tmp_path: Path, overrides: list[str], nearest: str) -> None:
    assert f"Did you mean '{nearest}'?" in refused(picturebook, tmp_path, *overrides)


@pytest.mark.parametrize("recipe", [("born_again", "teacher.run"), ("distil", "teacher.image_encoder")])
def test_a_teacher_run_that_is_not_there(picturebook: CommandLine, tmp_path: Path, recipe: tuple[str, str]) -> None:
    name, setting = recipe
    sentence = refused(picturebook, tmp_path, f"recipe={name}", f"{setting}={(tmp_path / 'none').as_posix()}")
    assert str(tmp_path / "none") in sentence


def test_a_teacher_run_with_other_classes(picturebook: CommandLine, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", classes=("apple", "leaf", "sea"))
    teacher = f"teacher.run={picturebook.run.as_posix()}"
    sentence = refused(picturebook, tmp_path, "recipe=born_again", teacher, data=tmp_path / "data")
    assert "knows other classes than these data (sea, sky)" in sentence


def test_a_run_folder_that_exists(picturebook: CommandLine) -> None:
    before = contents(picturebook.run)
    sentence = picturebook.refusal("train", picturebook.run_file)
    assert sentence == f"{picturebook.run} exists already: take another `out`, go on with --resume, or remove it."
    assert contents(picturebook.run) == before


def test_a_run_that_is_resumed_with_other_settings(picturebook: CommandLine) -> None:
    before = contents(picturebook.run)
    sentence = picturebook.refusal("train", picturebook.run_file, "--resume", "--set", "seed=5")
    assert "was started with other settings" in sentence
    assert contents(picturebook.run) == before


@pytest.mark.parametrize("arguments", [[], ["--resume"]])
def test_a_folder_of_pictures_as_run_folder(picturebook: CommandLine, class_folders: Path, arguments: list[str]) -> None:
    before = contents(class_folders)
    sentence = picturebook.refusal("train", picturebook.run_file, *arguments, "--set", f"out={class_folders.as_posix()}")
    assert str(class_folders) in sentence
    assert "remove it" not in sentence, "nobody is told to remove a folder that is no run"
    assert contents(class_folders) == before


@pytest.mark.parametrize("place", ["", "/run"])
def test_a_file_in_the_run_folders_place(picturebook: CommandLine, class_folders: Path, place: str) -> None:
    file = class_folders / "apple" / "00.png"
    before = contents(class_folders)
    sentence = picturebook.refusal("train", picturebook.run_file, "--set", f"out={file.as_posix()}{place}")
    assert str(file) in sentence
    assert contents(class_folders) == before


# --- settings


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("recipe=superviced", "There is no recipe 'superviced'. Did you mean 'supervised'?"),
        ("recipe=3", "need recipe = one of align, be_your_own_teacher, born_again, clip, "),
        ("sed=1", "sed: There is no setting 'sed'. Did you mean 'seed'?"),
        ("train.epoch=1", "train.epoch: There is no setting 'epoch'. Did you mean 'epochs'?"),
        ("data.split.tests=0.1", "data.split.tests: There is no setting 'tests'. Did you mean 'test'?"),
        ("data.columns.lable=x", "data.columns.lable: There is no setting 'lable'. Did you mean 'label'?"),
        ("train.epochs=many", "train.epochs: should be a valid integer, got 'many'."),
        ("train.epochs=2.5", "train.epochs: should be a valid integer, got 2.5."),
        ("data.root=3", "data.root: should be a valid string, got 3."),
        ("train.epochs=0", "train.epochs: should be greater than or equal to 1, got 0."),
        ("device=gpu", "device: should be 'auto', 'cpu', 'cuda' or 'mps', got 'gpu'."),
        ("data.split={test=0.6, val=0.5}", "data.split: test + val: need < 1"),
        ("student.image_size=96", "canvas_size = 32 is less than student.image_size = 96"),
        ("train.epochs.more=3", "epochs is a value, not a table."),
        ("train.epochs", "need path.to.setting=value."),
    ],
)
def test_a_setting_that_cannot_be(picturebook: CommandLine, tmp_path: Path, override: str, sentence: str) -> None:
    given = picturebook.refusal("train", picturebook.run_file, *sets(f"out={(tmp_path / 'out').as_posix()}", override))
    assert sentence in given
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_setting_in_the_file_names_the_file(picturebook: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "RUN.toml"
    file.write_text(picturebook.run_file.read_text().replace("batch_size", "batchsize").replace("/run", "/other"))
    sentence = picturebook.refusal("train", file)
    assert sentence.startswith(f"{file}: train.batchsize: There is no setting 'batchsize'. Did you mean 'batch_size'?")


def test_every_wrong_setting_is_named_at_once(picturebook: CommandLine) -> None:
    answer = picturebook("train", picturebook.run_file, *sets("out=never", "train.epoch=1", "sed=1"))
    assert answer.code == 2
    assert "'epoch'" in answer.err
    assert "'sed'" in answer.err


def test_no_settings_file(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = picturebook.refusal("train", tmp_path / "RUN.toml")
    assert sentence == f"There is no file {tmp_path / 'RUN.toml'}: write one with `picturebook init DATA`."


@pytest.mark.parametrize("content", [b"recipe: supervised\n", b"\xff\xfe", b'recipe = "super'])
def test_a_settings_file_that_is_no_toml(picturebook: CommandLine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "RUN.toml").write_bytes(content)
    assert "is no TOML that can be read" in picturebook.refusal("train", tmp_path / "RUN.toml")


def test_a_settings_file_without_the_needed_settings(picturebook: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "RUN.toml"
    file.write_text('recipe = "supervised"\nout = "runs/x"\n')
    assert picturebook.refusal("train", file) == f"{file}: data: this setting is needed."
