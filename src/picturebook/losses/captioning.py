"""Words that follow each other."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from picturebook.losses.inputs import Scalar, widened


def captioning(
    logits: Float[Tensor, "batch words vocabulary"],
    words: Int64[Tensor, "batch words"],
    *,
    pad: int,
    words_per_caption: float,
) -> Scalar:
    """Cross-entropy of each caption's words, Σ_t -log p(w_t | w_<t, image) / m (CoCa, arXiv:2205.01917, section 3.1).

    The source sums over a caption's words. m, the mean number of words of the training captions, makes the value one of
    nats a word. A constant, since a division by the words of the batch at hand (as the mean over all words of a batch has
    it) would weigh the words of two processes differently when one of them has longer captions.

    Args:
        logits: [B, L, V], unbounded; those at place t have seen the words before t alone.
        words: [B, L], each in [0, V): the word that is right at place t, `pad` where there is none.
        pad: the entry that counts for nothing.
        words_per_caption: m > 0, in words.

    Returns:
        Scalar in nats a word, mean over B, at least 0; 0 where every word is `pad`.

    Raises:
        ValueError: the shapes differ, one of them is 0, or m is not positive.
    """
    if logits.shape[:2] != words.shape or 0 in logits.shape:
        raise ValueError(
            f"expected logits [batch, words, vocabulary] beside words [batch, words], none of them 0, "
            f"got {list(logits.shape)} and {list(words.shape)}"
        )
    if not 0.0 < words_per_caption < float("inf"):
        raise ValueError(f"words_per_caption: expected a positive number, got {words_per_caption}")
    total = functional.cross_entropy(widened(logits).flatten(0, 1), words.flatten(), ignore_index=pad, reduction="sum")
    return total / (len(words) * words_per_caption)
