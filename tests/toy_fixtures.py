"""Toy pictures, a toy text encoder, and runs of toy size that tests share. Nothing here touches the network."""

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import CommandLine, command_line, write_pictures
from picturebook.config import parse_options, run_recipe
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.models.artefact import save_student
from picturebook.models.image_encoders import create_image_encoder
from picturebook.recipes.options import RecipeOptions
from picturebook.runs import RunFolder
from toy_runs import NO_WORDS, RESNET, VIT, Settings, merged, write_toy_data, write_toy_text_encoder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    # Toy tensors are slower with more, and bit equality holds for equal threads.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def imports_are_no_garbage() -> None:
    # accelerate collects after every training; what was imported so far would be looked through each time, half a second long.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def picturebook(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return command_line(tmp_path_factory.getbasetemp())


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Class folders of toy pictures without words, to be spoilt."""
    root = tmp_path / "data"
    write_pictures(root)
    return root


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="session")
def unlabelled_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("unlabelled") / "data", with_labels=True)


@pytest.fixture(scope="session")
def toy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def toy_pictures(toy_data: Path, toy_cache: Path) -> Pictures:
    return load_pictures(DataOptions(root=str(toy_data), canvas_size=16), cache=toy_cache)


@pytest.fixture(scope="session")
def unlabelled_pictures(unlabelled_data: Path, toy_cache: Path) -> Pictures:
    return load_pictures(DataOptions(root=str(unlabelled_data), canvas_size=16), cache=toy_cache)


@pytest.fixture(scope="session")
def toy_text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_text_encoder(tmp_path_factory.mktemp("text-encoder"))


@pytest.fixture(scope="session")
def frozen_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image encoder that no toy picture has taught."""
    folder = tmp_path_factory.mktemp("encoder") / "vit"
    encoder = create_image_encoder(VIT["model"], num_classes=3, image_size=16, model_args=VIT["model_args"], seed=5)
    save_student(encoder, folder, label_names=("one", "two", "three"))
    return f"local-dir:{folder}"


@pytest.fixture(scope="session")
def toy_settings(toy_data: Path, toy_cache: Path) -> Settings:
    """Settings of every recipe at toy size; recipe and out are still to be said."""
    return {
        "device": "cpu",
        "precision": "fp32",
        "cache": str(toy_cache),
        "data": {"root": str(toy_data), "canvas_size": 16},
        "student": RESNET,
        "train": {"epochs": 2, "batch_size": 16, "validations": 1},
    }


@pytest.fixture(scope="session")
def recipe_settings(toy_settings: Settings, toy_text_encoder: Path) -> Callable[..., Settings]:
    """Settings by a case's name (RECIPE_CASES), with changes."""
    head_training = {"teacher": {"train": {"epochs": 2, "batch_size": 16}}}
    words = {"teacher": {"text_encoder": str(toy_text_encoder)}}

    def image_text(mode: str, *changes: Settings) -> Settings:
        settings = merged(head_training, {"recipe": "image_text", "student": VIT, "teacher": {"head": {"mode": mode}}})
        if mode != "linear":
            settings = merged(settings, {"teacher": {"head": {"width": 16, "num_heads": 2}}})
        for change in changes:
            settings = merged(settings, change)
        return settings

    def pairs(recipe: str, *changes: Settings) -> Settings:
        settings = {"recipe": recipe, "student": VIT, "pretrain": {"epochs": 2, "batch_size": 16}, "embedding_width": 8}
        for change in changes:
            settings = merged(settings, change)
        return settings

    frozen = {"text_tower": {"text_encoder": str(toy_text_encoder)}}
    trained = {"text_tower": {"kind": "trained", "width": 16, "depth": 1, "num_heads": 2, "length": 6}}
    of_classes = {"text": {"source": "classes", "kind": "privileged"}}
    cases = {
        "align": pairs("align", trained, {"noise": {"word_dropout": 0.2}, "probe": {"finish": "linear_probe"}}),
        "clip": pairs("clip", frozen),
        "siglip": pairs("siglip", frozen, of_classes),
        "coca": {
            "recipe": "coca",
            "student": VIT,
            "pretrain": {"epochs": 2, "batch_size": 16},
            "captioner": {"width": 16, "num_heads": 2, "num_layers": 2, "caption_queries": 3, "length": 8},
        },
        "supervised": {"recipe": "supervised"},
        "distil": merged(head_training, {"recipe": "distil"}),
        "classifier": {"recipe": "distil", "teacher": {"head": "classifier"}},
        "be_your_own_teacher": {"recipe": "be_your_own_teacher"},
        "dino": {
            "recipe": "dino",
            "pretrain": {"epochs": 2, "batch_size": 16},
            "crops": {"local_size": 8, "local_crops": 2},
            "head": {"prototypes": 16, "hidden": 16, "bottleneck": 8},
        },
        "born_again": {"recipe": "born_again"},
        "noisy_student": {"recipe": "noisy_student", "data": {"supervision": {"labelled_share": 0.5}}},
        "bank": image_text("bank", words),
        "own": image_text(
            "own", words, {"text": {"source": "column", "kind": "label_blind"}, "teacher": {"head": {"residual": False}}}
        ),
        "learned": image_text("learned", NO_WORDS),
        "linear": image_text("linear", NO_WORDS),
    }

    def settings(case: str, out: Path, **changes: Any) -> Settings:
        return merged(merged(toy_settings, cases[case]), {"out": str(out), **changes})

    return settings


@pytest.fixture(scope="session")
def recipe_options(recipe_settings: Callable[..., Settings]) -> Callable[..., RecipeOptions]:
    def options(case: str, out: Path, **changes: Any) -> RecipeOptions:
        return parse_options(recipe_settings(case, out, **changes), source="the test")

    return options


@pytest.fixture(scope="session")
def finished_run(
    recipe_options: Callable[..., RecipeOptions], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], RunFolder]:
    """The run of a case, made once in the session."""
    root = tmp_path_factory.mktemp("runs")
    runs: dict[str, RunFolder] = {}

    def run(case: str) -> RunFolder:
        if case not in runs:
            runs[case] = run_recipe(recipe_options(case, root / case))
        return runs[case]

    return run


@pytest.fixture(scope="session")
def run_with_other_classes(
    recipe_options: Callable[..., RecipeOptions], toy_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A finished supervised run in which apples are called pears."""
    root = tmp_path_factory.mktemp("other")
    shutil.copytree(toy_data, root / "data", ignore=shutil.ignore_patterns("metadata.csv"))
    (root / "data" / "apple").rename(root / "data" / "pear")
    return run_recipe(recipe_options("supervised", root / "run", data={"root": str(root / "data")}))
