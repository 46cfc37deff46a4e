"""Language models that answer prompts: transformers' causal models behind one call."""

from hashlib import blake2b
from typing import Any

import torch

from picturebook.errors import ModelError
from picturebook.models.device import named_device
from picturebook.models.hub_loading import not_loaded, quiet_transformers
from picturebook.models.image_encoders import weights_fingerprint


class LanguageModel:
    """A frozen causal language model.

    Args:
        model: a transformers model with `generate`.
        tokenizer: its tokenizer; where it has a chat template, a prompt is put as the user's turn.
        max_tokens: tokens of an answer at most.
        temperature: of sampling; 0 is greedy.

    Attributes:
        fingerprint: of all weights.
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_tokens: int, temperature: float) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._max_tokens, self._temperature = max_tokens, temperature
        self.fingerprint = weights_fingerprint(model)

    @property
    def provenance(self) -> dict[str, str]:
        return {}

    @torch.no_grad()
    def complete(self, prompt: str, *, attempt: int) -> str:
        """Answer a prompt; the same prompt and attempt give the same answer on the same machine.

        Args:
            prompt: the user's turn; there is no other.
            attempt: of the same prompt, from 0; each draws anew.

        Raises:
            ModelError: prompt and answer are longer than what the model reads, or memory does not suffice.
        """
        tokens = self._tokenize(prompt).to(self._model.device)
        num_prompt = tokens["input_ids"].shape[1]
        if num_prompt + self._max_tokens > self._tokenizer.model_max_length:
            raise ModelError(
                f"The prompt has {num_prompt} tokens, and with {self._max_tokens} for the answer that is more than the "
                f"{self._tokenizer.model_max_length} that the model reads: shorten the prompt, or lower --max-tokens."
            )
        sampling = {"do_sample": True, "temperature": self._temperature} if self._temperature else {"do_sample": False}
        pad = self._tokenizer.eos_token_id if self._tokenizer.pad_token_id is None else self._tokenizer.pad_token_id
        try:
            with torch.random.fork_rng(), quiet_transformers():
                torch.manual_seed(_seed(prompt, attempt))
                written = self._model.generate(**tokens, max_new_tokens=self._max_tokens, pad_token_id=pad, **sampling)
        except torch.OutOfMemoryError:
            raise ModelError("The language model and its answer need more memory than there is: take a smaller one.") from None
        answer: str = self._tokenizer.decode(written[0, num_prompt:], skip_special_tokens=True)
        return answer

    def _tokenize(self, prompt: str) -> Any:
        if self._tokenizer.chat_template is None:
            return self._tokenizer(prompt, return_tensors="pt")
        turns = [{"role": "user", "content": prompt}]
        text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return self._tokenizer(text, add_special_tokens=False, return_tensors="pt")  # the template has them


def load_language_model(name: str, *, max_tokens: int, temperature: float, device: str = "auto") -> LanguageModel:
    """Load a causal language model: a name of the Hugging Face hub, or a folder. Code that comes with a model is not run.

    Raises:
        OptionError: there is no such device on this machine.
        ModelError: it is not on this machine and could not be fetched, or it is no causal language model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # seconds to import

    place = named_device(device)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModelForCausalLM.from_pretrained(name)
    except Exception as error:  # what is none, or is broken, is refused in many ways
        raise not_loaded("language model", name, error) from error
    if place.type == "cpu":
        model = model.float()  # half precision is slow or missing there
    return LanguageModel(model.to(place), tokenizer, max_tokens=max_tokens, temperature=temperature)


def _seed(prompt: str, attempt: int) -> int:
    return int.from_bytes(blake2b(f"{attempt} {prompt}".encode(), digest_size=7).digest(), "big")
