"""Label smoothing by words: what is taken from the true class goes to those of which the same is said."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from picturebook.data.texts import TextOptions
from picturebook.errors import OptionError
from picturebook.losses import class_likeness
from picturebook.models.heads import HeadOptions
from picturebook.recipes.alignment import check_class_words, naming
from picturebook.recipes.stages import Stages
from picturebook.recipes.words import Words


class SmoothingTextOptions(TextOptions):
    """Words of the classes, by whose likeness labels are smoothed."""

    source: Literal["classes", "descriptions", "none"] = "none"
    """Class names in a template, sentences about each class from a file, or no words, which smooths evenly."""
    text_encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers name or folder, or package:all-MiniLM-L6-v2 for the weights that come by pip."""
    temperature: float = Field(0.3, gt=0.0)
    """τ of softmax(cosine / τ): the lower, the more of the smoothing stays with the true class and those most like it."""


def check_smoothing(text: SmoothingTextOptions, label_smoothing: float) -> None:
    """Refuse words that cannot be or have no use.

    Raises:
        OptionError: words without smoothing, settings without words, or ones that class texts do not have.
    """
    if text.source == "none":
        if text != SmoothingTextOptions():
            raise OptionError("smoothing_text has settings but no words: say smoothing_text.source, or remove them.")
        return
    if label_smoothing == 0.0:
        raise OptionError("smoothing_text spreads what loss.label_smoothing takes: raise that above 0, or remove the words.")
    check_class_words(text, "smoothing_text", "compares classes by one vector each")


def likeness(stages: Stages, text: SmoothingTextOptions) -> Tensor | None:
    """How alike the run's classes are by their words, [K, K] on its device; None without words."""
    if text.source == "none":
        return None
    with naming("smoothing_text"):
        words = Words(stages, text, HeadOptions(mode="bank"), text_encoder=text.text_encoder, name="smoothing words")
    assert words.bank_as_encoded is not None
    # Centred and no more: whitening takes away what makes classes alike.
    vectors = words.bank_as_encoded.mean()
    return class_likeness(vectors - vectors.mean(dim=0), temperature=text.temperature).to(stages.device)
