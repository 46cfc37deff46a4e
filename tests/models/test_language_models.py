from pathlib import Path

import pytest
import torch

import tiny_generators
from picturebook.errors import ModelError
from picturebook.models.language_models import load_language_model

PROMPT = "what is this ?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_generators.llama(tmp_path_factory.mktemp("lm") / "plain", max_length=40)


def test_greedy_answers_are_the_likeliest_tokens_one_by_one(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = words(PROMPT)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + 7 and (len(ids) == start or ids[-1] != words.sep_token_id):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    answer = load_language_model(str(folder), max_tokens=7, temperature=0.0).complete(PROMPT, attempt=0)
    assert answer == words.decode(ids[start:], skip_special_tokens=True)


def test_each_attempt_draws_anew_and_the_same_again_and_leaves_the_seed_alone(folder: Path) -> None:
    model = load_language_model(str(folder), max_tokens=7, temperature=1.0)
    before = torch.random.get_rng_state()
    answers = [model.complete(PROMPT, attempt=attempt) for attempt in range(6)]
    assert len(set(answers)) > 1
    assert [load_language_model(str(folder), max_tokens=7, temperature=1.0).complete(PROMPT, attempt=2)] == answers[2:3]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_chat_template_is_used_once_where_there_is_one(tmp_path: Path) -> None:
    model = load_language_model(str(tiny_generators.llama(tmp_path / "chat", chat=True)), max_tokens=7, temperature=0.0)
    tokens = model._tokenizer.convert_ids_to_tokens(model._tokenize(PROMPT)["input_ids"][0])
    assert tokens == ["user", ":", "what", "is", "this", "?", "assistant", ":"]


def test_a_prompt_that_is_too_long_is_refused(folder: Path) -> None:
    model = load_language_model(str(folder), max_tokens=7, temperature=0.0)
    with pytest.raises(ModelError, match="has 102 tokens, and with 7 for the answer that is more than the 40"):
        model.complete("a " * 100, attempt=0)


def test_what_is_no_language_model_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tiny_generators.blip(tmp_path / "blip")
    capfd.readouterr()
    for name in ("no-such/model", "/no/such/folder", str(tmp_path)):
        with pytest.raises(ModelError, match="is not on this machine and could not be fetched, or is none"):
            load_language_model(name, max_tokens=5, temperature=0.0)
    assert capfd.readouterr() == ("", "")
