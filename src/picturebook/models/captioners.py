"""Captioners: transformers' models from a picture, and mostly a prompt, to text, behind one call."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from picturebook.errors import ModelError, OptionError
from picturebook.models.device import named_device
from picturebook.models.hub_loading import not_loaded, quiet_transformers
from picturebook.models.image_encoders import weights_fingerprint

DEFAULT_CHAT_PROMPT = "Describe in one sentence what can be seen in this picture."
"""What a captioner that chats is asked where no prompt is given; the others begin by themselves."""


@runtime_checkable  # so that the tests' type checks can look at it
class Preparation(Protocol):
    """How pictures and a prompt become what a model takes."""

    def effective_prompt(self, prompt: str) -> str: ...

    def inputs(self, images: Sequence[Any], prompt: str) -> Any: ...

    def decode(self, ids: Any) -> list[str]: ...


class Captioner:
    """A frozen captioner. Decoding is greedy, so a picture's caption does not depend on chance.

    Args:
        model: a transformers model with `generate`.
        preparation: how its inputs are made.
        max_tokens: tokens of a caption at most.

    Attributes:
        fingerprint: of all weights.
    """

    def __init__(self, model: Any, preparation: Preparation, *, max_tokens: int) -> None:
        self._model = model.eval().requires_grad_(False)
        self._preparation = preparation
        self._max_tokens = max_tokens
        self.fingerprint = weights_fingerprint(model)

    def effective_prompt(self, prompt: str) -> str:
        """What is asked when `prompt` is: the same, or the default where it is empty.

        Raises:
            OptionError: this captioner takes no prompt.
        """
        return self._preparation.effective_prompt(prompt)

    @torch.no_grad()
    def caption(self, images: Sequence[Any], prompt: str) -> list[str]:
        """Captions in the order of the pictures, without the prompt and without blanks around them.

        Args:
            images: RGB pictures as Pillow opens them, of any size.
            prompt: one for all; what `effective_prompt` gave.

        Raises:
            ModelError: memory does not suffice.
        """
        inputs = self._preparation.inputs(images, prompt).to(self._model.device, self._model.dtype)
        try:
            with quiet_transformers():
                ids = self._model.generate(**inputs, max_new_tokens=self._max_tokens, do_sample=False)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{len(images)} pictures at once need more memory than there is: lower --batch-size, or take a smaller captioner."
            ) from None
        texts = self._preparation.decode(ids)
        # Some models give back what they were given before what they wrote.
        given = self._preparation.decode(inputs["input_ids"]) if "input_ids" in inputs else [""] * len(texts)
        return [text.strip().removeprefix(start.strip()).strip() for text, start in zip(texts, given, strict=True)]


class _Plain:
    """An image encoder with a decoder (ViT-GPT2 and the like): a picture and nothing else."""

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self._image_processor, self._tokenizer = image_processor, tokenizer

    def effective_prompt(self, prompt: str) -> str:
        if prompt:
            raise OptionError("This captioner takes no prompt: leave --prompt out, or take one that does (BLIP, GIT, LLaVA, …).")
        return ""

    def inputs(self, images: Sequence[Any], prompt: str) -> Any:
        return self._image_processor(images=list(images), return_tensors="pt")

    def decode(self, ids: Any) -> list[str]:
        return list(self._tokenizer.batch_decode(ids, skip_special_tokens=True))


class _Prefix:
    """A captioner that goes on from the prompt's words (BLIP, GIT, BLIP-2): "a photo of" and the like."""

    def __init__(self, processor: Any, *, starts_open: bool) -> None:
        self._processor = processor
        self._starts_open = starts_open

    def effective_prompt(self, prompt: str) -> str:
        return prompt

    def inputs(self, images: Sequence[Any], prompt: str) -> Any:
        if not prompt:
            return self._processor(images=list(images), return_tensors="pt")
        if not self._starts_open:
            return self._processor(images=list(images), text=[prompt] * len(images), return_tensors="pt")
        # GIT goes on from the last token that it is given, and would take the tokenizer's [SEP] for the end.
        tokenizer = self._processor.tokenizer
        inputs = self._processor(images=list(images), return_tensors="pt")
        words = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        inputs["input_ids"] = torch.tensor([[tokenizer.cls_token_id, *words]] * len(images))
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return inputs

    def decode(self, ids: Any) -> list[str]:
        return list(self._processor.batch_decode(ids, skip_special_tokens=True))


class _Chat:
    """A model that answers: picture and prompt are the user's turn of its chat template (LLaVA, Qwen-VL, SmolVLM, …)."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        processor.tokenizer.padding_side = "left"  # it writes on from the right

    def effective_prompt(self, prompt: str) -> str:
        return prompt or DEFAULT_CHAT_PROMPT

    def inputs(self, images: Sequence[Any], prompt: str) -> Any:
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        text = self._processor.apply_chat_template(turns, add_generation_prompt=True)
        starts_itself = text.startswith(self._processor.tokenizer.bos_token or "\0")
        return self._processor(
            images=[[image] for image in images],
            text=[text] * len(images),
            add_special_tokens=not starts_itself,
            padding=True,
            return_tensors="pt",
        )

    def decode(self, ids: Any) -> list[str]:
        return list(self._processor.batch_decode(ids, skip_special_tokens=True))


def load_captioner(name: str, *, max_tokens: int, device: str = "auto") -> Captioner:
    """Load a captioner: a name of the Hugging Face hub, or a folder. Code that comes with a model is not run.

    Raises:
        OptionError: there is no such device on this machine.
        ModelError: it is not on this machine and could not be fetched, or it makes no text of pictures.
    """
    from transformers import AutoModelForImageTextToText  # seconds to import

    place = named_device(device)
    try:
        with quiet_transformers():
            model = AutoModelForImageTextToText.from_pretrained(name)
            preparation = _preparation(name, model.config.model_type)
    except Exception as error:  # what is none, or is broken, is refused in many ways
        raise not_loaded("captioner", name, error) from error
    if place.type == "cpu":
        model = model.float()  # half precision is slow or missing there
    return Captioner(model.to(place), preparation, max_tokens=max_tokens)


def _preparation(name: str, model_type: str) -> Preparation:
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if model_type == "vision-encoder-decoder":
        return _Plain(AutoImageProcessor.from_pretrained(name), AutoTokenizer.from_pretrained(name))
    processor = AutoProcessor.from_pretrained(name)
    if processor.chat_template is not None:
        return _Chat(processor)
    return _Prefix(processor, starts_open=model_type == "git")
