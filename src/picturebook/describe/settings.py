"""What `picturebook describe` is asked for."""

from typing import Literal

from pydantic import Field, model_validator

from picturebook.data.tables import DataOptions
from picturebook.describe.prompts import unknown_places
from picturebook.models.device import Device
from picturebook.options import Options

DEFAULT_CLASS_PROMPT = (
    "Write {least} to {most} short phrases that say what a picture of {class} looks like: shapes, parts, colours, textures, "
    "and what is seen around it. Two to six words a phrase, each about one thing that can be seen. "
    "Answer with a JSON list of strings and nothing else."
)
"""The prompt for a class where none is given."""

_PLACES = {"captions": ("label",), "classes": ("class", "classes", "least", "most")}
_TAKES_EFFECT_WITH = {
    "batch_size": "captions",
    "endpoint": "classes",
    "least": "classes",
    "most": "classes",
    "price_in": "classes",
    "price_out": "classes",
    "timeout": "classes",
    "temperature": "classes",
}


class DescribeOptions(Options):
    """Texts for a data root, and who writes them."""

    task: Literal["captions", "classes"]
    """captions: one text a picture. classes: a list of short visual phrases a class."""
    data: DataOptions
    """The pictures, or the classes."""
    model: str = Field(min_length=1)
    """A model of the Hugging Face hub, a folder of one, or the endpoint's name for it."""
    endpoint: str | None = None
    """URL of an OpenAI-compatible server, for classes; None takes PICTUREBOOK_ENDPOINT or OPENAI_BASE_URL where one of them
    is set and `model` is no local folder; the empty text is none."""
    prompt: str | None = None
    """What is asked. {label} in captions (then they are privileged); {class}, {classes}, {least} and {most} in classes."""
    out: str | None = None
    """JSONL file to write or go on with; by default captions.jsonl or descriptions.jsonl."""
    batch_size: int = Field(default=8, ge=1)
    """Pictures that are captioned at once."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of an answer at most; None is 64 for captions, 512 for a local model, and for an endpoint its own rule."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Of sampling, for classes; None is 0.7 for a local model and an endpoint's own rule. Captions are always greedy."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds that one request to the endpoint may take."""
    least: int = Field(default=10, ge=1)
    """Phrases a class at least; a shorter list is asked for again."""
    most: int = Field(default=20, ge=1)
    """Phrases a class at most; the rest of a longer list is left out."""
    device: Device = "auto"
    """Where a local model computes."""
    dry_run: bool = False
    """Say what it would take and cost; ask nobody, write nothing."""
    price_in: float | None = Field(default=None, ge=0)
    """Price of a million tokens that are read; for the dry run."""
    price_out: float | None = Field(default=None, ge=0)
    """Price of a million tokens that are written; for the dry run."""

    @model_validator(mode="after")
    def _settings_take_effect(self) -> "DescribeOptions":
        for name, task in _TAKES_EFFECT_WITH.items():
            if self.task != task and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} takes effect with --{task} only")
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in and price_out go together: give both, or none")
        if self.price_in is not None and not self.dry_run:
            raise ValueError("price_in and price_out take effect with --dry-run only")
        if self.least > self.most:
            raise ValueError(f"least: need at most {self.most} (most), got {self.least}")
        return self

    @model_validator(mode="after")
    def _prompt_can_be_filled(self) -> "DescribeOptions":
        if self.prompt is None:
            return self
        places = _PLACES[self.task]
        if unknown := unknown_places(self.prompt, places):
            known = ", ".join(f"{{{place}}}" for place in places)
            raise ValueError(f"prompt: there is no {{{unknown[0]}}} to fill in with --{self.task}, only {known}")
        if self.task == "classes" and "{class}" not in self.prompt:
            raise ValueError(f"prompt: need a {{class}} where the class name stands, got {self.prompt!r}")
        return self

    @property
    def template(self) -> str:
        """The prompt before it is filled in; "" is the captioner's own way."""
        if self.prompt is not None:
            return self.prompt
        return "" if self.task == "captions" else DEFAULT_CLASS_PROMPT

    @property
    def kind(self) -> str:
        """What the texts know: label_blind, privileged (the prompt names the label) or class (one text for all pictures)."""
        if self.task == "classes":
            return "class"
        return "privileged" if "{label}" in self.template else "label_blind"

    @property
    def out_file(self) -> str:
        """The JSONL file."""
        return self.out or ("captions.jsonl" if self.task == "captions" else "descriptions.jsonl")
