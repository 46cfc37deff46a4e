from typing import Any

import numpy as np
import pytest
import torch
from head_cases import DT, DV, B, K, N, draw, head_of, numbers, one_each, several, slow_attention, slow_linear, slow_norm, stirred
from pydantic import ValidationError

from picturebook.errors import OptionError, TextError
from picturebook.models.heads import ClassBankHead, HeadOptions, LinearHead, OwnTextHead, TextHead, build_head
from picturebook.types import Queries


@pytest.mark.parametrize("residual", [False, True])
def test_own_head_is_its_formula(residual: bool) -> None:
    head = stirred(head_of("own", residual=residual))
    tokens, texts = draw(B, N, DV, seed=1), draw(B, DT, seed=2)
    output, p = head(tokens, one_each(texts), with_attention=True), numbers(head)
    for i in range(B):
        expected, maps = slow_attention(texts[i].numpy(), tokens[i].numpy(), p)
        if residual:
            expected = expected + slow_linear(slow_norm(texts[i].numpy(), p, "attention.text_norm"), p, "residual")
        np.testing.assert_allclose(output.representation[i].detach(), expected, rtol=1e-10)
        np.testing.assert_allclose(output.attention[i, 0].detach(), maps, rtol=1e-10)
        np.testing.assert_allclose(
            output.logits[i].detach(), slow_linear(slow_norm(expected, p, "norm"), p, "classifier"), rtol=1e-9
        )


@pytest.mark.parametrize("mode", ["bank", "learned"])
@pytest.mark.parametrize("scorer", ["shared", "per_class"])
def test_bank_head_is_its_formula(mode: str, scorer: str) -> None:
    head = stirred(head_of(mode, scorer=scorer))
    tokens = draw(B, N, DV, seed=1)
    output, p = head(tokens, None, with_attention=True), numbers(head)
    for i in range(B):
        attended, logits = [], []
        for k in range(K):
            o, maps = slow_attention(p["texts"][k, 0], tokens[i].numpy(), p)
            np.testing.assert_allclose(output.attention[i, k].detach(), maps, rtol=1e-10)
            shared = scorer == "shared"
            against = (
                slow_linear(p["texts"][k, 0], p, "projection") / np.exp(p["log_temperature"]) if shared else p["class_weights"][k]
            )
            logits.append(np.dot(slow_norm(o, p, "norm"), against) + p["bias"][k])
            attended.append(o)
        np.testing.assert_allclose(output.logits[i].detach(), logits, rtol=1e-9)
        probs = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(output.representation[i].detach(), sum(probs[k] * attended[k] for k in range(K)), rtol=1e-9)


def test_an_own_text_of_several_queries_finds_the_mean_of_what_each_finds() -> None:
    head = stirred(head_of("own", residual=True))
    tokens, texts = draw(B, N, DV, seed=1), several(B, seed=2)
    output, p = head(tokens, texts, with_attention=True), numbers(head)
    for i in range(B):
        asked = [texts.vectors[i, j].numpy() for j in range(i + 1)]
        found = [slow_attention(query, tokens[i].numpy(), p) for query in asked]
        expected = np.mean([o for o, _ in found], axis=0)
        expected = expected + slow_linear(slow_norm(np.mean(asked, axis=0), p, "attention.text_norm"), p, "residual")
        np.testing.assert_allclose(output.representation[i].detach(), expected, rtol=1e-9)
        np.testing.assert_allclose(output.attention[i, 0].detach(), np.mean([m for _, m in found], axis=0), rtol=1e-9)


def test_a_class_of_several_queries_finds_their_mean_and_is_scored_by_their_mean() -> None:
    texts = several(K, seed=9)
    head = stirred(head_of("bank", class_texts=Queries(texts.vectors.float(), texts.mask)))
    tokens = draw(B, N, DV, seed=1)
    output, p = head(tokens, None, with_attention=True), numbers(head)
    for i in range(B):
        for k in range(K):
            asked = p["texts"][k, : k + 1]
            found = [slow_attention(query, tokens[i].numpy(), p) for query in asked]
            o, against = np.mean([o for o, _ in found], axis=0), slow_linear(asked.mean(axis=0), p, "projection")
            logit = np.dot(slow_norm(o, p, "norm"), against) / np.exp(p["log_temperature"]) + p["bias"][k]
            np.testing.assert_allclose(output.logits[i, k].detach(), logit, rtol=1e-8)
            np.testing.assert_allclose(output.attention[i, k].detach(), np.mean([m for _, m in found], axis=0), rtol=1e-9)


@pytest.mark.parametrize("mode", ["own", "bank"])
def test_queries_that_a_text_does_not_have_change_nothing(mode: str) -> None:
    texts = several(K, seed=3)
    other = Queries(torch.where(texts.mask[..., None], texts.vectors, 100.0), texts.mask)
    logits = []
    for some in (texts, other):
        some = Queries(some.vectors.float(), some.mask)
        head = head_of(mode, class_texts=some if mode == "bank" else None).eval()
        logits.append(head(draw(K, N, DV).float(), some if mode == "own" else None).logits)
    torch.testing.assert_close(logits[0], logits[1])


@pytest.mark.parametrize("mode", ["own", "bank"])
def test_a_query_asked_twice_is_asked_once(mode: str) -> None:
    once = one_each(draw(K, DT, seed=3).float())
    twice = Queries(once.vectors.repeat(1, 2, 1), once.mask.repeat(1, 2))
    tokens = draw(K, N, DV).float()
    outputs = []
    for texts in (once, twice):
        head = head_of(mode, class_texts=texts if mode == "bank" else None).eval()
        outputs.append(head(tokens, texts if mode == "own" else None, with_attention=True))
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits)
    torch.testing.assert_close(outputs[0].attention, outputs[1].attention)


def test_a_text_head_classifies_the_text_and_looks_at_no_picture() -> None:
    head = stirred(head_of("text"))
    texts = several(B, seed=2)
    output, p = head(draw(B, N, DV, seed=1), texts), numbers(head)
    for i in range(B):
        mean = texts.vectors[i, : i + 1].numpy().mean(axis=0)
        np.testing.assert_allclose(output.representation[i], mean, rtol=1e-12)
        expected = slow_linear(slow_norm(mean, p, "norm"), p, "classifier")
        np.testing.assert_allclose(output.logits[i].detach(), expected, rtol=1e-10)
    assert torch.equal(head(draw(B, N, DV, seed=5), texts).logits, output.logits)
    with pytest.raises(TextError, match="classifies each image's own text, and got no texts"):
        head(draw(B, N, DV), None)


def test_linear_head_classifies_the_mean_token() -> None:
    head = stirred(head_of("linear"))
    tokens = draw(B, N, DV, seed=1)
    output, p = head(tokens, None), numbers(head)
    for i in range(B):
        mean = tokens[i].numpy().mean(axis=0)
        np.testing.assert_allclose(output.representation[i].detach(), mean, rtol=1e-10)
        np.testing.assert_allclose(
            output.logits[i].detach(), slow_linear(slow_norm(mean, p, "norm"), p, "classifier"), rtol=1e-10
        )


@pytest.mark.parametrize("mode", ["bank", "own", "learned", "linear", "text"])
def test_the_representations_width_is_stated(mode: str) -> None:
    head = head_of(mode)
    output = head(draw(B, N, DV).float(), one_each(draw(B, DT).float()) if mode in ("own", "text") else None)
    assert output.representation.shape == (B, head.representation_width)
    assert output.logits.shape == (B, K)
    assert output.attention is None


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("bank", {}),
        ("bank", {"scorer": "per_class"}),
        ("learned", {}),
        ("own", {}),
        ("own", {"residual": True}),
        ("linear", {}),
        ("text", {}),
    ],
)
def test_every_parameter_learns(mode: str, settings: dict[str, Any]) -> None:
    head = stirred(head_of(mode, **settings))
    output = head(draw(B, N, DV), one_each(draw(B, DT)) if mode in ("own", "text") else None)
    (output.logits.square().sum() + output.representation.square().sum()).backward()
    # The same shift of all keys changes no softmax: the key's bias is without effect, by the formula.
    still = {n for n, q in head.named_parameters() if q.grad is None or q.grad.abs().max() < 1e-9} - {"attention.key.bias"}
    assert not still


def test_class_texts_are_fixed_and_learned_queries_are_not() -> None:
    assert "texts" not in dict(head_of("bank").named_parameters())
    assert "texts" in head_of("bank").state_dict()
    assert "texts" in dict(head_of("learned").named_parameters())


@pytest.mark.parametrize("mode", ["bank", "learned", "linear"])
def test_no_text_of_the_image_reaches_the_logits(mode: str) -> None:
    head = head_of(mode).eval()
    tokens = draw(B, N, DV).float()
    for seed in range(3):
        assert torch.equal(head(tokens, one_each(draw(B, DT, seed=seed).float())).logits, head(tokens, None).logits)


def test_own_text_reaches_the_logits() -> None:
    head = head_of("own").eval()
    tokens = draw(B, N, DV).float()
    first, second = (head(tokens, one_each(draw(B, DT, seed=seed).float())).logits for seed in (1, 2))
    assert not torch.equal(first, second)
    with pytest.raises(TextError, match="asks each image by its own text"):
        head(tokens, None)


def test_own_text_without_residual_says_nothing_of_a_blank_image_and_with_it_does() -> None:
    blank = draw(1, 1, DV).float().expand(2, N, DV)
    texts = one_each(draw(2, DT).float())
    for residual in (False, True):
        first, second = head_of("own", residual=residual).eval()(blank, texts).representation
        assert torch.allclose(first, second, atol=1e-6) is not residual


@pytest.mark.parametrize(("mode", "settings"), [("own", {"residual": True}), ("text", {})])
def test_texts_are_answered_without_a_picture(mode: str, settings: dict[str, Any]) -> None:
    head = stirred(head_of(mode, **settings))
    assert HeadOptions(mode=mode, **settings).answers_words
    texts = draw(B, DT, seed=2)
    assert isinstance(head, OwnTextHead | TextHead)
    found, p = head.answer_words(texts), numbers(head)
    for i in range(B):
        shown = texts[i].numpy()
        if mode == "own":
            shown = slow_linear(slow_norm(shown, p, "attention.text_norm"), p, "residual")
        expected = slow_linear(slow_norm(shown, p, "norm"), p, "classifier")
        np.testing.assert_allclose(found[i].detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("mode", ["bank", "own", "learned", "linear"])
def test_other_heads_answer_no_text_by_itself(mode: str) -> None:
    assert not HeadOptions(mode=mode).answers_words


def test_learned_queries_cost_their_own_size_and_nothing_else() -> None:
    sizes = {mode: sum(q.numel() for q in head_of(mode).parameters()) for mode in ("bank", "learned")}
    assert sizes["learned"] == sizes["bank"] + K * DT


def test_a_bank_starts_with_logits_of_deviation_one() -> None:
    options = HeadOptions()
    texts = one_each(draw(40, 384).float())
    head = build_head(options, token_width=64, num_tokens=16, text_width=384, num_classes=40, class_texts=texts, seed=0).eval()
    with torch.no_grad():
        assert 0.7 < head(draw(32, 16, 64).float(), None).logits.std() < 1.4


@pytest.mark.parametrize("mode", ["bank", "own", "learned", "linear", "text"])
def test_weights_are_a_function_of_the_seed(mode: str) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, again, other = head_of(mode, seed=3), head_of(mode, seed=3), head_of(mode, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_each_mode_has_its_head() -> None:
    kinds = {"bank": ClassBankHead, "learned": ClassBankHead, "own": OwnTextHead, "linear": LinearHead, "text": TextHead}
    assert {mode: type(head_of(mode)) for mode in kinds} == kinds


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"residual": True}, "head.residual takes effect with head.mode = 'own' only, got 'bank'"),
        ({"mode": "own", "scorer": "per_class"}, "head.scorer takes effect with"),
        ({"mode": "linear", "scorer": "per_class"}, "head.scorer takes effect with"),
        ({"width": 10, "num_heads": 4}, "multiple of head.num_heads, got 10 and 4"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        HeadOptions.model_validate(settings)


def test_options_come_from_a_plain_table() -> None:
    assert HeadOptions.model_validate({"mode": "own", "width": 64, "residual": True, "dropout": 0.0}).width == 64
    with pytest.raises(ValidationError):
        HeadOptions.model_validate({"mode": "bnak"})


def test_class_texts_belong_to_a_bank() -> None:
    sizes = {"token_width": DV, "num_tokens": N, "text_width": DT, "num_classes": K, "seed": 0}
    with pytest.raises(OptionError, match="with 'bank' none came"):
        build_head(HeadOptions(), **sizes)
    with pytest.raises(OptionError, match="with 'learned' they came"):
        build_head(HeadOptions(mode="learned"), **sizes, class_texts=one_each(torch.zeros(K, DT)))
    with pytest.raises(OptionError, match="expected 4 of width 7, one a class, got 5 of width 7"):
        build_head(HeadOptions(), **sizes, class_texts=one_each(torch.zeros(K + 1, DT)))
