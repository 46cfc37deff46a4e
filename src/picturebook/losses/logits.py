"""What is done to logits before a loss sees them."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from picturebook.losses.inputs import Logits, check_matrix, check_pair, check_temperature, widened


def mix_logits(
    own: Logits, partners: Logits, share: Float[Tensor, " batch"], *, temperature: float
) -> Float[Tensor, "batch classes"]:
    """Logits of share · softmax(own / T) + (1 − share) · softmax(partners / T): a teacher's answers to two pictures, mixed.

    softmax(result / T) is that mixture. So a student of a mix learns what is said of both of its pictures where the teacher
    answered for whole ones (as labels are mixed in arXiv:1710.09412 and arXiv:1905.04899).

    Args:
        own: [B, K], unbounded; for the sample's own picture.
        partners: [B, K], for what is mixed into it.
        share: [B], how much of the mix is the sample's own picture, in [0, 1].
        temperature: T > 0, at which the student learns.

    Returns:
        [B, K] in float32 at least, T times log probabilities, so at most 0.

    Raises:
        ValueError: no matrices of one shape, an empty one, or a temperature that is not positive.
    """
    check_pair(own, partners, ("own", "partners"))
    check_temperature(temperature)
    mine, theirs = (functional.log_softmax(widened(one) / temperature, dim=1) for one in (own, partners))
    weight = share.to(mine.dtype)[:, None]
    return temperature * torch.logaddexp(mine + weight.log(), theirs + (1 - weight).log())


def permute_non_targets(teacher_logits: Logits) -> Logits:
    """Dark knowledge with permuted predictions, DKPP (arXiv:1805.04770, section 3).

    The largest logit of each row stays in its place, the other K − 1 change places at random, each row by itself. So the
    confidence is kept, and which classes the rest of it goes to says nothing. A permutation of logits is the same
    permutation of the probabilities, at every temperature and after `standardise_logits`.

    Args:
        teacher_logits: [B, K], unbounded. Of equal largest logits one stays. With K = 2 nothing changes.

    Returns:
        [B, K] in the input's type. The permutation comes from torch's global generator of the tensor's device, which the
        engine reseeds at each step; every call draws anew.

    Raises:
        ValueError: no matrix, or an empty one.
    """
    check_matrix(teacher_logits, "teacher_logits")
    batch, classes = teacher_logits.shape
    places = torch.arange(classes - 1, device=teacher_logits.device).expand(batch, -1)
    others = places + (places >= teacher_logits.argmax(dim=1, keepdim=True))
    order = torch.rand(batch, classes - 1, device=teacher_logits.device).argsort(dim=1)
    return teacher_logits.scatter(1, others, teacher_logits.gather(1, others.gather(1, order)))


def standardise_logits(logits: Logits) -> Logits:
    """Each row's z-score over its K logits, (z − mean) / σ with σ² = mean((z − mean)²) (arXiv:2403.01427, algorithm 1).

    A student then need not match its teacher's scale. The authors' code divides by K − 1 in σ², their algorithm by K, as
    here: that is a temperature of √(K / (K − 1)), 1.005 for K = 100.

    Args:
        logits: [B, K], unbounded. With K = 2 only the sign of the difference is left, and no gradient.

    Returns:
        [B, K] in float32 at least, of mean 0 and variance 1; zeros where all of a row's logits are equal.

    Raises:
        ValueError: no matrix, or an empty one.
    """
    check_matrix(logits, "logits")
    # eps is added to σ², so it stands for the 1e-7 that the authors add to σ; a row of equal logits stays differentiable.
    return functional.layer_norm(widened(logits), logits.shape[1:], eps=1e-14)
