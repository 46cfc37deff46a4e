"""What a study reads is looked at before its first run."""

from pathlib import Path
from typing import Any

import pytest
from toy_study import Pretending, plan, study

from command_line import write_pictures
from picturebook.errors import DataError, TextError
from picturebook.study.inputs import check_inputs

WORDS = {"recipe": "image_text", "teacher.text_encoder": "nobody/there", "teacher.image_encoder": "train"}
NEXT = {"recipe": "born_again", "teacher.run": "{arm:supervised@next}"}
CAPTIONS = WORDS | {"text.source": "column", "text.column": "caption", "teacher.head.mode": "own"}
BLIND = CAPTIONS | {"text.kind": "label_blind", "class_text.source": "descriptions"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = write_pictures(tmp_path / "birds", num_a_class=2)
    rows = "".join(f"{name},a thing\n" for name in names)
    (tmp_path / "birds" / "metadata.csv").write_text(f"file_name,caption\n{rows}")
    return tmp_path / "birds"


def check(root: Path, **second: Any) -> None:
    settings = study(root.parent / "out", arms={"supervised": {"recipe": "supervised"}, "words": second})
    settings["run"]["data"]["root"] = str(root)
    check_inputs(plan(settings).cells(), "STUDY.toml")


@pytest.mark.parametrize(
    ("arm", "error", "sentence"),
    [
        ({"recipe": "supervised", "data.root": "brids"}, DataError, "data.root: there is no folder or file brids"),
        (CAPTIONS | {"text.column": "txt"}, TextError, "'txt'"),
        (WORDS | {"text.source": "descriptions", "text.descriptions": "none.json"}, TextError, "none.json"),
        (BLIND | {"class_text.descriptions": "none.json"}, TextError, "class_text.descriptions = 'none.json'"),
        (WORDS | {"text.template_file": "none.txt"}, TextError, "none.txt"),
        (CAPTIONS | {"text.synonyms": "others.json", "text.mask_class_words": True}, TextError, "others.json"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_arms_name(
    root: Path, arm: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=r"STUDY\.toml, arm words: ") as refused:
        check(root, **arm)
    assert sentence in str(refused.value)


def test_what_can_be_read_passes_and_is_left_alone(root: Path) -> None:
    before = sorted(root.parent.rglob("*"))
    check(root, **CAPTIONS)
    check(root, **NEXT)
    check(root, **NEXT, **{"data.metadata": "{arm:supervised}/captions.jsonl"})
    assert sorted(root.parent.rglob("*")) == before


def test_a_study_that_is_finished_needs_its_data_no_more(root: Path) -> None:
    settings = study(root.parent / "out")
    cells = plan(settings).cells()
    with pytest.raises(DataError):
        check_inputs(cells, "STUDY.toml")
    for cell in cells:
        Pretending().finish(cell)
    check_inputs(cells, "STUDY.toml")
