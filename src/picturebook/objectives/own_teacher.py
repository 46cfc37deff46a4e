"""A network whose deepest classifier teaches the shallow ones, while all of them are trained: Be Your Own Teacher."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from picturebook.losses import cross_entropy, distillation_kl, hint_regression
from picturebook.models.early_exit import ShallowClassifier
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objective import Loss, Objective, by_class, over_labels
from picturebook.options import Options
from picturebook.types import Batch


class OwnTeacherOptions(Options):
    """What the exits learn from."""

    distillation_weight: float = Field(0.1, ge=0.0, lt=1.0)
    """a: of the deepest classifier's answers, for the shallow ones; the labels get 1 - a in every classifier, the deepest too."""
    temperature: float = Field(3.0, gt=0.0)
    """T of the deepest classifier's answers and of the shallow ones that follow them."""
    feature_weight: float = Field(1.28e-4, ge=0.0)
    """b: of the hints. The squared distance is a sum over each map and a mean over the images: 1e-6 of the source's sum over
    a batch of 128 is 1.28e-4 here."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the labels' cross-entropy by class, in every classifier: none, or balanced (the inverse of how many training
    pictures have the label, of mean 1 over pictures). The deepest classifier's answers are not weighted."""


class OwnTeacher(Objective):
    """Σ_i (1 - a) w_y H(y, q_i) + Σ_{i<C} a T² KL(q_C,T ‖ q_i,T) + Σ_{i<C} b ‖F_i - F_C‖² (arXiv:1905.08094, section 3).

    q_i is the answer of the classifier after stage i and F_i the map that it is read from; C is the deepest, which gets no
    gradient as a teacher; w_y is `class_weights` [K] or 1. Terms are logged as sums over the classifiers. A mixed picture has
    the labels of both.

    Args:
        student: the backbone with its own, the deepest, classifier.
        exits: a classifier for each stage but the last, see `models.exits.build_exits`.
        options: a, T and b.
        blocks: for a ViT, the blocks that end a stage, as the exits were built with.
        class_weights: [K], of mean 1 over pictures, where the options ask for them.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        student: ImageEncoder,
        exits: Sequence[ShallowClassifier],
        options: OwnTeacherOptions,
        *,
        blocks: Sequence[int] = (),
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        assert (class_weights is None) == (options.class_weights == "none")
        self.register_buffer("class_weights", class_weights)
        self.student, self.exits = student, nn.ModuleList(exits)
        self._options, self._blocks = options, tuple(blocks)

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        options = self._options
        deepest, maps = self.student.forward_stages(batch.images, blocks=self._blocks)
        answers = [leaving(shallow) for leaving, shallow in zip(self.exits, maps[:-1], strict=True)]
        logits = [shallow.float() for shallow, _ in answers]
        labels = _sum(self._label_loss(z, batch) for z in [*logits, deepest.float()])
        divergence = _sum(distillation_kl(z, deepest.detach().float(), temperature=options.temperature) for z in logits)
        hints = _sum(_squared_distance(features, maps[-1]) for _, features in answers)
        total = (
            (1.0 - options.distillation_weight) * labels
            + options.distillation_weight * divergence
            + options.feature_weight * hints
        )
        terms = {"cross_entropy": labels, "distillation_kl": divergence, "squared_distance": hints}
        return Loss(total, {name: value.detach() for name, value in terms.items()})

    def _label_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        def of(labels: Tensor, weights: Tensor | None) -> Tensor:
            return cross_entropy(logits, labels, weights=by_class(self.class_weights, labels, weights))

        return over_labels(batch, of)


def _squared_distance(shallow: Tensor, deepest: Tensor) -> Tensor:
    """‖F_i - F_C‖², a sum over each map and a mean over the images."""
    return hint_regression(shallow.flatten(1), deepest.flatten(1)) * shallow[0].numel()


def _sum(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum()
