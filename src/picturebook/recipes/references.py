"""How far the picture alone goes (R1): image-only models of the pictures that taught a teacher's heads, for its audit."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.models.heads import HeadOptions
from picturebook.models.saved_teacher import SavedTeacher, build_experts
from picturebook.recipes.head_teacher import HeadParts, HeadTeacherOptions, TrainedHead, train_heads
from picturebook.recipes.stages import Stages
from picturebook.stores.packed import PackedArray
from picturebook.types import Batch

_PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
_READ = 512
"""Pictures whose tokens are held at a time."""
_MAX_ROWS = 20_000
"""Training pictures that the linear probe learns from."""


def fold_numbers_of(stages: Stages, trained: TrainedHead) -> Int64[np.ndarray, " labelled"]:
    """The fold of each labelled training picture; -1 where there are no folds."""
    rows = stages.labelled_rows
    ids = torch.from_numpy(stages.pictures.ids[rows])
    return trained.folds.of(Batch(ids, torch.zeros_like(ids), torch.from_numpy(stages.pictures.labels[rows]))).cpu().numpy()


def linear_probe(
    stages: Stages, stored: PackedArray, numbers: Int64[np.ndarray, " labelled"], tokens: Tensor, folds: Tensor
) -> Float[Tensor, "n classes"]:
    """Ridge regression of the labels on the mean token, taught as the heads were: without the fold that it answers for.

    It learns from 20,000 pictures at most.

    Args:
        stages: the run.
        stored: tokens of the training rows.
        numbers: the fold of each labelled training row, -1 without folds.
        tokens: [n, N, Dv] of the audited pictures.
        folds: [n] of theirs.
    """
    order = np.random.default_rng(stages.options.seed).permutation(len(numbers))[:_MAX_ROWS]
    rows, numbers = stages.labelled_rows[order], numbers[order]
    means, labels, classes = _mean_tokens(stages, stored, rows), stages.pictures.labels[rows], len(stages.pictures.classes)
    asked, logits = tokens.float().mean(dim=1).cpu().numpy(), torch.empty(len(tokens), classes)
    for fold in torch.unique(folds).tolist():
        chosen, taught = folds.cpu() == fold, numbers != fold if fold >= 0 else np.ones(len(rows), dtype=bool)
        answers = _ridge(means[taught], labels[taught], asked[chosen.numpy()], num_classes=classes, seed=stages.options.seed)
        logits[chosen] = torch.from_numpy(answers)
    return logits


def _mean_tokens(stages: Stages, stored: PackedArray, rows: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n width"]:
    ids = stages.pictures.ids[rows]
    read = (stored.read(part, np.zeros_like(part)) for part in np.split(ids, range(_READ, len(ids), _READ)))
    return np.concatenate([tokens.astype(np.float32).mean(axis=1) for tokens in read])


def _ridge(
    training: Float[np.ndarray, "rows width"],
    labels: Int64[np.ndarray, " rows"],
    asked: Float[np.ndarray, "n width"],
    *,
    num_classes: int,
    seed: int,
) -> Float[np.ndarray, "n classes"]:
    """Scores of the classes; the penalty is the best of six on a fifth of the training rows."""
    from sklearn.linear_model import Ridge

    mean, spread = training.mean(axis=0), training.std(axis=0)
    scale = np.where(spread > 1e-6, spread, 1.0)
    # In double precision, since features of low rank are more than single precision can part.
    inputs, wanted = ((training - mean) / scale).astype(np.float64), np.eye(num_classes)[labels]
    order = np.random.default_rng(seed).permutation(len(inputs))
    held, rest = order[: len(order) // 5], order[len(order) // 5 :]

    def right(penalty: float) -> float:
        said = Ridge(alpha=penalty).fit(inputs[rest], wanted[rest]).predict(inputs[held])
        return float((said.argmax(axis=1) == labels[held]).mean())

    penalty = max(_PENALTIES, key=right) if len(held) else _PENALTIES[-1]
    scores = Ridge(alpha=penalty).fit(inputs, wanted).predict((asked - mean) / scale)
    return np.asarray(scores, dtype=np.float32).reshape(len(asked), num_classes)


def learned_queries(
    stages: Stages, options: HeadTeacherOptions, parts: HeadParts, saved: SavedTeacher, tokens: Tensor, folds: Tensor
) -> Float[Tensor, "n classes"]:
    """The head that asks without words, taught as the teacher's was: without the fold that it answers for."""
    first = saved.heads[0]
    head = HeadOptions(mode="learned", width=first.width, num_heads=first.num_heads, dropout=first.dropout)
    asking = saved.model_copy(update={"heads": [head], "combination": "product"})
    make = partial(build_experts, asking, parts.encoder, bank=None, seed=stages.part_seed("head"))
    wordless = HeadParts(parts.encoder, parts.tokens, None, {})
    with torch.enable_grad():
        trained = train_heads(stages, make, wordless, options.model_copy(update={"calibrate": False}), saved=asking)
    device = stages.device
    logits: Tensor = trained.head(tokens.float().to(device), folds=folds.to(device)).logits
    return logits.float().cpu()
