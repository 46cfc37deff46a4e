"""The corpus: good files, spoilt, put before every reader; and the plans of an enemy who knows the formats."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import torch
from good_files import RUN, STUDY, arrays, onnx_file, picture_parquet, pictures, tables, write_student
from guarded import Input
from shard_plans import read_shard, shard_file
from spoiling import BYTES, TEXT, spoil

from picturebook.config import load_options
from picturebook.data.images import decode, open_rgb
from picturebook.data.pictures import load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.texts.descriptions import read_descriptions
from picturebook.evaluate import open_classifier, stored_predictions
from picturebook.inspection import inspect_run
from picturebook.models.artefact import load_student
from picturebook.models.image_encoders import weights_fingerprint
from picturebook.models.text_encoders import load_text_encoder
from picturebook.predict import predict_files
from picturebook.predict.onnx_model import open_onnx
from picturebook.runs import RunFolder
from picturebook.stores.packed import PackedArray
from picturebook.stores.texts import encode_once
from picturebook.study.settings import load_study
from picturebook.types import Silence
from picturebook.writing import npy
from toy_runs import write_toy_text_encoder
from toys import CLASSES, noise_png

Files = Mapping[str, bytes | Callable[[], bytes]]


def write(files: Files, place: Path) -> None:
    """Write files by their relative names; large ones are made only now."""
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content() if callable(content) else content)


# ---- readers ------------------------------------------------------------------------------------------------------------


def read_picture(place: Path) -> None:
    (path,) = place.iterdir()
    decode(path.read_bytes(), 16)
    open_rgb(path.read_bytes())


def read_data(place: Path) -> None:
    load_pictures(DataOptions(root=str(place / "data"), canvas_size=8, max_broken_share=1.0), cache=place / "cache")


def read_run_file(place: Path) -> None:
    load_options(place / "RUN.toml")


def read_study_file(place: Path) -> None:
    load_study(place / "STUDY.toml")


def read_student(place: Path) -> None:
    encoder, names = load_student(place / "student")
    classifier = open_classifier(place / "student")
    classifier.probabilities(torch.zeros(1, 3, encoder.image_size, encoder.image_size))
    assert len(names) == encoder.num_classes


def read_onnx(place: Path) -> None:
    model = open_onnx(place / "student.onnx")
    predict_files(place / "student.onnx", [place / "a.png"], top=1, reporter=Silence())
    model.probabilities(torch.zeros(1, 3, model.about.image_size, model.about.image_size))


def read_prediction_table(place: Path) -> None:
    (table,) = place.glob("metadata.*")
    predict_files(place / "student", [table], top=1, reporter=Silence())


def read_predictions(place: Path) -> None:
    stored_predictions(RunFolder(place))


def read_store(place: Path) -> None:
    array = PackedArray.open(place / "store", {"teacher": "t"})
    array.read(array.ids[:1], np.zeros(1, dtype=np.int64))


class _Words:
    fingerprint = "words"

    def encode(self, texts: object, *, progress: object = None) -> torch.Tensor:
        return torch.zeros(len(list(texts)), 4)

    def encode_tokens(self, texts: object, *, progress: object = None) -> list[torch.Tensor]:
        return []


def read_texts(place: Path) -> None:
    encode_once(_Words(), ["a", "b"], cache=place)


def read_class_texts(place: Path) -> None:
    read_descriptions(str(place / "descriptions.json"), CLASSES)


def read_text_encoder(place: Path) -> None:
    load_text_encoder(str(place / "words")).encode(["a photo of one"])


def read_run(place: Path) -> None:
    run = RunFolder.open(place / "run")
    run.exports()
    open_classifier(run.path)
    inspect_run(run)


def read_data_set(place: Path) -> None:
    datasets.config.HF_DATASETS_CACHE = place / "datasets"
    options = DataOptions(root=str(place / "train.parquet"), canvas_size=8, max_broken_share=1.0)
    load_pictures(options, cache=place / "cache")


# ---- corpus -------------------------------------------------------------------------------------------------------------


class Corpus:
    """Good files, and what reads each."""

    def __init__(self, root: Path) -> None:
        write_student(root / "student")
        self.student = {f"student/{path.name}": path.read_bytes() for path in (root / "student").iterdir()}
        self.pictures, self.tables, self.arrays = pictures(), tables(), arrays()
        self.onnx, self.parquet, self.tar = onnx_file(), picture_parquet(), shard_file()
        self.data = {
            f"data/{name}/{index}.png": noise_png(10 * number + index)
            for number, name in enumerate(CLASSES)
            for index in range(3)
        }
        store = {"fingerprint": {"teacher": "t"}, "num_views": 1, "record": [3], "dtype": "float16"}
        values = np.zeros((6, 1, 3), dtype=np.float16)
        self.store = {
            "store/header.json": json.dumps(store).encode(),
            "store/ids.npy": self.arrays["ids.npy"],
            "store/values.npy": npy(values),
        }
        self.run = self._run_files(root)
        self.words = self._text_encoder_files(root)
        self.descriptions = json.dumps({name: [f"a {name}", "a thing"] for name in CLASSES}).encode()

    def _text_encoder_files(self, root: Path) -> dict[str, bytes]:
        folder = write_toy_text_encoder(root / "text encoder")
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {f"words/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in files}

    def _run_files(self, root: Path) -> dict[str, bytes]:
        """A run from before there were checksums."""
        weights = weights_fingerprint(load_student(root / "student")[0])
        student = {"name": "vit", "model_args": {}, "weights": weights}
        about = {
            "student": student,
            "seed": 0,
            "rows": {"train": 9},
            "fingerprints": {},
            "versions": {},
            "seconds": {"student": 1.0},
        }
        models = {"student": {"test": {"accuracy": 0.5, "num": 6}}}
        papers = {
            "classes": list(CLASSES),
            "provenance": about,
            "results": {"models": models},
            "export": {"timm": {"file": "export/timm"}},
        }
        files = {f"run/{name}.json": json.dumps(value).encode() for name, value in papers.items()}
        files |= {"run/run.toml": RUN.encode(), "run/train_ids.npy": self.arrays["ids.npy"]}
        files |= {
            "run/metrics.jsonl": b'{"stage": "student", "step": 3}\n',
            "run/predictions.npz": self.arrays["predictions.npz"],
        }
        return files | {f"run/{name}": content for name, content in self.student.items()}

    def spoilt(self, num: int, seed: int) -> Iterator[Input]:
        """Inputs, spoilt at random, of every reader in turn but for data sets; pictures and tables come more often."""
        makers = [self._picture] * 5 + [self._table] * 3 + [self._run_file, self._study_file] + [self._student] * 2
        makers += [
            self._onnx,
            self._prediction_table,
            self._npz,
            self._stored,
            self._texts,
            self._class_texts,
            self._text_encoder,
            self._shard,
            self._run,
            self._run,
        ]
        for number in range(num):
            chance = random.Random(100_003 * seed + number)
            yield makers[number % len(makers)](number, chance)

    def _picture(self, number: int, chance: random.Random) -> Input:
        name = chance.choice(sorted(self.pictures))
        return _input(f"{number} {name}", {name: spoil(self.pictures[name], BYTES, chance)}, read_picture)

    def _table(self, number: int, chance: random.Random) -> Input:
        name = chance.choice(sorted(self.tables))
        spoilt = spoil(self.tables[name], BYTES if name.endswith("parquet") else TEXT, chance)
        return _input(f"{number} {name}", self.data | {f"data/{name}": spoilt}, read_data)

    def _run_file(self, number: int, chance: random.Random) -> Input:
        return _input(f"{number} RUN.toml", {"RUN.toml": spoil(RUN.encode(), TEXT, chance)}, read_run_file)

    def _study_file(self, number: int, chance: random.Random) -> Input:
        return _input(f"{number} STUDY.toml", {"STUDY.toml": spoil(STUDY.encode(), TEXT, chance)}, read_study_file)

    def _student(self, number: int, chance: random.Random) -> Input:
        name = chance.choice(sorted(self.student))
        spoilt = spoil(self.student[name], TEXT if name.endswith("json") else BYTES, chance)
        return _input(f"{number} {name}", self.student | {name: spoilt}, read_student)

    def _onnx(self, number: int, chance: random.Random) -> Input:
        return _input(f"{number} onnx", {"student.onnx": spoil(self.onnx, BYTES, chance), "a.png": noise_png(1)}, read_onnx)

    def _prediction_table(self, number: int, chance: random.Random) -> Input:
        name = chance.choice(sorted(self.tables))
        spoilt = spoil(self.tables[name], BYTES if name.endswith("parquet") else TEXT, chance)
        return _input(f"{number} predict {name}", self.student | {name: spoilt}, read_prediction_table)

    def _npz(self, number: int, chance: random.Random) -> Input:
        return _input(
            f"{number} predictions", {"predictions.npz": spoil(self.arrays["predictions.npz"], BYTES, chance)}, read_predictions
        )

    def _stored(self, number: int, chance: random.Random) -> Input:
        name = chance.choice(sorted(self.store))
        spoilt = spoil(self.store[name], TEXT if name.endswith("json") else BYTES, chance)
        return _input(f"{number} {name}", self.store | {name: spoilt}, read_store)

    def _texts(self, number: int, chance: random.Random) -> Input:
        return _input(f"{number} texts", {"texts/words.npz": spoil(self.arrays["texts.npz"], BYTES, chance)}, read_texts)

    def _class_texts(self, number: int, chance: random.Random) -> Input:
        return _input(f"{number} descriptions", {"descriptions.json": spoil(self.descriptions, TEXT, chance)}, read_class_texts)

    def _text_encoder(self, number: int, chance: random.Random) -> Input:
        name = chance.choice(sorted(self.words))
        spoilt = spoil(self.words[name], TEXT if name.endswith(("json", "txt", "md")) else BYTES, chance)
        return _input(f"{number} {name}", self.words | {name: spoilt}, read_text_encoder)

    def _shard(self, number: int, chance: random.Random) -> Input:
        return _input(f"{number} 0.tar", {"0.tar": spoil(self.tar, BYTES, chance)}, read_shard)

    def _run(self, number: int, chance: random.Random) -> Input:
        name = chance.choice(sorted(self.run))
        spoilt = spoil(self.run[name], TEXT if name.endswith(("json", "jsonl", "toml")) else BYTES, chance)
        return _input(f"{number} {name}", self.run | {name: spoilt}, read_run)

    def spoilt_data_sets(self, num: int, seed: int) -> Iterator[Input]:
        """Parquet files of pictures, which `datasets` reads, slowly."""
        for number in range(num):
            spoilt = spoil(self.parquet, BYTES, random.Random(100_003 * seed + number))
            yield _input(f"{number} train.parquet", {"train.parquet": spoilt}, read_data_set)

    def good(self) -> list[Input]:
        """Everything as it was, which every reader takes."""
        inputs = [_input(name, {name: content}, read_picture) for name, content in self.pictures.items()]
        inputs += [_input(name, self.data | {f"data/{name}": content}, read_data) for name, content in self.tables.items()]
        inputs += [
            _input(f"predict {name}", self.student | {name: content}, read_prediction_table)
            for name, content in self.tables.items()
        ]
        return [
            *inputs,
            _input("RUN.toml", {"RUN.toml": RUN.encode()}, read_run_file),
            _input("STUDY.toml", {"STUDY.toml": STUDY.encode()}, read_study_file),
            _input("student", self.student, read_student),
            _input("run", self.run, read_run),
            _input("train.parquet", {"train.parquet": self.parquet}, read_data_set),
            _input("onnx", {"student.onnx": self.onnx, "a.png": noise_png(1)}, read_onnx),
            _input("predictions", {"predictions.npz": self.arrays["predictions.npz"]}, read_predictions),
            _input("store", self.store, read_store),
            _input("texts", {"texts/words.npz": self.arrays["texts.npz"]}, read_texts),
            _input("descriptions", {"descriptions.json": self.descriptions}, read_class_texts),
            _input("0.tar", {"0.tar": self.tar}, read_shard),
            _input("words", self.words, read_text_encoder),
        ]


def _input(name: str, files: Files, read: Callable[[Path], None]) -> Input:
    return Input(name, partial(write, files), read)
