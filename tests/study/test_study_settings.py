import tomllib
from pathlib import Path
from typing import Any

import pytest
from toy_study import study

from picturebook.errors import OptionError
from picturebook.study.cells import Plan
from picturebook.study.settings import load_study, merged, nested, parse_study
from picturebook.study.tuning import plan_trials

SPACE = {"train.learning_rate": [1e-3, 3e-3]}


def parse(**changes: Any) -> Any:
    return parse_study(study(**changes), source="STUDY.toml")


def test_every_arm_is_compared_with_the_first_by_default_or_with_the_baseline() -> None:
    assert parse().contrasts == ["again - supervised"]
    assert parse(baseline="again").pairs == [("supervised", "again")]


def test_contrasts_may_be_words_or_tables() -> None:
    contrasts = ["again - supervised", {"a": "supervised", "b": "again"}]
    assert parse(contrasts=contrasts).pairs == [("again", "supervised"), ("supervised", "again")]


def test_arms_are_laid_over_what_they_share_table_by_table_but_model_args_as_a_whole() -> None:
    base = {"train": {"epochs": 2, "batch_size": 16}, "student": {"model": "a", "model_args": {"channels": [8]}}}
    changes = nested({"train.epochs": 3, "student": {"model_args": {"depth": 2}}})
    assert merged(base, changes) == {
        "train": {"epochs": 3, "batch_size": 16},
        "student": {"model": "a", "model_args": {"depth": 2}},
    }
    assert base["train"] == {"epochs": 2, "batch_size": 16}


def test_an_arm_may_be_like_another_but_for_what_it_says() -> None:
    first = {"recipe": "supervised", "train": {"epochs": 3, "batch_size": 8}}
    arms = {"third": {"like": "second", "data.canvas_size": 32}, "second": {"like": "first", "train.epochs": 4}, "first": first}
    written = parse(arms=arms, contrasts=[]).arms
    assert list(written) == ["third", "second", "first"]
    assert written["second"] == {"recipe": "supervised", "train": {"epochs": 4, "batch_size": 8}}
    assert written["third"] == written["second"] | {"data": {"canvas_size": 32}}


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ({"a": {"recipe": "supervised"}, "b": {"like": "aa"}}, r"arms.b.like: There is no arm 'aa'. Did you mean 'a'\?"),
        ({"a": {"like": "b"}, "b": {"like": "a"}}, "arms.a.like: b → a → b is a circle|arms.b.like: a → b → a is a circle"),
        ({"a": {"like": "a"}}, "arms.a.like: a → a is a circle"),
        ({"a": {"recipe": "supervised"}, "b": {"like": 3}}, "arms.b.like: There is no arm '3'"),
    ],
)
def test_an_arm_that_is_like_none_is_refused(arms: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        parse(arms=arms, contrasts=[])


def test_a_file_reads_as_it_is_documented(tmp_path: Path) -> None:
    path = tmp_path / "STUDY.toml"
    path.write_text(
        'out = "o"\nseeds = [0]\n[run]\n"data.root" = "birds"\n[arms.a]\nrecipe = "supervised"\ntrain.epochs = 3\n'
        '[arms.b]\nrecipe = "supervised"\n[[contrasts]]\na = "b"\nb = "a"\n'
        '[tune]\narms = ["a"]\ninherit = ["b"]\n[tune.space]\ntrain.learning_rate = [0.1, 0.2]\n'
    )
    options = load_study(path)
    assert options.run == {"data": {"root": "birds"}}
    assert options.arms["a"]["train"] == {"epochs": 3}
    assert options.pairs == [("b", "a")]
    assert (options.tune.space, options.tune.inherit) == ({"train.learning_rate": [0.1, 0.2]}, {"b": "a"})


def test_the_documented_study_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    block = page.split("```toml\n")[1].split("```")[0]
    ours = Plan(parse_study(tomllib.loads(block), source="docs"), "docs")
    assert len(ours.cells()) == 3 * 8 + 3
    assert {arm: len(trials) for arm, trials in plan_trials(ours).items()} == {"distil": 6, "image_text": 6}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [0]}, "There is no setting 'seed'. Did you mean 'seeds'?"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [1, 1]}, "seeds: need different seeds from 0"),
        ({"seeds_by_arm": {"agian": [0]}}, "seeds_by_arm: There is no arm 'agian'. Did you mean 'again'?"),
        ({"seeds_by_arm": {"again": []}}, "seeds_by_arm.again: there is none"),
        ({"baseline": "superwised"}, "baseline: There is no arm 'superwised'. Did you mean 'supervised'?"),
        ({"contrasts": ["agian - supervised"]}, "contrasts: There is no arm 'agian'. Did you mean 'again'?"),
        ({"contrasts": ["again supervised"]}, "contrasts: need 'a - b', or a table with a and b, got 'again supervised'"),
        ({"contrasts": ["again - again"]}, "contrasts: need two arms, got 'again' twice"),
        ({"contrasts": ["again - supervised"] * 2}, "contrasts: one stands there twice"),
        ({"arms": {"a b": {"recipe": "supervised"}}}, "an arm's name is a folder's too"),
        ({"arms": {}}, "arms: "),
        ({"arms": {"a": {"recipe": "supervised", "seed": 1}}}, "arms.a.seed: each cell's comes from the study's seeds"),
        ({"run": {"out": "x"}}, "run.out: each cell's comes from the study's out"),
        ({"tune": {"trails": 3}}, "tune.trails: There is no setting 'trails'. Did you mean 'trials'?"),
        ({"tune": {"arms": ["agian"], "space": SPACE}}, "tune: There is no arm 'agian'"),
        ({"tune": {"arms": ["again"]}}, "tune.space: need at least one setting with values to try"),
        ({"tune": {"arms": ["again"], "space": {"train.epochs": []}}}, "tune.space: need at least one setting with values"),
        ({"tune": {"arms": ["again"], "space": {"train.epochs": 3}}}, "tune.space.train.epochs: "),
        ({"tune": {"space": SPACE}}, "tune.arms: name the arms that get trials"),
        ({"tune": {"arms": ["again", "supervised"], "space": SPACE, "inherit": ["x"]}}, "with 2 tuned arms say from which"),
        ({"tune": {"arms": ["again"], "space": SPACE, "inherit": {"again": "again"}}}, "need an arm without trials"),
        ({"labels": {"famly": "vit"}}, "labels.famly: There is no setting 'famly'. Did you mean 'family'?"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(**changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith("STUDY.toml: ")


def test_a_file_that_is_missing_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="There is no file"):
        load_study(tmp_path / "STUDY.toml")
    (tmp_path / "STUDY.toml").write_text("seeds = [")
    with pytest.raises(OptionError, match="is no TOML that can be read"):
        load_study(tmp_path / "STUDY.toml")
