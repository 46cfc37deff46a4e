"""SigLIP (Zhai et al., 2023, arXiv:2303.15343): every pair of a picture and a text is a question of its own.

u = W_u image_encoder(views)      v = text_tower(texts)      both of length 1      t = 10 and b learnt
L ← −(1/N) Σ_ij log σ(y_ij (t u_i·v_j + b)),   y_ij = 1 where texts i and j are the same, else −1
b starts at the log odds of y_ij = 1: −log(N − 1) in a batch of N different texts
"""

from typing import Literal

from picturebook.objectives.contrastive import Sigmoid, SigmoidOptions
from picturebook.recipes.contrastive import ContrastiveRecipe, check_contrastive, contrast, finish_contrastive, new_towers
from picturebook.recipes.stages import Stages


class SiglipRecipe(ContrastiveRecipe):
    """The student's encoder learns from pictures with their texts first (a sigmoid a pair), then from labels."""

    recipe: Literal["siglip"] = "siglip"
    """This recipe."""
    loss: SigmoidOptions = SigmoidOptions()
    """The contrast."""


def check(options: SiglipRecipe) -> str | None:
    """Refuse settings that cannot go together; give the table's column that this run reads, or None."""
    return check_contrastive(options)


def run(stages: Stages, options: SiglipRecipe) -> None:
    """Train the towers on pairs, classify by words, finish the student on labels."""
    towers = new_towers(stages, options)
    classifier = contrast(stages, options, towers, Sigmoid(options.loss, positive_share=towers.positive_share))
    finish_contrastive(stages, options, classifier)
