"""ONNX files: what is in them, that they answer as PyTorch does, and that nothing else is kept."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from command_line import CLASSES, CommandLine, contents
from picturebook import __version__
from picturebook.data.pictures import Pictures
from picturebook.errors import DataError, ModelError, RunError
from picturebook.evaluate import Classifier, open_classifier
from picturebook.export import command, export_run
from picturebook.export.onnx_file import write_onnx
from picturebook.export.parity import LIMIT, Parity, check_parity, compared_rows, measure_parity
from picturebook.export.source import Source
from picturebook.models.artefact import read_temperature
from picturebook.models.image_encoders import create_image_encoder
from picturebook.predict.onnx_model import PREPROCESSING, OnnxMetadata, OnnxModel, open_onnx
from picturebook.runs import RunFolder
from picturebook.types import Silence
from picturebook.writing import read_json

Make = Callable[..., Any]

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "resnet10t": {"channels": [8, 8, 8, 8]},
    "vit_tiny_patch16_224": {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2},
    "cifar_resnet20": {},
}


def student(name: str, temperature: float | None) -> Classifier:
    """A classifier of random weights and batch statistics whose answers differ."""
    encoder = create_image_encoder(name, num_classes=3, image_size=16, model_args=ARCHITECTURES[name], seed=5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in encoder.model.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.02 * torch.rand(tensor.shape, generator=generator)
    return Classifier(encoder.eval(), CLASSES, 24, None, np.empty(0, np.int64), temperature)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_file_answers_as_the_student_for_any_batch(name: str, tmp_path: Path) -> None:
    classifier = student(name, 0.25)
    write_onnx(Source(RunFolder(tmp_path), classifier), tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for batch in (1, 2, 7):
        images = torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            logits = classifier.encoder(images).numpy()
        probabilities, raw = session.run(["probabilities", "logits"], {"images": images.numpy()})
        exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64) / 0.25)
        np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(axis=1, keepdims=True), atol=1e-5)
        np.testing.assert_allclose(raw, logits, rtol=1e-4, atol=1e-5)
        assert np.ptp(probabilities) > 0.01


def test_a_file_says_what_it_is_and_nothing_of_where_it_was_made(picturebook: CommandLine) -> None:
    path = picturebook.exported / "export" / "student.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    temperature = read_temperature(picturebook.exported / "student")
    assert json.loads(said["class_names"]) == list(CLASSES)
    assert (said["image_size"], said["canvas_size"]) == ("16", "32")
    assert float(said["temperature"]) == temperature
    assert (said["is_calibrated"], said["preprocessing"]) == ("true", PREPROCESSING)
    assert said["picturebook_version"] == __version__
    assert [value.name for value in model.graph.output] == ["probabilities", "logits"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, [part.dim_value for part in shape[1:]]) == ("batch", [3, 16, 16])
    data = path.read_bytes()
    assert b"stack_trace" not in data
    assert str(Path(command.__file__).parents[1]).encode() not in data


def test_the_run_keeps_what_was_measured_and_the_person_reads_it(picturebook: CommandLine, tmp_path: Path) -> None:
    kept = read_json(picturebook.exported / "export.json")["onnx"]
    file = picturebook.exported / "export" / "student.onnx"
    assert (kept["file"], kept["bytes"]) == ("export/student.onnx", file.stat().st_size)
    assert kept["parity"]["num"] == 36  # all of them
    assert kept["parity"]["max_difference"] <= LIMIT
    assert kept["parity"]["agreement"] == 1
    assert kept["temperature"] == read_temperature(picturebook.exported / "student")
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    out = tmp_path / "out" / "é 🐦.onnx"
    answer = picturebook("export", run, "--to", "onnx", "--out", out)
    assert answer.code == 0
    assert "same likeliest class in 100.0" in answer.out
    assert "36 pictures (test, val, train): all that the run has, fewer than 100" in " ".join(answer.out.split())
    assert [path.name for path in out.parent.iterdir()] == ["é 🐦.onnx"]
    assert read_json(run / "export.json")["onnx"]["file"] == str(out)
    assert not (run / "export").exists()


def test_training_pictures_are_compared_only_where_others_are_few(toy_pictures: Pictures) -> None:
    rows, splits = compared_rows(toy_pictures)
    assert (sorted(rows), splits) == (list(range(48)), ("test", "val", "train"))
    many = np.arange(1000)
    spread = {"test": many[:600], "val": many[600:900], "train": many[900:]}
    object.__setattr__(pictures := Pictures(**fields(toy_pictures)), "rows", spread)
    rows, splits = compared_rows(pictures)
    assert (len(rows), splits) == (256, ("test", "val"))
    assert (rows[0], rows[-1]) == (0, 899)


def fields(pictures: Pictures) -> dict[str, Any]:
    return {name: getattr(pictures, name) for name in Pictures.__slots__}


def test_parity_is_the_greatest_difference_and_the_share_of_equal_answers(toy_pictures: Pictures) -> None:
    classifier = student("resnet10t", None)
    about = OnnxMetadata(CLASSES, 16, 16, 1.0, False, "0")
    asked: list[np.ndarray] = []

    def off(outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        probabilities = classifier.probabilities(torch.from_numpy(inputs["images"])).numpy()
        if not asked:
            probabilities[0] = np.eye(3)[probabilities[0].argmin()]
        asked.append(probabilities)
        return [probabilities]

    found = measure_parity(classifier, OnnxModel(about, off), toy_pictures, Silence())
    assert found.num == 48 == sum(len(part) for part in asked)
    assert found.max_difference >= 2 / 3
    assert found.agreement == 47 / 48
    with pytest.raises(ModelError, match="does not answer as the student does"):
        check_parity(found)


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_a_difference_past_the_limit_is_refused_and_one_within_it_is_not(difference: float) -> None:
    check_parity(Parity(100, ("test",), 0.9e-4, 1.0))
    with pytest.raises(ModelError, match="Nothing was kept"):
        check_parity(Parity(100, ("test",), difference, 1.0))


def test_a_file_that_answers_otherwise_is_removed(
    picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    before = contents(run)

    def write_another(source: Source, path: Path) -> None:
        write_onnx(Source(source.run, student("resnet10t", 0.25)), path)

    monkeypatch.setattr(command, "write_onnx", write_another)
    assert "does not answer as the student does" in picturebook.refusal("export", run, "--to", "onnx")
    assert contents(run) == before
    assert not (run / "export").exists()


def test_int8_stands_beside_it_with_the_accuracy_of_both(picturebook: CommandLine, tmp_path: Path) -> None:
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    answer = picturebook("export", run, "--to", "onnx", "--int8")
    assert answer.code == 0, answer
    assert "int8, accuracy on test" in answer.out
    whole, small = (run / "export" / name for name in ("student.onnx", "student-int8.onnx"))
    kept = read_json(run / "export.json")["onnx"]
    assert kept["int8"]["file"] == "export/student-int8.onnx"
    assert kept["int8"]["float32"]["accuracy"] == read_json(run / "results.json")["models"]["student"]["test"]["accuracy"]
    assert set(kept["int8"]["int8"]) == set(kept["int8"]["float32"]) >= {"split", "num", "accuracy", "low", "high"}
    assert kept["int8"]["parity"]["num"] == 36
    kinds = {name: {node.op_type for node in onnx.load(run / "export" / name).graph.node} for name in (whole.name, small.name)}
    assert "QuantizeLinear" in kinds[small.name] - kinds[whole.name]
    assert open_onnx(small).about == open_onnx(whole).about
    assert sorted(path.name for path in (run / "export").iterdir()) == ["student-int8.onnx", "student.onnx"]


def test_an_int8_export_that_was_cut_off_between_its_files_is_made_whole_by_the_same_command(
    picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(shutil.copytree(picturebook.exported, tmp_path / "run"))
    whole = (run.exported / "student.onnx").rename(tmp_path / "whole.onnx")
    monkeypatch.setattr(command, "write_onnx", lambda source, path: shutil.copyfile(whole, path))
    monkeypatch.setattr(command, "write_int8", lambda exported, out, images, *, about: shutil.copyfile(exported, out))
    named: list[str] = []
    rename = Path.rename

    def cut(path: Path, target: Path) -> Path:
        if named:
            raise KeyboardInterrupt
        named.append(target.name)
        return rename(path, target)

    def export() -> list[str]:
        export_run(run.path, to="onnx", int8=True, cache=picturebook.cache, reporter=Silence())
        return sorted(path.name for path in run.exported.iterdir())

    monkeypatch.setattr(Path, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        export()
    monkeypatch.setattr(Path, "rename", rename)
    assert [path.name for path in run.exported.iterdir()] == named == ["student-int8.onnx"]
    assert run.export_damage() is None
    assert export() == ["student-int8.onnx", "student.onnx"]
    assert run.export_damage() is None

    (run.exported / "student.onnx").unlink()
    small = run.exported / named[0]
    small.write_bytes(small.read_bytes()[:-1])
    assert str(run.export_damage()).endswith(f"Remove {small}, and export again.")
    with pytest.raises(RunError, match=r"student-int8\.onnx exists already"):
        export()


def test_a_run_without_validation_labels_keeps_the_plain_softmax_and_says_so(picturebook: CommandLine, tmp_path: Path) -> None:
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    config = json.loads((run / "student" / "config.json").read_text())
    (run / "student" / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "temperature"}))
    for name in ("predictions.npz", "checksums.json"):
        (run / name).unlink()
    answer = picturebook("export", run, "--to", "onnx")
    assert answer.code == 0
    assert "T = 1 and probabilities are the plain softmax" in answer.out
    about = open_onnx(run / "export" / "student.onnx").about
    assert (about.temperature, about.is_calibrated) == (1.0, False)
    assert open_classifier(run).temperature is None


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_before_anything_is_read(
    picturebook: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    sentence = picturebook.refusal("export", tmp_path / "none", "--to", "onnx")
    assert sentence == f"An ONNX file needs {package}, which is not installed: pip install 'picturebook[export]'"


def test_other_data_than_the_runs_are_refused(picturebook: CommandLine, tmp_path: Path) -> None:
    run = shutil.copytree(picturebook.run, tmp_path / "run")
    data = shutil.copytree(picturebook.data, tmp_path / "data")
    (run / "checksums.json").unlink()
    settings = (run / "run.toml").read_text()
    (run / "run.toml").write_text(settings.replace(picturebook.data.as_posix(), data.as_posix()))
    (data / "apple").rename(data / "zebra")
    (data / "metadata.csv").unlink()
    with pytest.raises(DataError, match="has other classes than"):
        export_run(run, to="onnx", cache=tmp_path / "cache", reporter=Silence())
    shutil.rmtree(data)
    with pytest.raises(DataError, match="there is no folder or file"):
        export_run(run, to="onnx", cache=tmp_path / "cache", reporter=Silence())
    assert not (run / "export").exists()
