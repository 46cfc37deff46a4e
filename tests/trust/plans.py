"""What an enemy would think of who knows models, arrays and settings: code in place of data, and lies about sizes."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import torch
from data_plans import Evil, Prepare, data_plans, picture_plans, picture_table_plans
from good_files import RUN, STUDY
from guarded import Input
from hostile import Corpus, Files, write
from onnx import TensorProto, helper
from shard_plans import read_shard, shard_plans

from toys import noise_png


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


def text_encoder_plans(corpus: Corpus) -> dict[str, Files]:
    """Text encoders whose folders bring code: the libraries run it where they are told to trust it."""
    program = b"import os\nos.system('touch pwned')\n\n\nclass Evil:\n    pass\n"
    modules, config = (json.loads(corpus.words[f"words/{name}"]) for name in ("modules.json", "config.json"))
    pickled = io.BytesIO()
    torch.save({"embeddings.word_embeddings.weight": Evil()}, pickled)
    without_weights = {name: content for name, content in corpus.words.items() if not name.endswith("safetensors")}
    auto = {"auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}, "model_type": "evil"}
    plans: dict[str, Files] = {
        f"a module of {kind}": corpus.words
        | {"words/evil.py": program, "words/modules.json": json.dumps([modules[0] | {"type": kind}, *modules[1:]]).encode()}
        for kind in ("evil.Evil", "os.system", "subprocess.Popen", "sentence_transformers.os.system")
    }
    plans["a model of its own code"] = corpus.words | {
        "words/evil.py": program,
        "words/config.json": json.dumps(config | auto).encode(),
    }
    plans["a pickle for weights"] = without_weights | {"words/pytorch_model.bin": pickle.dumps(Evil())}
    plans["torch's pickle for weights"] = without_weights | {"words/pytorch_model.bin": pickled.getvalue()}
    return plans


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
    tables = picture_table_plans()
    inputs += [
        Input(f"train.parquet: {name}", _writer({"train.parquet": content}), hostile.read_data_set)
        for name, content in tables.items()
    ]
    inputs += [Input(name, _writer({"0.tar": content}), read_shard) for name, content in shard_plans().items()]
    words = text_encoder_plans(corpus)
    inputs += [Input(f"words: {name}", _writer(files), hostile.read_text_encoder) for name, files in words.items()]
    inputs += [Input(name, _writer(files), read) for name, (files, read) in {**array_plans(corpus), **text_plans()}.items()]
    inputs += [
        Input(f"onnx: {name}", _writer({"student.onnx": content, "a.png": noise_png(1)}), hostile.read_onnx)
        for name, content in onnx_plans().items()
    ]
    return inputs


def is_heavy(one: Input) -> bool:
    """Whether making or reading it takes seconds."""
    return any(word in one.name for word in ("bomb", " GB", "hundred million", "endless", "very many", "train.parquet"))


def _writer(files: Files) -> Prepare:
    return lambda place: write(files, place)
