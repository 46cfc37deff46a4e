"""Runs of toy size: their data, models and settings, and what tests look at of them."""

import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch

from picturebook.engine import build_accelerator
from picturebook.recipes.options import RecipeOptions
from picturebook.recipes.stages import Stages
from picturebook.runs import RunFolder
from picturebook.types import Silence
from toys import CLASSES, toy_picture

NUM_A_CLASS = 16
UNNAMED = 6
"""Pictures of each class whose label is left empty in `unlabelled_data`."""

RESNET = {"model": "resnet10t", "model_args": {"channels": [8, 8, 8, 8]}, "image_size": 16}
VIT = {
    "model": "vit_tiny_patch16_224",
    "model_args": {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2},
    "image_size": 16,
}
RECIPE_CASES = ("supervised", "be_your_own_teacher", "distil", "classifier", "born_again", "bank", "own", "learned", "linear")
PAIR_CASES = ("align", "clip", "siglip")
"""Cases that learn pictures with their texts first."""
NO_WORDS = {"text": {"source": "none"}}

Settings = dict[str, Any]


def write_toy_data(root: Path, *, with_labels: bool = False) -> Path:
    """Class folders with a metadata.csv; `with_labels` adds a label column in which some pictures of each class have none."""
    rows = []
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index in range(NUM_A_CLASS):
            file = f"{name}/{index:02d}.png"
            toy_picture(label, index).save(root / file)
            row = {
                "file_name": file,
                "text": f"a photo of {('one', 'two', 'three')[index % 3]}",
                "group": f"g{label}-{index // 2}",
            }
            rows.append(row | ({"label": name if index >= UNNAMED else ""} if with_labels else {}))
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return root


def merged(base: Settings, changes: Settings) -> Settings:
    """`base` with `changes` laid over it, table by table."""
    result = copy.deepcopy(base)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(name), dict) and name != "model_args"
        result[name] = merged(result[name], value) if nested else copy.deepcopy(value)
    return result


def frozen(changes: dict[str, Any], encoder: str) -> dict[str, Any]:
    """The changes with the encoder that no toy picture has taught in its place."""
    teacher = changes.get("teacher", {})
    return {**changes, "teacher": {**teacher, "image_encoder": encoder}} if "image_encoder" in teacher else changes


def write_toy_text_encoder(root: Path) -> Path:
    """A sentence-transformers folder: a random BERT of 2 layers and width 16 under mean pooling."""
    from sentence_transformers import SentenceTransformer
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "one", "two", "three", ".", *CLASSES]
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes))
    generator = np.random.default_rng(0)  # the library's own initialisation may differ between its releases
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                parameter.copy_(torch.from_numpy(generator.normal(scale=0.3, size=parameter.shape)))
    model.save_pretrained(root / "bert")
    wordpieces = BertWordPieceTokenizer({word: number for number, word in enumerate(words)})
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=wordpieces._tokenizer, model_max_length=32, **special)
    tokenizer.save_pretrained(root / "bert")
    # A plain transformers folder gets mean pooling: this needs no class whose place differs between releases.
    SentenceTransformer(str(root / "bert")).save(str(root / "encoder"))
    return root / "encoder"


class Listening(Silence):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def num_steps(run: RunFolder) -> dict[str, int]:
    """Stage → optimiser steps."""
    return {line["stage"]: line["step"] for line in run.read_metrics()}


def make_stages(options: RecipeOptions) -> Stages:
    """The parts of a run, for tests that order the stages themselves."""
    assert options.cache is not None
    accelerator = build_accelerator(device="cpu", precision=options.precision)
    folder = RunFolder(Path(options.out))
    return Stages(options, folder, accelerator, cache=Path(options.cache), text_column=None, reporter=Silence())
