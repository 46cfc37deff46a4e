"""Pictures and their words in one space. The cosine of the two alone is `features.feature_regression`."""

import torch
from torch.nn import functional

from picturebook.losses.inputs import Features, Scalar, check_pair, check_temperature, widened

_SAME_TEXT = 1.0 - 1e-5
"""Cosine from which two vectors are one text: float32 leaves less than this of a text's cosine with itself."""


def contrastive_alignment(image_features: Features, text_features: Features, *, temperature: float | Scalar) -> Scalar:
    """Symmetric InfoNCE in the batch, ½ (H(P, softmax_j s_ij) + H(Pᵀ, softmax_i s_ij)) (arXiv:2103.00020, section 2.3).

    s_ij = cos(image i, text j) / T. P_ij is 1 / n_i for the n_i texts that equal text i and else 0: in a batch with
    repeated texts the source's labels (P the identity) would push a picture off its own words. Where all texts differ
    this is the source's loss; where texts repeat, its least value is the mean of log n_i.

    Pictures are compared within the tensors that are given, so parts of a batch do not add up to it.

    Args:
        image_features: [B, D], unbounded, projected to the texts' width; the gradient flows here and to the temperature.
        text_features: [B, D], unbounded, row i of image i; detached inside. Texts of one direction are one text.
        temperature: T > 0, no unit; a tensor where it is learnt, whose value is the caller's business.

    Returns:
        Scalar in nats, at least 0; 0 for one image.

    Raises:
        ValueError: the shapes differ, B is 0, or T is a number that is not positive.
    """
    check_pair(image_features, text_features, ("image_features", "text_features"))
    if not isinstance(temperature, torch.Tensor):
        check_temperature(temperature)
    images = functional.normalize(widened(image_features), dim=1)
    texts = functional.normalize(widened(text_features).detach().to(images.dtype), dim=1)
    with torch.autocast(images.device.type, enabled=False):  # bf16 has three digits: too few for equal texts and for 1 / T
        logits = images @ texts.T / temperature
        same = texts @ texts.T > _SAME_TEXT
    same.fill_diagonal_(True)  # a text of no length equals itself too
    positives = same.to(logits.dtype) / same.sum(dim=1, keepdim=True)
    by_image = -(positives * functional.log_softmax(logits, dim=1)).sum(dim=1)
    by_text = -(positives.T * functional.log_softmax(logits, dim=0)).sum(dim=0)
    return 0.5 * (by_image + by_text).mean()
