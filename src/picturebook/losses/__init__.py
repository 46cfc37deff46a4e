"""Losses: functions of tensors, without state, rank or settings. An average or a queue belongs to the objective.

classification  cross-entropy with smoothed labels; the virtual teacher of teacher-free distillation
distillation    a teacher's logits: KL, correlations (DIST), decoupled (DKD)
logits          what is done to logits before: permuted non-targets (DKPP), standardisation
features        a teacher's representation: its direction, or every element of it
alignment       pictures and their words in one space

All compute in float32 at least, whatever the inputs' type, and return a scalar of that type. Nothing is read back from
the device, so values (label ranges, rows that sum to 1) are the caller's business; shapes and settings are checked.
"""

from picturebook.losses.alignment import contrastive_alignment
from picturebook.losses.classification import cross_entropy, virtual_teacher_kl
from picturebook.losses.distillation import correlation_distillation, decoupled_distillation, distillation_kl
from picturebook.losses.features import feature_regression, hint_regression
from picturebook.losses.logits import permute_non_targets, standardise_logits

__all__ = [
    "contrastive_alignment",
    "correlation_distillation",
    "cross_entropy",
    "decoupled_distillation",
    "distillation_kl",
    "feature_regression",
    "hint_regression",
    "permute_non_targets",
    "standardise_logits",
    "virtual_teacher_kl",
]
