"""Pictures and their words in one space, each told from the others of the batch.

The cosine of a picture and its own words alone is `features.feature_regression`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from picturebook.losses.gathering import gather_rows
from picturebook.losses.inputs import Features, Scalar, check_pair, check_temperature, widened

Positives = Bool[Tensor, "batch columns"]

_SAME_TEXT = 1.0 - 1e-5
"""Cosine from which two vectors are one text: float32 leaves less than this of a text's cosine with itself."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the rows of this process are compared with: the pictures and texts of a whole batch."""

    images: Float[Tensor, "columns width"]
    texts: Float[Tensor, "columns width"]
    first: int
    """The column of this process's row 0; its rows follow each other."""


def gather_columns(images: Features, texts: Features) -> Columns:
    """The pictures and texts of all processes in one exchange; gradients go back to the processes that they came from.

    Every process must call it; the number of rows may differ. With one process it is `Columns(images, texts, 0)`.
    """
    check_pair(images, texts, ("images", "texts"))
    both, first = gather_rows(torch.stack([widened(images), widened(texts)], dim=1))
    return Columns(both[:, 0], both[:, 1], first)


def gather_positives(text_ids: Int64[Tensor, " batch"]) -> Positives:
    """Which texts of a whole batch are the text of row i, over all processes: those of the same number."""
    columns, _ = gather_rows(text_ids)
    return text_ids[:, None] == columns


def info_nce(
    images: Features,
    texts: Features,
    *,
    scale: float | Scalar,
    positives: Positives | None = None,
    label_smoothing: float = 0.0,
    columns: Columns | None = None,
) -> Scalar:
    """Symmetric InfoNCE, ½ Σ_j P_ij (−log softmax_j s_ij − log softmax_j s_ji) a pair (arXiv:2103.00020, section 2.3).

    s_ij = s cos(image i, text j). P_ij = (1 − ε) / n_i + ε / N for the n_i positives of row i and ε / N for the others, in
    both directions. The source has the pair itself as the only positive and ε = 0; ε is that of ALIGN (arXiv:2102.05918,
    section 4.1). With several positives the least value is the mean of log n_i: in a batch with repeated texts the
    source's labels would push a picture off its own words.

    Args:
        images: [B, D], unbounded; normalised inside.
        texts: [B, D], unbounded, row i of image i; normalised inside.
        scale: s > 0, 1 over the temperature; a tensor where it is learnt, whose value is the caller's business.
        positives: [B, N], True where text j fits image i and image j fits text i; one a row at least. By default the pair itself.
        label_smoothing: ε in [0, 1), spread over all N columns.
        columns: the N pictures and texts that rows are told from; by default the rows themselves.

    Returns:
        Scalar in nats, at least 0, mean over the B rows.

    Raises:
        ValueError: the shapes do not fit, B is 0, or s is a number that is not positive.
    """
    columns = _checked(images, texts, scale, positives, columns)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing: expected 0 <= ε < 1, got {label_smoothing}")
    if positives is None:
        positives = _own(columns, len(images))
    own_images, own_texts, all_images, all_texts = _unit(images, texts, columns.images, columns.texts)
    with torch.autocast(images.device.type, enabled=False):  # bf16 has three digits: too few for 1 / T
        to_texts = scale * own_images @ all_texts.T
        to_images = scale * own_texts @ all_images.T
    targets = positives.to(to_texts.dtype) / positives.sum(dim=1, keepdim=True)
    targets = (1.0 - label_smoothing) * targets + label_smoothing / positives.shape[1]
    log_probs = functional.log_softmax(to_texts, dim=1) + functional.log_softmax(to_images, dim=1)
    return -0.5 * (targets * log_probs).sum(dim=1).mean()


def sigmoid_contrast(
    images: Features,
    texts: Features,
    *,
    scale: float | Scalar,
    bias: float | Scalar,
    positives: Positives | None = None,
    columns: Columns | None = None,
) -> Scalar:
    """Sigmoid loss of all pairs, −Σ_j log σ(y_ij (t cos(image i, text j) + b)) an image (arXiv:2303.15343, section 3.2).

    y_ij = 1 where text j fits image i and −1 elsewhere, so that each pair is a question of its own and several texts may
    fit. Symmetric in pictures and texts: the sum runs over every pair once.

    Args:
        images: [B, D], unbounded; normalised inside.
        texts: [B, D], unbounded, row i of image i; normalised inside.
        scale: t > 0; the source starts it at 10.
        bias: b, unbounded; the source starts it at −10, for batches of thousands.
        positives: [B, N], True where text j fits image i. By default the pair itself.
        columns: the N texts of a whole batch; by default the rows' own.

    Returns:
        Scalar in nats, at least 0, the sum over N columns, mean over the B rows.

    Raises:
        ValueError: as `info_nce`.
    """
    columns = _checked(images, texts, scale, positives, columns)
    if positives is None:
        positives = _own(columns, len(images))
    own_images, all_texts = _unit(images, columns.texts)
    with torch.autocast(images.device.type, enabled=False):
        logits = scale * own_images @ all_texts.T + bias
    return -functional.logsigmoid(torch.where(positives, logits, -logits)).sum(dim=1).mean()


def contrastive_alignment(image_features: Features, text_features: Features, *, temperature: float | Scalar) -> Scalar:
    """InfoNCE of pictures with the fixed vectors of their texts, at s = 1 / T; texts of one direction are one text.

    Pictures are compared within the tensors that are given, so parts of a batch do not add up to it.

    Args:
        image_features: [B, D], unbounded, projected to the texts' width; the gradient flows here and to the temperature.
        text_features: [B, D], unbounded, row i of image i; detached inside.
        temperature: T > 0, no unit; a tensor where it is learnt, whose value is the caller's business.

    Returns:
        Scalar in nats, at least 0; 0 for one image.

    Raises:
        ValueError: the shapes differ, B is 0, or T is a number that is not positive.
    """
    check_pair(image_features, text_features, ("image_features", "text_features"))
    if not isinstance(temperature, torch.Tensor):
        check_temperature(temperature)
    texts = widened(text_features).detach()
    (unit,) = _unit(texts)
    with torch.autocast(texts.device.type, enabled=False):  # bf16 has too few digits for equal texts
        same = unit @ unit.T > _SAME_TEXT
    same.fill_diagonal_(True)  # a text of no length equals itself too
    return info_nce(image_features, texts, scale=1.0 / temperature, positives=same)


def _checked(images: Tensor, texts: Tensor, scale: float | Tensor, positives: Tensor | None, columns: Columns | None) -> Columns:
    check_pair(images, texts, ("images", "texts"))
    if not isinstance(scale, torch.Tensor) and not 0.0 < scale < float("inf"):
        raise ValueError(f"scale: expected a positive number, got {scale}")
    columns = columns or Columns(images, texts, 0)
    if positives is not None and positives.shape != (len(images), len(columns.texts)):
        expected = [len(images), len(columns.texts)]
        raise ValueError(f"positives: expected one a row and column, shape {expected}, got {list(positives.shape)}")
    return columns


def _own(columns: Columns, rows: int) -> Tensor:
    """Each row's own column."""
    places = torch.arange(columns.first, columns.first + rows, device=columns.texts.device)
    return places[:, None] == torch.arange(len(columns.texts), device=columns.texts.device)


def _unit(*features: Tensor) -> list[Tensor]:
    """Rows of length 1, all of the widest type."""
    wide = [widened(some) for some in features]
    dtype = max((some.dtype for some in wide), key=lambda dtype: torch.finfo(dtype).bits)
    return [functional.normalize(some.to(dtype), dim=1) for some in wide]
