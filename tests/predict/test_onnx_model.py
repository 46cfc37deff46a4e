"""ONNX files as models: they agree with their run, and others' are refused in a sentence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from scipy.special import softmax

from command_line import CLASSES, CommandLine
from picturebook.data.rows import sample_ids
from picturebook.errors import ModelError
from picturebook.models.artefact import read_temperature
from picturebook.predict.onnx_model import OnnxMetadata, open_onnx

ABOUT = OnnxMetadata(("ant", "bée 🐝"), 16, 32, 1.2345678901234567, True, "0.1.0")


def answers(picturebook: CommandLine, model: Path) -> list[dict[str, Any]]:
    answer = picturebook("predict", model, picturebook.data, "--top", "3", "--format", "jsonl")
    assert (answer.code, answer.err) == (0, "predicting: done\n")
    return [json.loads(line) for line in answer.out.splitlines()]


def by_class(row: dict[str, Any]) -> np.ndarray:
    found = dict(zip(row["classes"], row["probabilities"], strict=True))
    return np.array([found[name] for name in CLASSES])


def test_run_student_folder_and_onnx_file_agree(picturebook: CommandLine) -> None:
    run = picturebook.exported
    told = [answers(picturebook, model) for model in (run, run / "student", run / "export" / "student.onnx")]
    assert len(told[0]) == 36
    for rows in zip(*told, strict=True):
        assert len({row["file_name"] for row in rows}) == 1
        ours, *others = map(by_class, rows)
        for other in others:
            np.testing.assert_allclose(other, ours, atol=1e-4)


def test_what_they_say_is_the_calibrated_softmax_of_what_the_run_kept(picturebook: CommandLine) -> None:
    run = picturebook.exported
    rows = {row["file_name"]: by_class(row) for row in answers(picturebook, run / "export" / "student.onnx")}
    temperature = read_temperature(run / "student")
    assert temperature not in (None, 1.0)
    with np.load(run / "predictions.npz") as stored:
        kept = dict(zip(stored["test_ids"].tolist(), softmax(stored["test_logits"] / temperature, axis=1), strict=True))
    names = [Path(name).relative_to(picturebook.data).as_posix() for name in rows]
    told = dict(zip(sample_ids(names).tolist(), rows.values(), strict=True))
    assert kept
    for number, probabilities in kept.items():
        np.testing.assert_allclose(told[number], probabilities, atol=1e-4)


def test_metadata_come_back_as_they_were_written() -> None:
    assert OnnxMetadata.from_properties(ABOUT.to_properties()) == ABOUT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("class_names", "ant"),
        ("class_names", '{"ant": 1}'),
        ("class_names", "[1, 2]"),
        ("image_size", "16.5"),
        ("canvas_size", "0"),
        ("temperature", "nan"),
        ("temperature", "-1"),
    ],
)
def test_metadata_that_cannot_be_are_an_error(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        OnnxMetadata.from_properties(ABOUT.to_properties() | {name: value})


def write_foreign(path: Path, properties: dict[str, str], *, size: int = 16, output: str = "probabilities") -> None:
    """A network of one operation from somewhere else."""
    shape, float32 = ["batch", 3, size, size], onnx.TensorProto.FLOAT
    node = onnx.helper.make_node("Identity", ["images"], [output])
    values = [onnx.helper.make_tensor_value_info(name, float32, shape) for name in ("images", output)]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({}, "its metadata do not say 'class_names'"),
        (ABOUT.to_properties() | {"class_names": "ant"}, "Expecting value"),
        (ABOUT.to_properties() | {"image_size": "8"}, "expected images of shape [batch, 3, 8, 8], got [3, 16, 16]"),
        (ABOUT.to_properties(), "expected probabilities of shape [batch, 2], got [3, 16, 16]"),
    ],
)
def test_a_file_from_elsewhere_is_refused(
    picturebook: CommandLine, tmp_path: Path, properties: dict[str, str], reason: str
) -> None:
    write_foreign(tmp_path / "a.onnx", properties)
    sentence = picturebook.refusal("predict", tmp_path / "a.onnx", picturebook.data)
    assert sentence.startswith(f"{tmp_path / 'a.onnx'} was not written by picturebook ({reason}")
    assert sentence.endswith("take a file of `picturebook export RUN --to onnx`.")


@pytest.mark.parametrize("content", [b"", b"no network " * 30])
def test_a_file_that_is_no_network_is_refused(picturebook: CommandLine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    assert "is no whole ONNX file" in picturebook.refusal("predict", tmp_path / "a.onnx", picturebook.data)


def test_a_half_written_file_is_refused(picturebook: CommandLine, tmp_path: Path) -> None:
    whole = (picturebook.exported / "export" / "student.onnx").read_bytes()
    (tmp_path / "a.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is no whole ONNX file"):
        open_onnx(tmp_path / "a.onnx")


def test_a_missing_file_is_refused(picturebook: CommandLine, tmp_path: Path) -> None:
    sentence = picturebook.refusal("predict", tmp_path / "a.onnx", picturebook.data)
    assert sentence.startswith(f"There is no file {tmp_path / 'a.onnx'}")


def test_without_onnxruntime_a_sentence_says_what_to_install(picturebook: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = picturebook.exported / "export" / "student.onnx"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    sentence = picturebook.refusal("predict", file, picturebook.data)
    assert sentence == f"{file} needs onnxruntime, which is not installed: pip install 'picturebook[export]'"


def test_a_run_is_predicted_without_the_packages_of_onnx(picturebook: CommandLine) -> None:
    program = """
import sys
for name in ("onnx", "onnxruntime", "onnxscript"):
    sys.modules[name] = None
from picturebook.cli import main
main()
"""
    picture = picturebook.data / "apple" / "00.png"
    command = [sys.executable, "-c", program, "predict", str(picturebook.run), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith(str(picture))


def test_a_model_without_a_temperature_says_so(picturebook: CommandLine, tmp_path: Path) -> None:
    config = json.loads((picturebook.run / "student" / "config.json").read_text())
    del config["temperature"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((picturebook.run / "student" / "model.safetensors").read_bytes())
    answer = picturebook("predict", tmp_path, picturebook.data / "apple" / "00.png")
    assert answer.code == 0
    assert f"No temperature was fitted for {tmp_path}: its probabilities are the plain softmax." in answer.remarks
    (tmp_path / "config.json").write_text(json.dumps(config | {"temperature": 0}))
    assert "temperature needs to be a number above 0, got 0" in picturebook.refusal("predict", tmp_path, picturebook.data)
