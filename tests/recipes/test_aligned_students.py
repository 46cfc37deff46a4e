"""Words beside a student's own training."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from picturebook.config import run_recipe
from picturebook.errors import OptionError, TextError
from picturebook.writing import read_json

Make = Callable[..., Any]
WEIGHT = {"alignment": {"weight": 1.0}}


@pytest.mark.parametrize("case", ["supervised", "distil", "bank"])
@pytest.mark.parametrize("source", ["column", "classes"])
def test_a_student_may_have_words_beside_it(
    recipe_options: Make, toy_text_encoder: Path, tmp_path: Path, case: str, source: str
) -> None:
    text = {"source": source, "kind": "privileged", "text_encoder": str(toy_text_encoder)}
    run = run_recipe(recipe_options(case, tmp_path / "run", alignment_text=text, loss=WEIGHT))
    last = run.read_metrics()[-1]
    assert last["alignment"] > 0
    assert last["alignment_balance"] > 0
    assert "alignment words" in read_json(run.provenance)["fingerprints"]
    assert not [name for name in load_file(run.student / "model.safetensors") if "projector" in name]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alignment_text": {"source": "column"}}, "source = 'column' and weight = 0"),
        ({"loss": WEIGHT}, "source = 'none' and weight = 1"),
        ({"alignment_text": {"source": "classes"}, "loss": WEIGHT}, "say alignment_text.kind = 'privileged'"),
        (
            {"alignment_text": {"source": "column", "column": "group"}, "loss": WEIGHT, "text": {"source": "column"}},
            "A run reads one column of words: text has 'text', alignment_text 'group'",
        ),
    ],
)
def test_words_without_use_and_use_without_words_are_refused(
    recipe_options: Make, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        run_recipe(recipe_options("own", tmp_path / "run", **changes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"source": "descriptions", "descriptions": "gone.json"}, "alignment_text.descriptions = 'gone.json'"),
        ({"source": "classes", "template_file": "gone.txt"}, "alignment_text.template_file = 'gone.txt'"),
        (
            {"source": "classes", "control": "permuted_bank"},
            "alignment_text.control = 'permuted_bank' is a control of class texts",
        ),
    ],
)
def test_an_error_names_the_setting_of_these_words(
    recipe_options: Make, toy_text_encoder: Path, tmp_path: Path, text: dict[str, str], said: str
) -> None:
    words = {"kind": "privileged", "text_encoder": str(toy_text_encoder)} | text
    with pytest.raises((OptionError, TextError), match=rf"(?<![\w.]){re.escape(said)}") as raised:
        run_recipe(recipe_options("supervised", tmp_path / "run", alignment_text=words, loss=WEIGHT))
    assert " text." not in str(raised.value)
