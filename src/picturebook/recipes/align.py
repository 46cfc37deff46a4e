"""ALIGN (Jia et al., 2021, arXiv:2102.05918): CLIP's contrast on noisy texts, with smoothed targets and T from 1.

texts ← with probability r another picture's, words hidden with probability d: a function of (seed, sample, view)
u, v, L as in clip, with P ← (1 − ε) P + ε / N in a batch of N
"""

from typing import Literal

from pydantic import Field

from picturebook.data.paired_texts import TextNoiseOptions
from picturebook.objectives.contrastive import LARGEST_SCALE, InfoNce, InfoNceOptions
from picturebook.recipes.contrastive import ContrastiveRecipe, check_contrastive, contrast, finish_contrastive, new_towers
from picturebook.recipes.stages import Stages


class AlignLossOptions(InfoNceOptions):
    """The contrast with what ALIGN was published with."""

    temperature: float = Field(1.0, ge=1.0 / LARGEST_SCALE)
    """What the learnt temperature starts from; it stops at 0.01."""
    label_smoothing: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the target that is spread evenly over the batch."""


class AlignNoiseOptions(TextNoiseOptions):
    """How texts are spoilt, anew in each view, as those of the web are."""

    swapped: float = Field(0.1, ge=0.0, lt=1.0)
    """Probability that a picture is shown with the text of another one, drawn from all training pictures."""


class AlignRecipe(ContrastiveRecipe):
    """The student's encoder learns from pictures with noisy texts first (smoothed softmax), then from labels."""

    recipe: Literal["align"] = "align"
    """This recipe."""
    loss: AlignLossOptions = AlignLossOptions()
    """The contrast."""
    noise: AlignNoiseOptions = AlignNoiseOptions()
    """What is wrong with the texts."""


def check(options: AlignRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None."""
    return check_contrastive(options, options.noise)


def run(stages: Stages, options: AlignRecipe) -> None:
    """Train the towers on noisy pairs, classify by words, finish the student on labels."""
    towers = new_towers(stages, options, options.noise)
    classifier = contrast(stages, options, towers, InfoNce(options.loss))
    finish_contrastive(stages, options, classifier)
