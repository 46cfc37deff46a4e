import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from picturebook.data.texts import TextOptions
from picturebook.errors import OptionError
from picturebook.models.heads import HeadOptions
from picturebook.models.text_encoders import load_text_encoder, whiten
from picturebook.recipes.stages import Stages
from picturebook.recipes.words import LEARNED_WIDTH, Words
from picturebook.types import Batch
from toy_runs import Listening, make_stages

Options = Callable[..., Any]


@pytest.fixture
def stages(recipe_options: Options, tmp_path: Path) -> Stages:
    made = make_stages(recipe_options("bank", tmp_path / "run", cache=str(tmp_path / "cache")))
    made.reporter = Listening()
    return made


@pytest.fixture
def told(recipe_options: Options, tmp_path: Path) -> Stages:
    """Stages of pictures with texts of their own."""
    made = make_stages(recipe_options("own", tmp_path / "run", cache=str(tmp_path / "cache")))
    made.reporter = Listening()
    return made


def words(stages: Stages, encoder: Path, mode: str = "bank", **text: Any) -> Words:
    head = HeadOptions(mode=mode, width=16, num_heads=2)
    return Words(stages, TextOptions(**text), head, text_encoder=str(encoder))


def everyone(stages: Stages) -> Batch:
    ids = torch.from_numpy(stages.pictures.ids)
    return Batch(ids, torch.zeros_like(ids), torch.from_numpy(stages.pictures.labels))


def test_a_bank_is_the_whitened_class_texts(stages: Stages, toy_text_encoder: Path) -> None:
    found = words(stages, toy_text_encoder)
    texts = [f"a photo of a {name}." for name in stages.pictures.classes]
    assert torch.equal(found.bank.vectors[:, 0], whiten(load_text_encoder(str(toy_text_encoder)).encode(texts)))
    assert (found.own, found.own_texts, found.kind, found.teacher_name, found.width) == (None, None, "bank", "teacher", 16)
    assert stages.fingerprints["words"] == found.fingerprint
    assert found.sentences == {"texts": 3, "sentences": 3, "cut off": 0, "unread": 0}


@pytest.mark.parametrize("mode", ["own", "text"])
def test_own_words_are_found_by_picture(told: Stages, toy_text_encoder: Path, mode: str) -> None:
    found = words(told, toy_text_encoder, mode, source="column", kind="label_blind")
    assert found.own_texts == tuple((text,) for text in told.pictures.texts)
    expected = load_text_encoder(str(toy_text_encoder)).encode(told.pictures.texts)
    assert torch.equal(found.own.of(everyone(told)).vectors[:, 0], expected)
    assert (found.bank, found.kind) == (None, "label_blind")
    alone = " alone" if mode == "text" else ""
    assert found.teacher_name == f"teacher with the pictures' own words{alone} (label_blind)"


def test_privileged_words_are_the_class_texts(told: Stages, toy_text_encoder: Path) -> None:
    found = words(told, toy_text_encoder, "own", kind="privileged")
    names = [told.pictures.classes[label] for label in told.pictures.labels]
    assert found.own_texts == tuple((f"a photo of a {name}.",) for name in names)
    assert len(found.own.of(everyone(told)).vectors.unique(dim=0)) == 3


@pytest.mark.parametrize("mode", ["learned", "linear"])
def test_a_head_without_words_loads_no_encoder(stages: Stages, mode: str) -> None:
    found = words(stages, Path("/no/such/encoder"), mode, source="none")
    assert (found.bank, found.own, found.fingerprint, found.kind, found.width) == (None, None, "none", "none", LEARNED_WIDTH)


def test_descriptions_ask_sentence_by_sentence(stages: Stages, toy_text_encoder: Path, tmp_path: Path) -> None:
    described = {name: [f"a {name}", "one two"][: number + 1] for number, name in enumerate(stages.pictures.classes)}
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    settings = {"source": "descriptions", "descriptions": str(path)}
    by_sentence = words(stages, toy_text_encoder, **settings, queries="sentences")
    assert by_sentence.bank.mask.tolist() == [[True, False], [True, True], [True, True]]
    assert stages.reporter.said == ["1 sentence the same for two classes or more: 'one two'."]
    by_text = words(stages, toy_text_encoder, **settings)
    assert by_text.bank.vectors.shape == (3, 1, 16)
    torch.testing.assert_close(by_sentence.bank.mean(), by_text.bank.vectors[:, 0], atol=1e-5, rtol=1e-4)
    by_token = words(stages, toy_text_encoder, **settings, queries="tokens")
    assert by_token.bank.mask.sum(dim=1).tolist() == [2, 4, 4]
    assert len({found.fingerprint for found in (by_sentence, by_text, by_token)}) == 3


def test_what_the_encoder_cannot_read_is_said(stages: Stages, toy_text_encoder: Path) -> None:
    long = "one " * 40 + "{}"
    found = words(stages, toy_text_encoder, template=[long, "ein unbekanntes Wort {}"])
    assert found.sentences == {"texts": 3, "sentences": 6, "cut off": 3, "unread": 3}
    cut, unread = stages.reporter.said
    start = "one one one one one one one one one one…"
    assert cut == f"3 texts longer than the text encoder's 32 tokens: the rest is cut off ({start}, {start}, {start})."
    assert unread.startswith("3 texts of 6 in words or a script that the text encoder hardly knows: it sees unknown tokens or ")
    assert "single letters (ein unbekanntes Wort" in unread


def test_controls_change_with_the_runs_seed_alone(recipe_options: Options, toy_text_encoder: Path, tmp_path: Path) -> None:
    found = [
        words(make_stages(recipe_options("bank", tmp_path / str(number), seed=seed)), toy_text_encoder, control="scramble")
        for number, seed in enumerate((0, 0, 1))
    ]
    assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint


def test_a_control_of_the_other_role_is_refused(stages: Stages, toy_text_encoder: Path) -> None:
    with pytest.raises(OptionError, match="for a bank take 'permuted_bank'"):
        words(stages, toy_text_encoder, control="other_row")
