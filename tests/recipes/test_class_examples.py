"""Words of the classes that teach a teacher's head beside pictures and their own words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from interrupting import Interrupting, PowerCutError
from picturebook.config import audit_run, run_recipe
from picturebook.data.texts import class_texts
from picturebook.errors import OptionError, RunError, TextError
from picturebook.models.saved_teacher import load_teacher
from picturebook.models.text_encoders import load_text_encoder
from picturebook.recipes.class_examples import ClassTextOptions, class_examples
from picturebook.run_report.run_files import RunFiles
from picturebook.run_report.setting import setting_rows
from picturebook.runs import RunFolder
from picturebook.types import Silence
from picturebook.writing import read_json
from toy_runs import make_stages
from toys import CLASSES

Make = Callable[..., Any]
RESIDUAL = {"teacher": {"head": {"residual": True}}}
BY_TOKENS = {"source": "column", "kind": "label_blind", "queries": "tokens"}
SENTENCES = {name: [f"{name} one", f"two {name}", name][: count + 1] for count, name in enumerate(CLASSES)}


@pytest.fixture
def described(tmp_path: Path) -> dict[str, Any]:
    """One sentence of the first class, two of the second, three of the third."""
    file = tmp_path / "descriptions.json"
    file.write_text(json.dumps(SENTENCES))
    return {"source": "descriptions", "descriptions": str(file)}


def test_each_sentence_is_an_example_of_its_class(
    recipe_options: Make, toy_text_encoder: Path, described: dict[str, Any], tmp_path: Path
) -> None:
    options = recipe_options("own", tmp_path / "run", class_text=described | {"weight": 0.25}, **RESIDUAL)
    RunFolder(tmp_path / "run").start(resume=False, resolved="")
    stages = make_stages(options)
    found = class_examples(stages, options.class_text, text_encoder=str(toy_text_encoder))
    assert found is not None
    assert found.weight == 0.25
    assert found.labels.tolist() == [0, 1, 1, 2, 2, 2]
    sentences = [sentence for name in CLASSES for sentence in SENTENCES[name]]
    torch.testing.assert_close(found.texts, load_text_encoder(str(toy_text_encoder)).encode(sentences))
    assert "class words" in stages.fingerprints
    assert "words" not in stages.fingerprints
    assert class_examples(stages, ClassTextOptions(), text_encoder="none is loaded") is None


def test_a_control_exchanges_whose_sentences_they_are(described: dict[str, Any]) -> None:
    options = ClassTextOptions.model_validate(described | {"control": "permuted_bank"})
    texts = class_texts(options, CLASSES).sentences
    assert sorted(texts) == sorted(tuple(text) for text in SENTENCES.values())
    assert all(text != tuple(SENTENCES[name]) for name, text in zip(CLASSES, texts, strict=True))


def test_a_head_learns_what_is_said_of_classes_and_the_run_tells_both_losses(
    recipe_options: Make, toy_text_encoder: Path, described: dict[str, Any], tmp_path: Path
) -> None:
    training = {"teacher": {"head": {"residual": True, "dropout": 0.0}, "train": {"epochs": 40, "learning_rate": 3e-3}}}
    run = run_recipe(recipe_options("own", tmp_path / "run", class_text=described, **training))
    first, *_, last = (line for line in run.read_metrics() if line["stage"] == "head")
    assert first["loss"] == pytest.approx(first["cross_entropy"] + 0.5 * first["class_text_cross_entropy"])
    assert last["class_text_cross_entropy"] < 0.5 < first["class_text_cross_entropy"]
    provenance = read_json(run.provenance)
    assert {"words", "class words"} <= provenance["fingerprints"].keys()
    assert provenance["words"]["class words"] == {"source": "descriptions", "texts": 3, "sentences": 6, "cut off": 0, "unread": 0}
    assert provenance["words"]["words"]["source"] == "column"
    _, head, _ = load_teacher(run.teacher)
    vectors = load_text_encoder(str(toy_text_encoder)).encode([sentence for name in CLASSES for sentence in SENTENCES[name]])
    with torch.no_grad():
        answers: Any = head.folds[0].heads[0]
        assert answers.answer_words(vectors).argmax(dim=1).tolist() == [0, 1, 1, 2, 2, 2]


def test_a_resumed_run_is_a_straight_one_and_is_audited_like_it(
    recipe_options: Make, frozen_encoder: str, described: dict[str, Any], tmp_path: Path
) -> None:
    teacher = {"head": {"residual": True}, "folds": 2, "calibrate": True, "image_encoder": frozen_encoder}
    settings = {"class_text": described, "teacher": teacher, "text": {"queries": "sentences"}, "cache": str(tmp_path / "cache")}
    options, straight = (recipe_options("own", tmp_path / name, **settings) for name in ("resumed", "straight"))
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting("training head-fold-2", 2))
    resumed, whole = run_recipe(options, resume=True), run_recipe(straight)
    assert (resumed.student / "model.safetensors").read_bytes() == (whole.student / "model.safetensors").read_bytes()
    Path(described["descriptions"]).unlink()  # what taught the heads is in them
    first, again = read_json(resumed.audit), audit_run(whole.path, reporter=Silence())
    assert again.verdict == first["verdict"]
    assert {probe.id for probe in again.probes} - {probe["id"] for probe in first["probes"]} == {"R1b"}
    shown = dict(setting_rows(RunFiles.open(whole.path)))
    assert shown["words"] == "source column, kind label_blind"
    assert shown["words of the classes beside them"] == "source descriptions"
    assert shown["teacher"].endswith("head own with a residual")


def test_a_run_does_not_go_on_with_other_sentences(recipe_options: Make, described: dict[str, Any], tmp_path: Path) -> None:
    options = recipe_options("own", tmp_path / "run", class_text=described, **RESIDUAL)
    with pytest.raises(PowerCutError):
        run_recipe(options, reporter=Interrupting("training student", 3))
    Path(described["descriptions"]).write_text(json.dumps(SENTENCES | {CLASSES[0]: ["not what it was"]}))
    with pytest.raises(RunError, match=r"run was begun with other class words: bring back what there was, or take another `out`"):
        run_recipe(options, resume=True)
    Path(described["descriptions"]).write_text(json.dumps(SENTENCES))
    assert run_recipe(options, resume=True).finished


@pytest.mark.parametrize("partner", ["text", "linear"])
def test_of_two_heads_those_that_answer_words_learn_them(recipe_options: Make, tmp_path: Path, partner: str) -> None:
    residual = partner == "linear"
    teacher = {"partner": partner, "head": {"residual": residual}}
    run = run_recipe(recipe_options("own", tmp_path / "run", class_text={"source": "classes"}, teacher=teacher))
    taught = {line["stage"] for line in run.read_metrics() if "class_text_cross_entropy" in line}
    assert taught == {"head" if residual else "partner"}


@pytest.mark.parametrize(
    ("case", "changes", "said"),
    [
        ("own", {"class_text": {"source": "classes"}}, "need teacher.head.residual = true"),
        (
            "own",
            {"class_text": {"source": "classes"}, "text": {"kind": "unknown"}},
            r"residual = true.* and text\.kind = 'label_blind', got 'unknown'",
        ),
        ("bank", {"class_text": {"source": "classes"}}, "need teacher.head.residual = true"),
        ("own", {"class_text": {"weight": 0.1}, **RESIDUAL}, "settings but no words"),
        ("own", {"class_text": {"source": "classes", "queries": "tokens"}, **RESIDUAL}, "remove its queries and kind"),
        ("own", {"class_text": {"source": "classes", "kind": "privileged"}, **RESIDUAL}, "remove its queries and kind"),
        ("own", {"class_text": {"source": "classes", "control": "other_row"}, **RESIDUAL}, r"class_text\.control = 'other_row'"),
        (
            "own",
            {
                "class_text": {"source": "classes"},
                "text": BY_TOKENS,
                **RESIDUAL,
            },
            r"need text\.queries = 'text' or 'sentences'",
        ),
        ("own", {"class_text": {"source": "descriptions", "descriptions": "gone.json"}, **RESIDUAL}, r"class_text\.descriptions"),
    ],
)
def test_words_that_cannot_be_or_have_no_use_are_refused(
    recipe_options: Make, tmp_path: Path, case: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises((OptionError, TextError), match=said):
        run_recipe(recipe_options(case, tmp_path / "run", **changes))
