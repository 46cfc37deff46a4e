"""One student, labels and a teacher's targets: supervised training, distillation and born-again networks."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from picturebook.data.text_table import TextTable
from picturebook.losses import (
    correlation_distillation,
    cross_entropy,
    decoupled_distillation,
    distillation_kl,
    feature_regression,
    hint_regression,
    mix_logits,
    permute_non_targets,
    standardise_logits,
    teacher_confidences,
    virtual_teacher_kl,
)
from picturebook.losses.gathering import gather_rows
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objective import Loss, Objective, by_class, over_labels
from picturebook.objectives.alignment import AlignmentOptions, build_alignment
from picturebook.objectives.soft_target_options import SoftTargetOptions
from picturebook.options import Options
from picturebook.teachers import Teacher
from picturebook.types import Batch

__all__ = ["SoftTargetOptions", "SoftTargets", "Supervised", "SupervisedOptions"]


class _Parts:
    """A loss as it is put together: weighted terms, and each by name for the log."""

    def __init__(self) -> None:
        self.terms: dict[str, Tensor] = {}
        self._weighted: list[Tensor] = []

    def add(self, name: str, weight: float | Tensor, value: Tensor) -> None:
        self.terms[name] = value.detach()
        self._weighted.append(weight * value)

    @property
    def total(self) -> Tensor:
        return sum(self._weighted[1:], self._weighted[0])

    def loss(self) -> Loss:
        return Loss(self.total, self.terms)


class SupervisedOptions(Options):
    """Cross-entropy with the labels."""

    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the target that is spread over all classes, evenly, or in supervised by words (smoothing_text)."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the loss by the label's class: none, or balanced (the inverse of how many training pictures have the label, of
    mean 1 over pictures)."""
    virtual_teacher_weight: float = Field(0.0, ge=0.0, le=1.0)
    """Weight of teacher-free distillation, Tf-KD_reg; the cross-entropy gets the rest. The source has 0.1 (arXiv:1909.11723)."""
    virtual_teacher_temperature: float = Field(20.0, gt=0.0)
    """T of the virtual teacher, which is applied to its probabilities."""
    alignment: AlignmentOptions = AlignmentOptions()
    """Words beside the labels."""

    @model_validator(mode="after")
    def _temperature_takes_effect(self) -> "SupervisedOptions":
        if self.virtual_teacher_weight == 0.0 and self.virtual_teacher_temperature != 20.0:
            raise ValueError("virtual_teacher_temperature takes no effect with virtual_teacher_weight = 0: remove it")
        return self


class Supervised(Objective):
    """w_y [(1 - b) H(y, q) + b KL(virtual teacher ‖ q)] + the words' alignment.

    b is `virtual_teacher_weight`, w_y `class_weights` [K] or 1; labels are smoothed by the classes' `likeness` [K, K], or evenly.
    A mixed picture has the labels of both, each by its share. Words need `texts` and a `text_projector` to their width.
    """

    class_weights: Tensor | None
    likeness: Tensor | None

    def __init__(
        self,
        student: ImageEncoder,
        options: SupervisedOptions,
        *,
        texts: TextTable | None = None,
        text_projector: nn.Linear | None = None,
        class_weights: Tensor | None = None,
        likeness: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        assert (class_weights is None) == (options.class_weights == "none")
        self.register_buffer("class_weights", class_weights)
        self.register_buffer("likeness", likeness)
        self._options = options
        self.alignment = build_alignment(options.alignment, student, texts, text_projector)

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        if self.alignment is None:
            return self._of_logits(self.student(batch.images), batch).loss()
        logits, features = self.student.forward_features(batch.images)
        rest = self._of_logits(logits, batch).loss()
        loss: Loss = self.alignment(rest, features, batch, of_logits=lambda z: self._of_logits(z, batch).total)
        return loss

    def after_step(self, step: int, num_steps: int) -> None:
        if self.alignment is not None:
            self.alignment.after_step(step, num_steps)

    def _of_logits(self, logits: Tensor, batch: Batch) -> _Parts:
        options, parts, logits = self._options, _Parts(), logits.float()

        def label_loss(y: Tensor, w: Tensor | None) -> Tensor:
            weights = by_class(self.class_weights, y, w)
            return cross_entropy(logits, y, label_smoothing=options.label_smoothing, likeness=self.likeness, weights=weights)

        def divergence(y: Tensor, w: Tensor | None) -> Tensor:
            weights = by_class(self.class_weights, y, w)
            return virtual_teacher_kl(logits, y, temperature=options.virtual_teacher_temperature, weights=weights)

        parts.add("cross_entropy", 1.0 - options.virtual_teacher_weight, over_labels(batch, label_loss))
        if options.virtual_teacher_weight > 0.0:
            parts.add("virtual_teacher_kl", options.virtual_teacher_weight, over_labels(batch, divergence))
        return parts


class SoftTargets(Objective):
    """a w_y H(y, q) + d D(p, q) + r R(projected student features, teacher's representation) + the words' alignment.

    a is `label_weight`, w_y `class_weights` [K] or 1, p the teacher, q the student, D the divergence (T² KL(p_T ‖ q_T) by
    default, with d = 1 - a), R the representation's regression. A batch without labels has H = 0, and a mixed picture the labels
    of both, each by its share.
    With distilled = "representation" there is no D and a multiplies nothing but H. With divergence = "cwtm" D is H again, each
    row weighted by the teacher's confidence over the batch's mean of it, over all processes. The projectors are one linear
    layer each, trained with the student and thrown away after it. Words need `texts` and a `text_projector` to their width.
    """

    warmth: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        student: ImageEncoder,
        teacher: Teacher,
        options: SoftTargetOptions,
        *,
        projector: nn.Linear | None,
        texts: TextTable | None = None,
        text_projector: nn.Linear | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        assert (class_weights is None) == (options.class_weights == "none")
        self.register_buffer("class_weights", class_weights)
        options.refuse_few_classes(student.num_classes)
        self.student = student
        # Not a child: what the teacher knows is neither trained nor saved with the student.
        self._teacher = (teacher,)
        self._options = options
        assert (projector is not None) == options.with_representation
        self.projector = projector
        self.alignment = build_alignment(options.alignment, student, texts, text_projector)
        if options.divergence_warmup > 0.0:
            self.register_buffer("warmth", torch.zeros(()))

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        options = self._options
        targets, partners = self._teacher[0](batch), batch.partners
        others = None if partners is None else self._teacher[0](partners).logits
        features: Tensor | None = None
        if self.projector is None and self.alignment is None:
            logits = self.student(batch.images)
        else:
            logits, features = self.student.forward_features(batch.images)
        # After the student, whose dropout so draws what it draws without.
        teacher_logits = self._prepared(targets.logits, others, batch)
        parts = self._of_logits(logits, teacher_logits, batch)
        if self.projector is not None:
            assert features is not None
            assert targets.representation is not None
            cosine = options.representation_loss == "cosine"
            regression = (feature_regression if cosine else hint_regression)(
                self.projector(features).float(), targets.representation
            )
            parts.add("feature_regression" if cosine else "hint_regression", options.representation_weight, regression)
        if self.alignment is None:
            return parts.loss()
        assert features is not None
        loss: Loss = self.alignment(
            parts.loss(), features, batch, of_logits=lambda z: self._of_logits(z, teacher_logits, batch).total
        )
        return loss

    def _prepared(self, own: Tensor, others: Tensor | None, batch: Batch) -> Tensor:
        """What the divergence compares with; of a mix of views that were answered for whole, both answers by their shares."""
        options = self._options
        answers = [own] if others is None else [own, others]
        if options.permute_non_targets:
            answers = [permute_non_targets(logits) for logits in answers]
        if options.standardise:
            answers = [standardise_logits(logits) for logits in answers]
        if others is None:
            return answers[0]
        assert batch.mixed is not None
        return mix_logits(answers[0], answers[1], batch.mixed.share, temperature=options.temperature)

    def after_step(self, step: int, num_steps: int) -> None:
        if self._options.divergence_warmup > 0.0:
            self.warmth.fill_(min(1.0, (step + 1) / (self._options.divergence_warmup * num_steps)))
        if self.alignment is not None:
            self.alignment.after_step(step, num_steps)

    def _of_logits(self, logits: Tensor, teacher_logits: Tensor, batch: Batch) -> _Parts:
        """The part of the loss that goes through the logits."""
        options, parts, logits = self._options, _Parts(), logits.float()
        if options.label_weight > 0.0:
            parts.add("cross_entropy", options.label_weight, self._label_loss(logits, batch))
        if options.distilled != "representation":
            weight: float | Tensor = options.weight_of_divergence
            if options.divergence_warmup > 0.0:
                weight = weight * self.warmth
            name, value = self._divergence(logits, teacher_logits, batch)
            parts.add(name, weight, value)
        return parts

    def _divergence(self, logits: Tensor, teacher_logits: Tensor, batch: Batch) -> tuple[str, Tensor]:
        options = self._options
        if options.divergence == "cwtm":
            sure = teacher_confidences(teacher_logits, temperature=options.temperature)
            return "confidence_weighted_cross_entropy", self._label_loss(logits, batch, sure / gather_rows(sure)[0].mean())
        if options.standardise:
            logits = standardise_logits(logits)  # as the teacher's are already
        if options.divergence == "kl":
            return "distillation_kl", distillation_kl(logits, teacher_logits, temperature=options.temperature)
        if options.divergence == "dist":
            value = correlation_distillation(logits, teacher_logits, temperature=options.temperature)
            return "correlation_distillation", value
        assert batch.mixed is None  # it needs one true class: recipes refuse mixed pictures
        value = decoupled_distillation(
            logits, teacher_logits, batch.labels, temperature=options.temperature, non_target_weight=options.non_target_weight
        )
        return "decoupled_distillation", value

    def _label_loss(self, logits: Tensor, batch: Batch, weights: Tensor | None = None) -> Tensor:
        """The labels' cross-entropy, in which each row counts by its weight and by its class's."""

        def of(labels: Tensor, share: Tensor | None) -> Tensor:
            both = share if weights is None else weights if share is None else weights * share
            return cross_entropy(logits, labels, weights=by_class(self.class_weights, labels, both))

        return over_labels(batch, of)
