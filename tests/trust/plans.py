"""What an enemy would think of who knows the formats: bombs, links, pipes, paths that lead out, code in place of data."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from good_files import RUN, STUDY
from guarded import Input
from hostile import Corpus, Files, write
from onnx import TensorProto, helper

from toys import noise_png

Prepare = Callable[[Path], None]


class Evil:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: int | None = None) -> bytes:
    """A PNG of zeros that says it is so large."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    compressor = zlib.compressobj(1)
    line = b"\0" * (1 + width * samples * depth // 8)
    data = b"".join(compressor.compress(line) for _ in range(height if rows is None else rows)) + compressor.flush()
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks
    )


def picture_plans() -> Files:
    """Pictures by what is wrong with them."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo("../../pwned")
        archive.addfile(member, io.BytesIO(b""))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../pwned", noise_png(1))
    return {
        "bomb of 40,000,000,000 pixels.png": png(200_000, 200_000, rows=1),
        "bomb of 99,000,000 pixels.png": partial(png, 11_000, 9_000),
        "bomb with alpha.png": partial(png, 11_000, 9_000, colour=6),
        "bomb of 16 bits.png": partial(png, 11_000, 9_000, depth=16, colour=0),
        "wide.png": png(99_999_999, 1, rows=1),
        "no pixels.png": png(0, 0),
        "two in one.png": noise_png(1) + noise_png(2),
        "a tar.png": tar.getvalue(),
        "a zip.png": zipped.getvalue(),
        "a pickle.png": pickle.dumps(Evil()),
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch pwned) (w) file\n",
        "svg.png": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
        "imagemagick.png": b"push graphic-context\nfill 'url(https://127.0.0.1/\"|touch pwned\")'\npop graphic-context\n",
        "many frames.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0" * 6 + b"," * 100_000,
    }


def in_data(make: Prepare, corpus: Corpus) -> Prepare:
    """Good class folders, in which `make` does its work."""

    def prepare(place: Path) -> None:
        write(corpus.data, place)
        make(place / "data")

    return prepare


def _fifo(data: Path) -> None:
    os.mkfifo(data / "apple" / "pipe.png")


def _link_to(target: str) -> Prepare:
    return lambda data: (data / "apple" / "link.png").symlink_to(target)


def _loop(data: Path) -> None:
    (data / "apple" / "again").symlink_to(data)
    (data / "apple" / "self.png").symlink_to("self.png")


def _sparse(data: Path) -> None:
    with (data / "apple" / "large.png").open("wb") as file:
        file.truncate(2**35)


def _gzip_bomb(stated: int) -> Prepare:
    """4 GB of pictures, whose header states another size."""

    def make(data: Path) -> None:
        header = gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", stated, 2**10, 2**6))
        content = header + 64 * gzip.compress(bytes(2**26), 1)
        for prefix in ("train", "t10k"):
            (data / f"{prefix}-images-idx3-ubyte.gz").write_bytes(content)
            (data / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(content)

    return make


def data_plans(corpus: Corpus) -> dict[str, Prepare]:
    """Data roots by what is wrong with them."""
    table = {
        name: _metadata(name)
        for name in ("../../outside.png", "/etc/passwd", "apple/../../outside.png", "C:\\win.ini", "a\0b", "\ud800", "")
    }
    plans = {f"a table that names {name!r}": in_data(make, corpus) for name, make in table.items()}
    places = {
        "a pipe for a picture": _fifo,
        "a link to /dev/zero": _link_to("/dev/zero"),
        "a link to /etc/passwd": _link_to("/etc/passwd"),
        "a link to /proc/self/mem": _link_to("/proc/self/mem"),
        "a dangling link": _link_to("nowhere"),
        "links in a circle": _loop,
        "a picture of 32 GB": _sparse,
        "a gzip bomb": _gzip_bomb(2**16),
        "a gzip bomb that states little": _gzip_bomb(2),
        "a table of one endless field": lambda data: (data / "metadata.csv").write_bytes(
            b"file_name,label\n" + b'"' + b"x" * 2**25
        ),
        "a table nested without end": lambda data: (data / "metadata.jsonl").write_bytes(b'{"file_name":' + b"[" * 200_000),
        "a table of numbers without end": lambda data: (data / "metadata.jsonl").write_bytes(
            b'{"file_name": ' + b"9" * 10**6 + b"}"
        ),
        "a table of lone surrogates": lambda data: (data / "metadata.jsonl").write_bytes(
            b'{"file_name": "apple/0.png", "label": "\\ud800", "text": "\\udfff"}\n{"file_name": "leaf/0.png", "label": "a"}\n'
        ),
        "a parquet table of one row a hundred million times": _parquet_bomb,
        "a table that is a folder": lambda data: (data / "metadata.csv").mkdir(),
        "a table that is a pipe": lambda data: os.mkfifo(data / "metadata.csv"),
    }
    return plans | {name: in_data(make, corpus) for name, make in places.items()}


def _metadata(name: str) -> Prepare:
    line = json.dumps({"file_name": name, "label": "apple"}).encode()
    return lambda data: (data / "metadata.jsonl").write_bytes(line + b'\n{"file_name": "leaf/0.png", "label": "leaf"}\n') and None


def _parquet_bomb(data: Path) -> None:
    schema = pa.schema([("file_name", pa.dictionary(pa.int32(), pa.string())), ("label", pa.dictionary(pa.int32(), pa.string()))])
    indices = pa.array(np.zeros(10**6, dtype=np.int32))
    batch = pa.record_batch(
        [pa.DictionaryArray.from_arrays(indices, [text]) for text in ("apple/0.png", "x" * 1000)], schema=schema
    )
    with pq.ParquetWriter(data / "metadata.parquet", schema) as writer:
        for _ in range(100):
            writer.write_batch(batch)


def student_plans(corpus: Corpus) -> dict[str, Files]:
    """Student folders by what is wrong with them."""
    config = json.loads(corpus.student["student/config.json"])
    arguments = {
        "a checkpoint of its own": {"checkpoint_path": "evil.pth"},
        "a cache of its own": {"cache_dir": "/tmp/evil-cache"},
        "weights from elsewhere": {"pretrained_cfg_overlay": {"source": "", "file": "evil.pth"}},
        "weights from the net": {"pretrained_cfg_overlay": {"source": "url", "url": "http://127.0.0.1:9/evil.pth"}},
        "a model that is too deep": {"depth": 10**9},
        "a model that is too wide": {"embed_dim": 10**9},
        "a picture that is too large": {"img_size": 10**6},
        "patches of nothing": {"patch_size": 0},
        "a layer by name": {"norm_layer": "os.system", "act_layer": "__import__('os').system"},
    }
    plans = {name: {**config, "model_args": config["model_args"] | change} for name, change in arguments.items()}
    changes = {
        "another architecture": {"architecture": "vit_giant_patch14_dinov2"},
        "an architecture of the net": {"architecture": "hf-hub:evil/model"},
        "an architecture of a path": {"architecture": "local-dir:/etc"},
        "a picture of 100,000 pixels": {"pretrained_cfg": {**config["pretrained_cfg"], "input_size": [3, 100_000, 100_000]}},
        "a million classes": {"num_classes": 10**9},
        "names that are no list": {"label_names": 7},
        "weights from a url": {
            "pretrained_cfg": {**config["pretrained_cfg"], "url": "http://127.0.0.1:9/x.pth", "source": "url", "file": None}
        },
        "weights from the hub": {"pretrained_cfg": {**config["pretrained_cfg"], "hf_hub_id": "evil/model", "source": "hf-hub"}},
        "a mean of text": {"pretrained_cfg": {**config["pretrained_cfg"], "mean": "abc"}},
    }
    plans |= {name: config | change for name, change in changes.items()}
    files = {name: corpus.student | {"student/config.json": json.dumps(plan).encode()} for name, plan in plans.items()}
    pickled = io.BytesIO()
    torch.save({"a": Evil()}, pickled)
    weights = corpus.student["student/model.safetensors"]
    for name, content in {
        "a pickle for weights": pickle.dumps(Evil()),
        "torch's pickle for weights": pickled.getvalue(),
        "a header without end": struct.pack("<Q", 2**62) + weights[8:],
        "a header nested without end": _tensors(b'{"a":' * 100_000),
        "tensors past the end": _tensors(b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
        "no tensors": _tensors(b"{}"),
    }.items():
        files[name] = corpus.student | {"student/model.safetensors": content, "evil.pth": pickled.getvalue()}
    return files


def _tensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def array_plans(corpus: Corpus) -> dict[str, tuple[Files, Callable[[Path], None]]]:
    """Arrays by what is wrong with them."""
    pickled = io.BytesIO()
    np.save(pickled, np.array([Evil()], dtype=object), allow_pickle=True)
    return {
        "objects in ids": (corpus.store | {"store/ids.npy": pickled.getvalue()}, hostile.read_store),
        "a pickle for ids": (corpus.store | {"store/ids.npy": pickle.dumps(Evil())}, hostile.read_store),
        "more values than there are": (corpus.store | {"store/values.npy": _npy_header("(1099511627776,)")}, hostile.read_store),
        "a header of code": (
            corpus.store | {"store/values.npy": _npy_header("__import__('os').system('touch pwned')")},
            hostile.read_store,
        ),
        "a pickle for predictions": ({"predictions.npz": pickle.dumps(Evil())}, hostile.read_predictions),
        "predictions of 3 GB": ({"predictions.npz": _npz_bomb}, hostile.read_predictions),
        "a pickle for texts": ({"texts/words.npz": pickle.dumps(Evil())}, hostile.read_texts),
    }


def _npz_bomb() -> bytes:
    bomb = io.BytesIO()
    archive = zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("test_logits.npy", "w", force_zip64=True) as file:
        file.write(_npy_header("(402653184,)"))
        for _ in range(3 * 1024):
            file.write(bytes(2**20))
    return bomb.getvalue()


def _npy_header(shape: str) -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def onnx_plans() -> dict[str, bytes]:
    """ONNX files by what is wrong with them."""
    import onnx
    from good_files import onnx_file

    plans = {}
    outside = onnx.load_from_string(onnx_file())
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../../../etc/passwd"), ("offset", "0"), ("length", "36")):
        tensor.external_data.add(key=key, value=value)
    plans["weights of another file"] = outside.SerializeToString()
    for name, change in {
        "many classes": {"class_names": '["a"]'},
        "names of numbers": {"class_names": "[1]"},
        "a canvas of a million": {"canvas_size": "1000000"},
    }.items():
        model = onnx.load_from_string(onnx_file())
        for prop in model.metadata_props:
            prop.value = change.get(prop.key, prop.value)
        plans[name] = model.SerializeToString()
    large = onnx.load_from_string(onnx_file())
    large.graph.initializer.append(helper.make_tensor("size", TensorProto.INT64, (2,), [2**20, 2**20]))
    large.graph.node.insert(3, helper.make_node("Expand", ["one", "size"], ["huge"]))
    large.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, (1,), [1.0]))
    large.graph.node.insert(4, helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    large.graph.node[2].output[0] = "small"
    large.graph.node.insert(5, helper.make_node("Add", ["small", "sum"], ["logits"]))
    plans["a tensor of 4 TB"] = large.SerializeToString()
    unknown = onnx.load_from_string(onnx_file())
    unknown.graph.node[0].op_type = "RunProgram"
    plans["an unknown operation"] = unknown.SerializeToString()
    plans["a pickle"] = pickle.dumps(Evil())
    return plans


def text_plans() -> dict[str, tuple[Files, Callable[[Path], None]]]:
    """Settings by what is wrong with them."""
    deep, wide = b"a = " + b"[" * 50_000, b"".join(b"a%d = 1\n" % n for n in range(20_000))
    plans: dict[str, tuple[Files, Callable[[Path], None]]] = {}
    for name, content in {
        "nested without end": deep,
        "tables without end": b"[" + b"a." * 20_000 + b"a]\n",
        "very many settings": RUN.encode() + wide,
        "a number without end": RUN.replace("seed = 3", "seed = " + "9" * 10_000).encode(),
        "a negative seed": RUN.replace("seed = 3", "seed = -9223372036854775809").encode(),
        "not a number": RUN.replace("learning_rate = 1e-3", "learning_rate = nan").encode(),
        "a date for a seed": RUN.replace("seed = 3", "seed = 1979-05-27").encode(),
        "bytes that are no text": RUN.encode("utf-16"),
        "an encoder with a path": RUN.replace('image_encoder = "train"', 'image_encoder = "../../\\u0000"').encode(),
        "a root of nothing": RUN.replace('"birds"', '""').encode(),
    }.items():
        plans[f"RUN.toml: {name}"] = ({"RUN.toml": content}, hostile.read_run_file)
    for name, content in {
        "nested without end": deep,
        "an arm that leads out": STUDY.replace("arms.plain", 'arms."../../plain"').replace("- plain", "- ../../plain").encode(),
        "seeds without end": STUDY.replace("[0, 1]", str(list(range(5000)))).encode(),
        "a placeholder of placeholders": STUDY.replace('"supervised"', '"{arm:{arm:{seed}}}"').encode(),
    }.items():
        plans[f"STUDY.toml: {name}"] = ({"STUDY.toml": content}, hostile.read_study_file)
    plans["descriptions nested without end"] = ({"descriptions.json": b"[" * 200_000}, hostile.read_class_texts)
    return plans


def planned(corpus: Corpus) -> list[Input]:
    """All of them."""
    inputs = [Input(name, _writer({name: content}), hostile.read_picture) for name, content in picture_plans().items()]
    inputs += [Input(name, prepare, hostile.read_data) for name, prepare in data_plans(corpus).items()]
    inputs += [Input(name, _writer(files), hostile.read_student) for name, files in student_plans(corpus).items()]
    inputs += [Input(name, _writer(files), read) for name, (files, read) in {**array_plans(corpus), **text_plans()}.items()]
    inputs += [
        Input(f"onnx: {name}", _writer({"student.onnx": content, "a.png": noise_png(1)}), hostile.read_onnx)
        for name, content in onnx_plans().items()
    ]
    return inputs


def _writer(files: Files) -> Prepare:
    return lambda place: write(files, place)
