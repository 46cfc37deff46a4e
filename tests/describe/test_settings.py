from typing import Any

import pytest

from picturebook.describe import DescribeOptions, read_settings
from picturebook.errors import OptionError


def settings(task: str = "classes", *overrides: str, **given: Any) -> DescribeOptions:
    return read_settings("birds", overrides, captions=task == "captions", classes=task == "classes", **{"model": "m", **given})


def test_what_was_not_given_has_its_default() -> None:
    options = settings("classes", "columns.label=species", prompt=None, out=None, timeout=None, endpoint=None)
    assert options.data.root == "birds"
    assert options.data.columns.label == "species"
    assert options.out_file == "descriptions.jsonl"
    assert "{class}" in options.template
    assert options.kind == "class"


def test_a_prompt_with_the_label_makes_captions_privileged() -> None:
    assert [settings("captions", prompt=prompt).kind for prompt in (None, "a photo of", "a {label} is")] == [
        "label_blind",
        "label_blind",
        "privileged",
    ]
    assert settings("captions").template == ""
    assert settings("captions").out_file == "captions.jsonl"


def test_captions_and_classes_are_one_or_the_other() -> None:
    for both in (True, False):
        with pytest.raises(OptionError, match="one of the two"):
            read_settings("birds", (), captions=both, classes=both, model="m")


@pytest.mark.parametrize(
    ("task", "given", "why"),
    [
        ("captions", {"prompt": "a {lable}"}, r"there is no \{lable\} to fill in with --captions, only \{label\}"),
        ("classes", {"prompt": "{class} {label}"}, r"there is no \{label\}"),
        ("classes", {"prompt": "describe it"}, r"need a \{class\}"),
        ("captions", {"endpoint": "https://host"}, "endpoint takes effect with --classes only"),
        ("captions", {"price_in": 1.0, "price_out": 1.0, "dry_run": True}, "price_in takes effect with --classes only"),
        ("captions", {"temperature": 0.5}, "temperature takes effect with --classes only"),
        ("classes", {"batch_size": 3}, "batch_size takes effect with --captions only"),
        ("classes", {"least": 5, "most": 4}, "least: need at most 4"),
        ("classes", {"price_in": 1.0, "dry_run": True}, "go together"),
        ("classes", {"price_in": 1.0, "price_out": 2.0}, "with --dry-run only"),
        ("classes", {"model": ""}, "model"),
        ("classes", {"temperature": -1.0}, "temperature"),
        ("classes", {"timeout": 0.0}, "timeout"),
        ("captions", {"batch_size": 0}, "batch_size"),
    ],
)
def test_settings_that_cannot_be_are_refused(task: str, given: dict[str, Any], why: str) -> None:
    with pytest.raises(OptionError, match=why):
        settings(task, **given)
