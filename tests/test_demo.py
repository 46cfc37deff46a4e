import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

import picturebook.demo
from command_line import CommandLine, command_line
from picturebook.config import load_options
from picturebook.demo import run_demo
from picturebook.runs import RunFolder
from picturebook.types import Reporter, Silence
from picturebook.writing import read_json

ARMS = ("supervised", "born_again", "distil", "image_text")
RUNS = ("teacher_encoder", *ARMS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the emoji are drawn once."""
    return tmp_path_factory.mktemp("demo-cache")


@pytest.fixture(autouse=True)
def demo_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTUREBOOK_CACHE", str(cache))


def demo(out: Path, *, model: str = "resnet10t", limit: int = 2) -> str:
    """A demo of seconds; its table as it is printed."""
    table = run_demo(out, model=model, reporter=Silence(), epochs=1, limit=limit)
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def files_and_times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"}


@pytest.mark.packages
def test_a_demo_is_five_runs_a_table_and_a_report_and_goes_on_where_it_stopped(tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "demo"
    table = demo(out, limit=6)
    for arm in RUNS:
        assert RunFolder.open(out / arm).finished
    rows = [line.strip("│ ").split("│")[0].strip() for line in table.splitlines() if line.startswith("│")]
    assert rows == list(ARMS)
    assert "Always saying the most common class" in table
    assert str(out / "report.html") in " ".join(table.split())
    check_report(out, num_test=read_json(out / "supervised" / "results.json")["models"]["student"]["test"]["num"])
    check_what_the_arms_share(out)

    before = files_and_times(out)
    (out / "report.html").unlink()
    assert [line for line in demo(out, limit=6).splitlines() if line.startswith("│")] == [
        line for line in table.splitlines() if line.startswith("│")
    ]
    assert files_and_times(out) == before, "nothing is trained again"
    assert (out / "report.html").is_file()


def check_report(out: Path, *, num_test: int) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="(data:image/[a-z]+;base64,[^"]{100,})"', page)
    assert len(pictures) == 16, "eight test pictures, each beside where its words look"
    assert len(set(pictures)) == 16
    assert "Learning curves" in page
    assert "Accuracy on the validation pictures" in page
    assert "Training loss" in page
    assert page.count("<svg") >= 3
    assert re.search(rf"\b{num_test} [a-z ]*drawings", page)
    assert "35 classes" in page
    assert "OpenMoji" in page
    assert "CC BY-SA 4.0" in page
    assert not re.search(r'(src|href)="(?!data:|#)(?!https?://)', page), "one file, whole in itself"
    assert not re.search(r'<(img|script|link)[^>]+(src|href)="https?:', page)


def check_what_the_arms_share(out: Path) -> None:
    """Every arm has the same data and student; the student shares no first weights with its teacher."""
    options = {arm: load_options(out / arm / "run.toml") for arm in RUNS}
    for arm in ARMS:
        assert options[arm].student == options["supervised"].student
        assert options[arm].data == options["supervised"].data
        assert options[arm].train == options["supervised"].train
        assert options[arm].seed == 0
    assert options["teacher_encoder"].seed == 1
    fingerprints = {arm: read_json(out / arm / "provenance.json")["fingerprints"] for arm in RUNS}
    assert len({fingerprint["data"] for fingerprint in fingerprints.values()}) == 1
    assert fingerprints["distil"]["image encoder"] == fingerprints["image_text"]["image encoder"]


@pytest.mark.packages
def test_no_text_of_the_demo_says_a_label(cache: Path, tmp_path: Path) -> None:
    demo_data = cache / "openmoji-2"
    if not demo_data.exists():
        picturebook.demo.build_openmoji(demo_data, limit=2)
    rows = [json.loads(line) for line in (demo_data / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    words = {word for row in rows for word in row["label"].split("_") if len(word) > 3}
    assert words
    for row in rows:
        assert not words & set(re.findall(r"[a-z]+", row["masked_text"].lower()))


@pytest.mark.packages
def test_a_vision_transformer_runs_too(tmp_path: Path) -> None:
    demo(tmp_path, model="vit_tiny_patch16_224")
    assert read_json(tmp_path / "image_text" / "teacher" / "teacher.json")["image_size"] == 64
    assert json.loads((tmp_path / "image_text" / "student" / "config.json").read_text())["architecture"] == "vit_tiny_patch16_224"
    assert (tmp_path / "report.html").is_file()


@pytest.mark.packages
def test_weights_that_come_in_a_package_teach(tmp_path: Path) -> None:
    demo(tmp_path, model="tf_efficientnet_lite0")
    for arm in ("distil", "image_text"):
        teacher = read_json(tmp_path / arm / "teacher" / "teacher.json")
        assert (teacher["image_encoder"], teacher["image_size"]) == ("package:efficientnet-lite0", 128)
    student = load_options(tmp_path / "image_text" / "run.toml").student
    assert (student.model, student.init) == ("tf_efficientnet_lite0", "scratch")


@pytest.mark.parametrize("model", ["tf_efficientnet_lite0", "package:efficientnet-lite0"])
def test_a_package_teaches_by_either_of_its_names(tmp_path: Path, model: str) -> None:
    arms = {arm.name: arm.settings for arm in picturebook.demo._arms(tmp_path, model)}
    for arm in ("distil", "image_text"):
        assert arms[arm]["teacher"]["image_encoder"] == "package:efficientnet-lite0"


def test_the_command_takes_folder_and_model(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def recorded(out: Path, *, model: str, reporter: Reporter) -> RenderableType:
        calls.append((out, model))
        reporter.say("[a remark]")
        return "the table"

    monkeypatch.setattr(picturebook.demo, "run_demo", recorded)
    answer = command_line(tmp_path_factory.getbasetemp())("demo", "--out", tmp_path, "--model", "resnet18")
    assert (answer.code, answer.out, answer.err) == (0, "the table\n", "[a remark]\n")
    assert calls == [(tmp_path, "resnet18")]


def test_an_unknown_model_is_refused_before_pictures_are_trained_on(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    picturebook_command: CommandLine = command_line(tmp_path_factory.getbasetemp())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picturebook.demo, "build_openmoji", lambda *_, **__: picturebook_command.data)
        sentence = picturebook_command.refusal("demo", "--out", tmp_path / "demo", "--model", "resnet10")
    assert sentence.startswith("There is no image encoder 'resnet10'. Did you mean 'resnet10t'?")
    assert not (tmp_path / "demo").exists() or not any((tmp_path / "demo").iterdir())
