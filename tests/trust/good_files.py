"""Good files of every format that is read, small, to be spoilt."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper
from PIL import Image

from picturebook.models.artefact import save_student, write_temperature
from picturebook.models.image_encoders import create_image_encoder
from picturebook.predict.onnx_model import INPUT, PROBABILITIES, OnnxMetadata
from picturebook.writing import npy, npz
from toy_runs import VIT
from toys import CLASSES, toy_picture

RUN = """\
recipe = "image_text"
seed = 3
out = "run"
device = "cpu"
[data]
root = "birds"
canvas_size = 32
split = { test = 0.2, val = 0.1, by = "group" }
[text]
source = "column"
kind = "label_blind"
[teacher]
image_encoder = "train"
head = { mode = "own", width = 16, num_heads = 2 }
[student]
model = "resnet10t"
model_args = { channels = [8, 8, 8, 8] }
image_size = 16
[train]
epochs = 2
batch_size = 16
learning_rate = 1e-3
"""
STUDY = """\
out = "study"
seeds = [0, 1]
contrasts = ["again - plain"]
[run]
data = { root = "birds", canvas_size = 32 }
student = { model = "resnet10t", image_size = 16, model_args = { channels = [8, 8, 8, 8] } }
train = { epochs = 1, batch_size = 16 }
[arms.plain]
recipe = "supervised"
[arms.again]
recipe = "born_again"
[tune]
arms = ["plain"]
trials = 2
space = { "train.learning_rate" = [1e-3, 3e-3] }
"""


def pictures() -> dict[str, bytes]:
    """Files by a name that says what they are."""
    rgb = toy_picture(0, 1).resize((24, 20))
    alpha = rgb.convert("RGBA")
    alpha.putalpha(rgb.convert("L"))
    deep = Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24) * 100)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [toy_picture(1, number) for number in range(3)]
    return {
        "plain.png": _saved(rgb, "PNG"),
        "alpha.png": _saved(alpha, "PNG"),
        "palette.png": _saved(rgb.convert("P"), "PNG", transparency=3),
        "deep.png": _saved(deep, "PNG"),
        "plain.jpg": _saved(rgb, "JPEG", exif=exif),
        "steps.jpg": _saved(rgb, "JPEG", progressive=True),
        "cmyk.jpg": _saved(rgb.convert("CMYK"), "JPEG"),
        "plain.webp": _saved(rgb, "WEBP"),
        "exact.webp": _saved(alpha, "WEBP", lossless=True),
        "frames.webp": _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "frames.gif": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "plain.bmp": _saved(rgb, "BMP"),
        "plain.tiff": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "deep.tiff": _saved(deep, "TIFF"),
        "plain.ppm": _saved(rgb, "PPM"),
    }


def _saved(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def rows() -> list[dict[str, object]]:
    """Of a table beside pictures."""
    names = [f"{name}/{index}.png" for name in CLASSES for index in range(3)]
    return [
        {"file_name": name, "label": name.split("/")[0], "text": f"a photo, of {number}", "group": number}
        for number, name in enumerate(names)
    ]


def tables() -> dict[str, bytes]:
    """metadata files."""
    lines = [
        "file_name,label,text,group",
        *(f'{row["file_name"]},{row["label"]},"{row["text"]}",{row["group"]}' for row in rows()),
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows()), buffer)
    return {
        "metadata.csv": ("\n".join(lines) + "\n").encode(),
        "metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows()).encode(),
        "metadata.parquet": buffer.getvalue(),
    }


def picture_parquet() -> bytes:
    """A data set of pictures in one parquet file."""
    buffer = io.BytesIO()
    data = [
        {"image": {"bytes": _saved(toy_picture(n % 3, n), "PNG"), "path": f"{n}.png"}, "label": CLASSES[n % 3]} for n in range(9)
    ]
    pq.write_table(pa.Table.from_pylist(data), buffer)
    return buffer.getvalue()


def write_student(folder: Path) -> None:
    """A student folder with a temperature."""
    encoder = create_image_encoder(VIT["model"], num_classes=3, image_size=16, model_args=VIT["model_args"])
    save_student(encoder, folder, label_names=CLASSES)
    write_temperature(folder, 1.5)


def onnx_file() -> bytes:
    """As `picturebook export` writes it, with the smallest network there is."""
    weights = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", [INPUT], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [PROBABILITIES]),
        ],
        "student",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in (PROBABILITIES, "logits")],
        [helper.make_tensor("weights", TensorProto.FLOAT, (3, 3), weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    about = OnnxMetadata(CLASSES, image_size=16, canvas_size=16, temperature=1.0, is_calibrated=True, picturebook_version="0")
    helper.set_model_props(model, about.to_properties())
    onnx.checker.check_model(model)
    return model.SerializeToString()


def arrays() -> dict[str, bytes]:
    """Files of numpy's formats."""
    generator = np.random.default_rng(0)
    split = {"ids": np.arange(6), "labels": np.arange(6) % 3, "logits": generator.normal(size=(6, 3)).astype(np.float32)}
    predictions = {f"{name}_{part}": value for name in ("val", "test") for part, value in split.items()}
    texts = {"keys": np.array(["a", "b"]), "vectors": generator.normal(size=(2, 4)).astype(np.float32)}
    return {"predictions.npz": npz(predictions), "texts.npz": npz(texts), "ids.npy": npy(np.arange(6))}
