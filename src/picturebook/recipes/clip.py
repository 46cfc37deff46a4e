"""CLIP (Radford et al., 2021, arXiv:2103.00020): pictures and their texts in one space, by telling each from the batch's others.

u = W_u image_encoder(views)      v = text_tower(texts)      both of length 1      s learnt, at most 100
L ← ½ [H(P, softmax_j(s u_i·v_j)) + H(P, softmax_j(s v_i·u_j))],   P_ij = 1 / n_i where texts i and j are the same
zero-shot: logits ← s u·mean of v(templates of a class)            then labels: fine-tuning, or a linear probe
"""

from typing import Literal

from picturebook.objectives.contrastive import InfoNce, InfoNceOptions
from picturebook.recipes.contrastive import ContrastiveRecipe, check_contrastive, contrast, finish_contrastive, new_towers
from picturebook.recipes.stages import Stages


class ClipRecipe(ContrastiveRecipe):
    """The student's encoder learns from pictures with their texts first (softmax over the batch), then from labels."""

    recipe: Literal["clip"] = "clip"
    """This recipe."""
    loss: InfoNceOptions = InfoNceOptions()
    """The contrast."""


def check(options: ClipRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None."""
    return check_contrastive(options)


def run(stages: Stages, options: ClipRecipe) -> None:
    """Train the towers on pairs, classify by words, finish the student on labels."""
    towers = new_towers(stages, options)
    classifier = contrast(stages, options, towers, InfoNce(options.loss))
    finish_contrastive(stages, options, classifier)
