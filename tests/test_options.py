from typing import Any

import pytest
from pydantic import Field, ValidationError, model_validator

from picturebook.errors import OptionError
from picturebook.options import Options, apply_override, validate


class Inner(Options):
    """A part."""

    peak_rate: float = Field(1e-3, gt=0)
    """Rate."""
    pair: tuple[float, float] = Field((0.5, 1.0), strict=False)
    """Range."""

    @model_validator(mode="after")
    def _pair_rises(self) -> "Inner":
        if self.pair[0] > self.pair[1]:
            raise ValueError("pair: need first <= second")
        return self


class Outer(Options):
    """A whole."""

    name: str
    """Name."""
    steps: int = 3
    """Steps."""
    inner: Inner = Inner()
    """Part."""


def checked(**settings: Any) -> Outer:
    return validate(Outer, {"name": "a", **settings}, source="run.toml")


def test_settings_from_plain_lists_and_tables_become_options() -> None:
    assert checked(inner={"pair": [0.1, 0.2], "peak_rate": 1}).inner == Inner(pair=(0.1, 0.2), peak_rate=1.0)


def test_options_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        checked().steps = 4


def test_every_docstring_becomes_the_fields_help() -> None:
    assert Outer.model_fields["steps"].description == "Steps."


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"stepz": 1}, "run.toml: stepz: There is no setting 'stepz'. Did you mean 'steps'? Known: inner, name, steps."),
        ({"inner": {"peek_rate": 1}}, "run.toml: inner.peek_rate: There is no setting 'peek_rate'. Did you mean 'peak_rate'?"),
        ({"steps": "3"}, "run.toml: steps: should be a valid integer, got '3'."),
        ({"steps": 3.5}, "run.toml: steps: "),
        ({"steps": True}, "run.toml: steps: "),
        ({"inner": {"peak_rate": 0}}, "run.toml: inner.peak_rate: should be greater than 0, got 0."),
        ({"inner": {"pair": [1.0, 0.5]}}, "run.toml: inner: pair: need first <= second."),
        ({"inner": {"pair": [1.0]}}, "run.toml: inner.pair"),
        ({"inner": 3}, "run.toml: inner: "),
    ],
)
def test_what_is_wrong_is_said_with_its_path(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError) as refused:
        checked(**settings)
    assert str(refused.value).startswith(sentence)


def test_a_missing_setting_and_all_mistakes_at_once() -> None:
    with pytest.raises(OptionError) as refused:
        validate(Outer, {"steps": "x", "inner": {"no": 1}}, source="f")
    lines = str(refused.value).splitlines()
    assert lines[0] == "f: name: this setting is needed."
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("steps=4", {"steps": 4}),
        ("name=bare word", {"name": "bare word"}),
        ("name=runs/a-b.c", {"name": "runs/a-b.c"}),
        ('name="1"', {"name": "1"}),
        ("name=", {"name": ""}),
        ("name=a=b", {"name": "a=b"}),
        ("flag=true", {"flag": True}),
        ("inner.pair=[0.1, 0.2]", {"inner": {"pair": [0.1, 0.2]}}),
        ("names=['a', 'b']", {"names": ["a", "b"]}),
        ("inner.args={ channels = [8, 8] }", {"inner": {"args": {"channels": [8, 8]}}}),
        (" inner.rate =1e-3", {"inner": {"rate": 1e-3}}),
    ],
)
def test_an_override_is_toml_or_a_bare_word(override: str, expected: dict[str, Any]) -> None:
    settings: dict[str, Any] = {}
    apply_override(settings, override)
    assert settings == expected


def test_an_override_keeps_what_stands_beside_it() -> None:
    settings: dict[str, Any] = {"steps": 1, "inner": {"rate": 1, "pair": [1, 2]}}
    apply_override(settings, "inner.rate=2")
    assert settings == {"steps": 1, "inner": {"rate": 2, "pair": [1, 2]}}


@pytest.mark.parametrize("override", ["steps", "=3", " =3"])
def test_an_override_needs_a_path_and_a_value(override: str) -> None:
    with pytest.raises(OptionError, match=r"need path\.to\.setting=value"):
        apply_override({}, override)


def test_an_override_does_not_go_through_a_value() -> None:
    settings = {"seed": 3}
    with pytest.raises(OptionError, match="seed is a value, not a table"):
        apply_override(settings, "seed.deep=1")
    assert settings == {"seed": 3}
