from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_generators
from picturebook.errors import ModelError, OptionError
from picturebook.models.captioners import DEFAULT_CHAT_PROMPT, Captioner, load_captioner

_NOISE = np.random.default_rng(0)
PICTURES = [Image.fromarray(_NOISE.integers(0, 255, (12 + extra, 20, 3), dtype=np.uint8)) for extra in range(3)]
KINDS = ("blip", "git", "vit_bert", "llava")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("captioners")

    def make(kind: str) -> Path:
        return root / kind if (root / kind).is_dir() else getattr(tiny_generators, kind)(root / kind)

    return make


@pytest.fixture(scope="module")
def captioner(folder: Callable[[str], Path]) -> Callable[[str], Captioner]:
    return lambda kind: load_captioner(str(folder(kind)), max_tokens=8)


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_the_pictures_own_whatever_the_batch(kind: str, captioner: Callable[[str], Captioner]) -> None:
    model = captioner(kind)
    prompt = model.effective_prompt("" if kind == "vit_bert" else "what is this ?")
    together = model.caption(PICTURES, prompt)
    assert [model.caption([picture], prompt)[0] for picture in PICTURES] == together
    assert len(set(together)) > 1
    assert all(text == text.strip() and "[" not in text and "<image>" not in text for text in together)


@pytest.mark.parametrize("kind", ["blip", "git", "llava"])
def test_the_prompt_has_an_effect_and_is_not_in_the_caption(kind: str, captioner: Callable[[str], Captioner]) -> None:
    model = captioner(kind)
    first, second = (model.caption(PICTURES, prompt) for prompt in ("a photo of", "what is this ?"))
    assert first != second
    assert not any(text.startswith(("a photo of", "what is this", "user")) for text in first + second)


def test_git_goes_on_from_the_prompts_last_word(folder: Callable[[str], Path], captioner: Callable[[str], Captioner]) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder("git"))
    model = AutoModelForImageTextToText.from_pretrained(folder("git")).eval()
    words = processor.tokenizer
    pixels = processor(images=PICTURES[0], return_tensors="pt")["pixel_values"]
    ids = [words.cls_token_id, *(words.convert_tokens_to_ids(word) for word in ("a", "photo", "of"))]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + 8 and (len(ids) == start or ids[-1] != words.sep_token_id):
            logits = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits
            ids.append(int(logits[0, -1].argmax()))
    expected = words.decode(ids[start:], skip_special_tokens=True).strip()
    assert captioner("git").caption(PICTURES[:1], "a photo of") == [expected]


def test_blip_goes_on_from_the_prompt_as_its_own_generation_does(
    folder: Callable[[str], Path], captioner: Callable[[str], Captioner]
) -> None:
    from transformers import BlipForConditionalGeneration, BlipProcessor

    processor = BlipProcessor.from_pretrained(folder("blip"))
    model = BlipForConditionalGeneration.from_pretrained(folder("blip")).eval()
    inputs = processor(images=PICTURES[0], text="a photo of", return_tensors="pt")
    with torch.no_grad():
        text = processor.decode(model.generate(**inputs, max_new_tokens=8, do_sample=False)[0], skip_special_tokens=True)
    assert text.startswith("a photo of ")
    assert captioner("blip").caption(PICTURES[:1], "a photo of") == [text.removeprefix("a photo of ")]


def test_a_model_that_chats_gets_its_template_once(captioner: Callable[[str], Captioner]) -> None:
    inputs: Any = captioner("llava")._preparation.inputs(PICTURES[:2], "what is this ?")
    words = captioner("llava")._preparation._processor.tokenizer
    tokens = words.convert_ids_to_tokens(inputs["input_ids"][0])
    assert tokens == ["[CLS]", "user", ":", *["<image>"] * 4, "what", "is", "this", "?", "assistant", ":", "[SEP]"]
    assert inputs["pixel_values"].shape == (2, 3, 16, 16)


def test_the_prompt_that_is_asked_where_none_is_given(captioner: Callable[[str], Captioner]) -> None:
    assert captioner("llava").effective_prompt("") == DEFAULT_CHAT_PROMPT
    assert captioner("blip").effective_prompt("") == ""
    assert captioner("blip").effective_prompt("a photo of") == "a photo of"
    with pytest.raises(OptionError, match="takes no prompt: leave --prompt out"):
        captioner("vit_bert").effective_prompt("a photo of")


def test_weights_have_a_fingerprint_and_loading_is_silent(
    captioner: Callable[[str], Captioner], folder: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder("blip"), folder("git"), capfd.readouterr()
    assert captioner("blip").fingerprint == captioner("blip").fingerprint != captioner("git").fingerprint
    captioner("blip").caption(PICTURES, "a photo of")
    assert capfd.readouterr() == ("", "")


def test_what_is_no_captioner_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_text_encoder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    capfd.readouterr()
    for name in ("no-such/captioner", "/no/such/folder", str(tmp_path), str(toy_text_encoder)):
        with pytest.raises(ModelError, match="is not on this machine and could not be fetched, or is none"):
            load_captioner(name, max_tokens=5)
    assert capfd.readouterr() == ("", "")


def test_too_little_memory_is_said_with_what_to_do(
    captioner: Callable[[str], Captioner], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise torch.OutOfMemoryError

    model = captioner("blip")
    monkeypatch.setattr(model._model, "generate", fail)
    with pytest.raises(ModelError, match=r"3 pictures at once .* lower --batch-size"):
        model.caption(PICTURES, "")
