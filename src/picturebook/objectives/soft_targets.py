"""One student, labels and a teacher's targets: supervised training, distillation and born-again networks."""

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from picturebook.losses import cross_entropy, distillation_kl, feature_regression
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objective import Loss, Objective
from picturebook.options import Options
from picturebook.teachers import Teacher
from picturebook.types import Batch


class SupervisedOptions(Options):
    """Cross-entropy with the labels."""

    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of the target that is spread evenly over all classes."""


class SoftTargetOptions(Options):
    """How a teacher's targets are learnt."""

    temperature: float = Field(2.0, gt=0.0)
    """T of the softened teacher and student; T² keeps the gradient's size (arXiv:1503.02531, section 2)."""
    label_weight: float = Field(0.1, ge=0.0, le=1.0)
    """Weight of the cross-entropy with the true labels; the teacher's KL gets the rest."""
    distilled: Literal["logits", "representation", "both"] = "logits"
    """What the student learns from: the teacher's logits, its attended representation, or both."""
    representation_weight: float = Field(1.0, gt=0.0)
    """Weight of the representation's regression, where it is distilled."""

    @model_validator(mode="after")
    def _classifier_learns(self) -> "SoftTargetOptions":
        if self.distilled == "representation" and self.label_weight == 0.0:
            raise ValueError(
                "distilled = 'representation' with label_weight = 0 leaves the classifier untaught: raise label_weight"
            )
        return self

    @property
    def with_representation(self) -> bool:
        return self.distilled != "logits"


class Supervised(Objective):
    """The mean cross-entropy with the labels."""

    def __init__(self, student: ImageEncoder, options: SupervisedOptions) -> None:
        super().__init__()
        self.student = student
        self._options = options

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        loss = cross_entropy(self.student(batch.images).float(), batch.labels, label_smoothing=self._options.label_smoothing)
        return Loss(loss, {"cross_entropy": loss.detach()})


class SoftTargets(Objective):
    """a H(y, q) + (1 - a) T² KL(p_T ‖ q_T) + w R(projected student features, teacher's representation).

    a is `label_weight`, p the teacher, q the student, R `losses.feature_regression`. A batch without labels has H = 0.
    With distilled = "representation" there is no KL and a multiplies nothing but H. The projector is one linear layer,
    trained with the student and thrown away after it.
    """

    def __init__(
        self, student: ImageEncoder, teacher: Teacher, options: SoftTargetOptions, *, projector: nn.Linear | None
    ) -> None:
        super().__init__()
        self.student = student
        # Not a child: what the teacher knows is neither trained nor saved with the student.
        self._teacher = (teacher,)
        self._options = options
        assert (projector is not None) == options.with_representation
        self.projector = projector

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        options = self._options
        targets = self._teacher[0](batch)
        features: Tensor | None = None
        if self.projector is None:
            logits = self.student(batch.images).float()
        else:
            logits, features = self.student.forward_features(batch.images)
            logits = logits.float()
        terms: dict[str, Tensor] = {}
        weighted: list[Tensor] = []

        def add(name: str, weight: float, value: Tensor) -> None:
            terms[name] = value.detach()
            weighted.append(weight * value)

        if options.label_weight > 0.0:
            add("cross_entropy", options.label_weight, cross_entropy(logits, batch.labels))
        if options.distilled != "representation":
            divergence = distillation_kl(logits, targets.logits, temperature=options.temperature)
            add("distillation_kl", 1.0 - options.label_weight, divergence)
        if self.projector is not None:
            assert features is not None
            assert targets.representation is not None
            regression = feature_regression(self.projector(features).float(), targets.representation)
            add("feature_regression", options.representation_weight, regression)
        return Loss(sum(weighted[1:], weighted[0]), terms)
