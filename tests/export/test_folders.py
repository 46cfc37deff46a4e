"""Folders for timm and the hub, the model card, and what every kind of export refuses."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from command_line import CLASSES, CommandLine, contents
from picturebook.config import run_recipe
from picturebook.errors import ModelError, RunError
from picturebook.evaluate import open_classifier
from picturebook.export import export_run, folders
from picturebook.models.artefact import load_student, read_temperature
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.runs import RunFolder
from picturebook.types import Silence
from picturebook.writing import read_json, write_json
from toys import toy_picture

Make = Callable[..., Any]


@pytest.fixture
def run(picturebook: CommandLine, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(picturebook.run, tmp_path / "run"))


def front_matter(card: str) -> dict[str, Any]:
    _, matter, _ = card.split("---\n", 2)
    found = yaml.safe_load(matter)
    assert isinstance(found, dict)
    return found


def code(card: str) -> str:
    return card.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("kind", ["timm", "hub"])
def test_a_folder_is_the_student_whole(picturebook: CommandLine, run: Path, kind: str) -> None:
    assert picturebook("export", run, "--to", kind).code == 0
    folder = run / "export" / kind
    files = {"config.json", "model.safetensors"} | ({"README.md"} if kind == "hub" else set())
    assert {path.name for path in folder.iterdir()} == files
    encoder, classes = load_student(folder)
    assert classes == CLASSES
    assert weights_fingerprint(encoder) == weights_fingerprint(load_student(run / "student")[0])
    assert read_temperature(folder) == read_temperature(run / "student") is not None
    assert read_json(run / "export.json")[kind]["file"] == f"export/{kind}"


def test_a_run_that_keeps_no_temperature_with_its_student_hands_on_what_its_predictions_give(run: Path, tmp_path: Path) -> None:
    fitted = read_temperature(run / "student")
    (run / "checksums.json").unlink()
    config = read_json(run / "student" / "config.json")
    write_json(run / "student" / "config.json", {key: config[key] for key in config if key != "temperature"})
    assert open_classifier(run).temperature == fitted
    assert open_classifier(run / "student").temperature is None
    export_run(run, to="timm", out=tmp_path / "timm", cache=tmp_path, reporter=Silence())
    assert read_temperature(tmp_path / "timm") == fitted


def test_the_cards_program_runs_on_the_folder_and_on_the_hubs_form(picturebook: CommandLine, run: Path, tmp_path: Path) -> None:
    assert picturebook("export", run, "--to", "hub", "--out", tmp_path / "hub").code == 0
    toy_picture(1, 3).save(tmp_path / "photo.jpg")
    program = code((tmp_path / "hub" / "README.md").read_text(encoding="utf-8"))
    # The hub is played by the folder: its one function gives a file of a repository.
    hub = """
import sys
sys.modules["picturebook"] = None
import timm.models._hub as hub
from pathlib import Path
def download(repo_id, filename, **kwargs):
    assert repo_id == "OWNER/NAME"
    return str(Path("hub") / filename)
hub.hf_hub_download = download
"""
    both = hub + program.replace("hf-hub:OWNER/NAME", "local-dir:hub") + program
    done = subprocess.run(
        [sys.executable, "-I", "-c", both], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    from_folder, from_hub = done.stdout.splitlines()
    assert from_folder == from_hub
    name, probability = from_folder.split()
    answer = json.loads(picturebook("predict", tmp_path / "hub", tmp_path / "photo.jpg", "--format", "jsonl").out)
    assert answer["classes"] == [name]
    assert answer["probabilities"][0] == pytest.approx(float(probability), abs=2e-2)  # timm's own transform is another filter


def test_the_card_says_what_a_stranger_needs(picturebook: CommandLine, run: Path) -> None:
    audit = {"verdict": "WARN", "label": "reads captions", "reasons": ["L is 0.051."], "num": 7}
    write_json(run / "audit.json", audit)
    assert picturebook("export", run, "--to", "hub", "--licence", "apache-2.0").code == 0
    card = (run / "export" / "hub" / "README.md").read_text(encoding="utf-8")
    expected = {"license": "apache-2.0", "library_name": "timm", "pipeline_tag": "image-classification"}
    assert front_matter(card) == expected | {"tags": ["image-classification", "timm", "picturebook"]}
    test = read_json(run / "results.json")["models"]["student"]["test"]
    assert f"| this student | {100 * test['accuracy']:.1f}" in card
    assert f"{100 * test['low']:.1f}–{100 * test['high']:.1f}" in card
    assert f"| always the most common class | {100 * test['majority']:.1f}" in card
    for name in CLASSES:
        assert f"`{name}`" in card
    assert "No words took part in this run." in card
    assert "**WARN** (reads captions)" in card
    assert "- L is 0.051." in card
    assert f"T = {read_temperature(run / 'student'):.6g}, fitted on " in card
    assert 'model = "resnet10t"' in card
    assert "TODO" not in card
    assert str(picturebook.folder) not in card
    assert "under `apache-2.0`" in card


def test_without_a_licence_the_card_says_whom_to_ask(picturebook: CommandLine, run: Path) -> None:
    assert picturebook("export", run, "--to", "hub").code == 0
    card = (run / "export" / "hub" / "README.md").read_text(encoding="utf-8")
    assert front_matter(card)["license"] == "other"
    assert "ask them before you use or pass on the weights" in card


def test_a_card_of_a_run_with_words_says_what_they_knew(finished_run: Make, tmp_path: Path) -> None:
    told = {
        "own": "own text (column `text`), kind `label_blind`: written without knowledge of the label",
        "bank": "The names of the classes in a sentence, the same for every picture.",
        "supervised": "No words took part in this run.",
    }
    for case, words in told.items():
        export_run(finished_run(case).path, to="hub", out=tmp_path / case, cache=tmp_path, reporter=Silence())
        card = (tmp_path / case / "README.md").read_text(encoding="utf-8")
        assert words in card
        assert "## Audit" in card
        assert str(tmp_path.parent) not in card


def test_a_card_of_labels_smoothed_by_words_says_so(recipe_options: Make, toy_text_encoder: Path, tmp_path: Path) -> None:
    words = {"source": "classes", "text_encoder": str(toy_text_encoder)}
    run = run_recipe(recipe_options("supervised", tmp_path / "run", smoothing_text=words, loss={"label_smoothing": 0.1}))
    export_run(run.path, to="hub", out=tmp_path / "hub", cache=tmp_path, reporter=Silence())
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert "Labels were smoothed by words" in card
    assert "No words took part" not in card


def test_a_card_of_a_teacher_that_class_texts_taught_says_so(recipe_options: Make, tmp_path: Path) -> None:
    words = {"teacher": {"head": {"residual": True}}, "class_text": {"source": "classes"}}
    run = run_recipe(recipe_options("own", tmp_path / "run", **words))
    export_run(run.path, to="hub", out=tmp_path / "hub", cache=tmp_path, reporter=Silence())
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert "What is said of the classes taught the teacher too. The names of the classes in a sentence, the same for" in card


def test_a_student_that_timm_reads_otherwise_is_refused_and_leaves_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(images), 3)

    monkeypatch.setattr(folders, "timm_model_and_transform", lambda folder: (Other(), None))
    before = contents(run)
    with pytest.raises(ModelError, match="timm gives other logits"):
        export_run(run, to="timm", cache=run, reporter=Silence())
    assert contents(run) == before
    assert not (run / "export").exists()


@pytest.mark.parametrize("kind", ["onnx", "timm", "hub"])
def test_nothing_is_written_over(picturebook: CommandLine, run: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "there.onnx"
    target.write_text("mine")
    sentence = picturebook.refusal("export", run, "--to", kind, "--out", target)
    assert sentence == f"{target} exists already: remove it, or name another place with --out."
    assert target.read_text() == "mine"
    assert not (run / "export.json").exists()


def test_int8_needs_its_own_place_too(picturebook: CommandLine, run: Path, tmp_path: Path) -> None:
    (tmp_path / "a-int8.onnx").write_text("mine")
    assert "a-int8.onnx exists already" in picturebook.refusal(
        "export", run, "--to", "onnx", "--int8", "--out", tmp_path / "a.onnx"
    )
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("kind", ["timm", "hub"])
def test_a_place_that_cannot_be_written_is_a_sentence(picturebook: CommandLine, run: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("mine")
    sentence = picturebook.refusal("export", run, "--to", kind, "--out", tmp_path / "file" / "inside")
    assert "cannot be written" in sentence
    assert (tmp_path / "file").read_text() == "mine"


def test_where_the_run_cannot_be_written_nothing_is_exported(picturebook: CommandLine, run: Path, tmp_path: Path) -> None:
    (run / "export.json").mkdir()
    assert "export.json cannot be written" in picturebook.refusal("export", run, "--to", "timm", "--out", tmp_path / "timm")
    assert not (tmp_path / "timm").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--to", "onx"), "There is no kind of export 'onx'. Did you mean 'onnx'? Known: hub, onnx, timm."),
        (("--to", "hub", "--int8"), "--int8 takes effect with --to onnx only, got --to hub."),
        (("--to", "timm", "--licence", "mit"), "--licence takes effect with --to hub only, got --to timm."),
        (("--to", "onnx", "--out", "model"), "--out model: the file's name needs to end in .onnx, by which predict knows it."),
    ],
)
def test_what_takes_no_effect_is_refused(picturebook: CommandLine, run: Path, arguments: tuple[str, ...], sentence: str) -> None:
    assert picturebook.refusal("export", run, *arguments) == sentence


@pytest.mark.parametrize("licence", ["Apache 2.0", "mit\nevil: true", ""])
def test_a_licence_is_an_identifier(picturebook: CommandLine, run: Path, licence: str) -> None:
    assert "--licence needs an identifier of the hub" in " ".join(
        picturebook("export", run, "--to", "hub", "--licence", licence).err.split()
    )
    assert not (run / "export").exists()


def test_what_is_no_finished_run_is_refused(picturebook: CommandLine, run: Path, tmp_path: Path) -> None:
    assert "There is no run folder" in picturebook.refusal("export", tmp_path / "none", "--to", "timm")
    assert "holds no run.toml" in picturebook.refusal("export", run / "student", "--to", "timm")
    for name, reason in (("results.json", "is half written"), ("train_ids.npy", "train_ids.npy is missing")):
        kept = (run / name).read_bytes()
        (run / name).unlink()
        assert reason in picturebook.refusal("export", run, "--to", "timm")
        (run / name).write_bytes(kept)
    (run / "checksums.json").unlink()  # as in runs from before there were any
    (run / "predictions.npz").write_bytes((run / "predictions.npz").read_bytes()[:200])
    with pytest.raises(RunError, match=r"predictions\.npz is not whole"):
        export_run(run, to="hub", cache=tmp_path, reporter=Silence())
    (run / "student" / "model.safetensors").unlink()
    assert "is no finished model" in picturebook.refusal("export", run, "--to", "timm")
    assert not RunFolder(run).exported.exists()
