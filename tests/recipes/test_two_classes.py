"""Losses that say nothing of two classes are refused before a teacher is trained for them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picturebook.config import run_recipe
from picturebook.errors import OptionError
from toys import CLASSES


@pytest.mark.parametrize("name", ["standardise", "permute_non_targets"])
@pytest.mark.parametrize("case", ["born_again", "distil", "bank"])
def test_two_classes_are_refused_before_any_training(
    recipe_options: Callable[..., Any], toy_data: Path, tmp_path: Path, case: str, name: str
) -> None:
    shutil.copytree(toy_data, tmp_path / "data", ignore=shutil.ignore_patterns(CLASSES[2]))
    table = tmp_path / "data" / "metadata.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if not line.startswith(CLASSES[2])))
    options = recipe_options(case, tmp_path / "run", data={"root": str(tmp_path / "data")}, loss={name: True})
    with pytest.raises(OptionError, match="need at least 3 classes"):
        run_recipe(options)
    assert not list((tmp_path / "run").rglob("*.safetensors"))
