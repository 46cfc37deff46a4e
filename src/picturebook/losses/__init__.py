"""Losses: functions of tensors, without state, rank or settings. An average or a queue belongs to the objective.

classification  cross-entropy with smoothed labels; likeness and weights of classes; teacher-free distillation's virtual teacher
distillation    a teacher's logits: KL, correlations (DIST), decoupled (DKD); how sure it is
logits          what is done to logits before: mixed, permuted non-targets (DKPP), standardised
features        a teacher's representation: its direction, or every element of it
dino            one view's answer against the others'
contrastive     pictures and their words in one space, each told from the others of the batch
captioning      words that follow each other
gathering       the rows of all processes, for losses within a batch

All compute in float32 at least, whatever the inputs' type, and return a scalar of that type; divergences of nearly equal
distributions are computed in float64 (tests/losses/test_against_float64.py says how exact each is). Nothing is read back from
the device, so values (label ranges, rows that sum to 1) are the caller's business; shapes and settings are checked.
"""

from picturebook.losses.captioning import captioning
from picturebook.losses.classification import balanced_class_weights, class_likeness, cross_entropy, virtual_teacher_kl
from picturebook.losses.contrastive import (
    Columns,
    contrastive_alignment,
    gather_columns,
    gather_positives,
    info_nce,
    sigmoid_contrast,
)
from picturebook.losses.dino import multi_crop_cross_entropy
from picturebook.losses.distillation import (
    correlation_distillation,
    decoupled_distillation,
    distillation_kl,
    teacher_confidences,
)
from picturebook.losses.features import feature_regression, hint_regression
from picturebook.losses.logits import mix_logits, permute_non_targets, standardise_logits

__all__ = [
    "Columns",
    "balanced_class_weights",
    "captioning",
    "class_likeness",
    "contrastive_alignment",
    "correlation_distillation",
    "cross_entropy",
    "decoupled_distillation",
    "distillation_kl",
    "feature_regression",
    "gather_columns",
    "gather_positives",
    "hint_regression",
    "info_nce",
    "mix_logits",
    "multi_crop_cross_entropy",
    "permute_non_targets",
    "sigmoid_contrast",
    "standardise_logits",
    "teacher_confidences",
    "virtual_teacher_kl",
]
