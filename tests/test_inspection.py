import json
import shutil
import tomllib
from pathlib import Path

import pytest

from command_line import CommandLine, contents, write_pictures, write_table
from picturebook.writing import read_json


@pytest.fixture
def run(picturebook: CommandLine, tmp_path: Path) -> Path:
    """A copy of the finished run, to be broken."""
    return shutil.copytree(picturebook.run, tmp_path / "run")


def test_data_come_as_json_and_nothing_else(picturebook: CommandLine) -> None:
    answer = picturebook("inspect", picturebook.data, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert found["root"] == str(picturebook.data)
    assert (found["num_rows"], found["num_unlabelled"], found["num_groups"]) == (36, 0, None)
    assert list(found["classes"]) == ["apple", "leaf", "sky"]
    assert all(sum(counts.values()) == 12 for counts in found["classes"].values())
    assert found["heights"] == found["widths"] == {"minimum": 16, "median": 16.0, "maximum": 16}
    assert found["texts"] == {"column": "text", "num_rows": 36, "num_distinct": 12, "mean_words": 2.0, "named": 0.0}
    assert found["split"] == {"test": 0.2, "val": 0.15, "by": "stratified"}
    assert found["duplicates"] == {"num_clusters": 0, "num_pictures": 0}
    assert found["findings"] == []


def test_the_splits_are_those_of_a_run_on_these_data(picturebook: CommandLine) -> None:
    split = tomllib.loads((picturebook.run / "run.toml").read_text())["data"]["split"]
    said = [word for name, value in split.items() for word in ("--set", f"split.{name}={str(value).lower()}")]
    classes = json.loads(picturebook("inspect", picturebook.data, "--json", *said).out)["classes"].values()
    rows = read_json(picturebook.run / "provenance.json")["rows"]
    assert {split: sum(counts[split] for counts in classes) for split in rows} == rows


def test_the_splits_are_those_that_init_would_write(picturebook: CommandLine, tmp_path: Path) -> None:
    picturebook("init", picturebook.data, "--out", tmp_path / "RUN.toml")
    written = tomllib.loads((tmp_path / "RUN.toml").read_text())["data"]["split"]
    assert json.loads(picturebook("inspect", picturebook.data, "--json").out)["split"] == written


def test_words_are_looked_for_in_the_usual_columns(picturebook: CommandLine, tmp_path: Path) -> None:
    names = write_pictures(tmp_path)
    write_table(tmp_path, "file_name,caption", [f"{name},{'an apple' if 'apple' in name else 'a thing'}" for name in names])
    texts = json.loads(picturebook("inspect", tmp_path, "--json").out)["texts"]
    assert (texts["column"], texts["num_rows"], texts["named"]) == ("caption", 36, pytest.approx(1 / 3))
    write_table(tmp_path, "file_name,remark", [f"{name},a thing" for name in names])
    found = json.loads(picturebook("inspect", tmp_path, "--json").out)
    assert (found["texts"], found["no_words"]) == (
        None,
        "none in a column text, caption, captions, description; another: --set columns.text=NAME",
    )


def test_settings_of_the_data_can_be_tried(picturebook: CommandLine, tmp_path: Path) -> None:
    names = write_pictures(tmp_path)
    write_table(tmp_path, "file_name,caption,scene", [f"{name},a {name[-6:-4]},{name[:-5]}" for name in names])
    overrides = ("columns.text=caption", "data.columns.group=scene", "split.by=group", "data.split.test=0.4")
    answer = picturebook("inspect", tmp_path, "--json", *(word for override in overrides for word in ("--set", override)))
    assert answer.code == 0, answer
    found = json.loads(answer.out)
    assert found["num_groups"] == 6
    assert found["texts"]["num_rows"] == 36
    assert all(counts["test"] in (2, 10) for counts in found["classes"].values()), "whole groups of 10 or 2"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("splitt.by=hash", "There is no setting 'splitt'. Did you mean 'split'?"),
        ("split.by=group", "there is no group column"),
        ("columns.text=caption", "There is no column 'caption'."),
    ],
)
def test_settings_that_cannot_be_are_refused(picturebook: CommandLine, override: str, sentence: str) -> None:
    assert sentence in picturebook.refusal("inspect", picturebook.data, "--set", override)


def test_copies_are_found(picturebook: CommandLine, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    shutil.copy(tmp_path / "apple" / "00.png", tmp_path / "apple" / "copy.png")
    shutil.copy(tmp_path / "apple" / "00.png", tmp_path / "leaf" / "copy.png")
    found = json.loads(picturebook("inspect", tmp_path, "--json").out)
    assert found["duplicates"] == {"num_clusters": 1, "num_pictures": 3}
    (finding,) = found["findings"]
    assert finding == ("3 files noted: near duplicates with different labels (apple/00.png, apple/copy.png, leaf/copy.png)")


def test_more_broken_files_than_a_run_allows_are_listed_all_the_same(picturebook: CommandLine, tmp_path: Path) -> None:
    write_pictures(tmp_path)
    for index in range(10):
        (tmp_path / "sky" / f"{index:02d}.png").write_bytes(b"")
    answer = picturebook("inspect", tmp_path, "--json")
    assert answer.code == 0, answer
    assert "10 files skipped: zero-byte file (sky/00.png, sky/01.png, sky/02.png, …)" in json.loads(answer.out)["findings"]


def test_the_table_says_what_json_says(picturebook: CommandLine) -> None:
    answer = picturebook("inspect", picturebook.data)
    assert answer.err == "decoding pictures: done\ncounting the splits: done\n"
    for words in ("pictures", "36", "apple: train", "different ones: 12", "findings"):
        assert words in answer.out
    assert "num_" not in answer.out
    assert "None" not in answer.out, "what the data do not have is left out"


def test_looking_leaves_the_data_as_they_are(picturebook: CommandLine) -> None:
    before = contents(picturebook.data)
    picturebook("inspect", picturebook.data)
    assert contents(picturebook.data) == before


def test_a_missing_folder_is_refused(picturebook: CommandLine, tmp_path: Path) -> None:
    assert "there is no folder or file" in picturebook.refusal("inspect", tmp_path / "none")


def test_a_run_says_what_it_holds(picturebook: CommandLine) -> None:
    answer = picturebook("inspect", picturebook.run, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    test = read_json(picturebook.run / "results.json")["models"]["student"]["test"]
    assert found["student"] == 'resnet10t {"channels": [8, 8, 8, 8]}, 16 px, 3 classes'
    assert found["accuracy"]["student, test"] == f"{100 * test['accuracy']:.1f} % of {test['num']}"
    assert (found["seed"], found["epochs logged"]) == (0, 1)
    assert sum(found["rows"].values()) == 36
    assert found["files verified"] == 9
    table = picturebook("inspect", picturebook.run)
    assert found["student"] in table.out
    assert found["student weights"] in table.out


def test_the_accuracy_of_a_teacher_whose_audit_failed_is_not_shown(picturebook: CommandLine, run: Path) -> None:
    results = read_json(run / "results.json")
    results["models"]["teacher with own words, label-privileged"] = results["models"]["student"]
    (run / "results.json").write_text(json.dumps(results))
    (run / "checksums.json").unlink()
    found = json.loads(picturebook("inspect", run, "--json").out)["accuracy"]
    assert found["teacher with own words, label-privileged, test"] == "not shown"


def broken(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"cut off": content[:-5], "empty": b"", "changed": bytes([content[0] ^ 1]) + content[1:]}[how])


@pytest.mark.parametrize("how", ["cut off", "empty", "changed"])
@pytest.mark.parametrize(
    "name", ["student/model.safetensors", "student/config.json", "classes.json", "provenance.json", "predictions.npz", "run.toml"]
)
def test_a_run_with_a_broken_file_is_refused_by_its_checksums(picturebook: CommandLine, run: Path, name: str, how: str) -> None:
    broken(run / name, how)
    sentence = picturebook.refusal("inspect", run)
    assert f"{run} is damaged: {name}" in sentence
    assert "--resume" in sentence


@pytest.mark.parametrize("name", ["student/model.safetensors", "classes.json", "provenance.json"])
def test_a_run_without_one_of_its_files_is_refused(picturebook: CommandLine, run: Path, name: str) -> None:
    (run / name).unlink()
    assert f"{name} is missing" in picturebook.refusal("inspect", run)


def test_a_damaged_run_is_made_again_and_is_the_same(picturebook: CommandLine, run: Path) -> None:
    before = (run / "student" / "model.safetensors").read_bytes()
    broken(run / "student" / "model.safetensors", "changed")
    settings = run / "run.toml"
    settings.write_text(settings.read_text().replace(str(picturebook.run), str(run)))
    answer = picturebook("train", settings, "--resume")
    assert f"{run} is damaged: run.toml" in " ".join(answer.remarks.split())
    assert (run / "student" / "model.safetensors").read_bytes() == before
    assert picturebook("inspect", run).code == 0


# ---- a run from before there were checksums ---------------------------------------------------------------------------------


@pytest.fixture
def old_run(run: Path) -> Path:
    (run / "checksums.json").unlink()
    return run


def test_an_old_run_says_that_it_has_none(picturebook: CommandLine, old_run: Path) -> None:
    found = json.loads(picturebook("inspect", old_run, "--json").out)
    assert found["files verified"].startswith("none: the run is from before")


def test_an_old_run_with_broken_weights_is_refused(picturebook: CommandLine, old_run: Path) -> None:
    weights = old_run / "student" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert str(old_run / "student") in picturebook.refusal("inspect", old_run)


def test_an_old_run_with_other_class_names_is_refused(picturebook: CommandLine, old_run: Path) -> None:
    (old_run / "classes.json").write_text('["apple", "leaf", "sea"]')
    assert "has other class names than" in picturebook.refusal("inspect", old_run)


@pytest.mark.parametrize("name", ["classes.json", "provenance.json", "results.json"])
def test_an_old_run_with_half_a_file_is_refused(picturebook: CommandLine, old_run: Path, name: str) -> None:
    (old_run / name).write_bytes((old_run / name).read_bytes()[:-5])
    assert f"{old_run / name} is not whole" in picturebook.refusal("inspect", old_run)
