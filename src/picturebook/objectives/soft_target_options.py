"""How a teacher's targets are learnt: the settings of `soft_targets`, and what each divergence was published with."""

from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from picturebook.errors import OptionError
from picturebook.objectives.alignment import AlignmentOptions
from picturebook.options import Options


class _Source(NamedTuple):
    """A divergence's settings where it was published."""

    temperature: float
    label_weight: float
    divergence_weight: float | None
    """None is what `label_weight` leaves of 1."""
    divergence_warmup: float


# By (divergence, standardise). KL has T = 4 where it was compared on CIFAR; 2 is this package's, as it is after standardising.
# DIST was not published with standardised logits, so it keeps its own.
_SOURCES = {
    ("kl", False): _Source(2.0, 0.1, None, 0.0),  # arXiv:1503.02531
    ("kl", True): _Source(2.0, 0.1, 9.0, 0.0),  # arXiv:2403.01427
    ("dist", False): _Source(4.0, 1.0, 2.0, 0.0),  # arXiv:2205.10536, CIFAR
    ("dist", True): _Source(4.0, 1.0, 2.0, 0.0),
    ("dkd", False): _Source(4.0, 1.0, 1.0, 1 / 12),  # arXiv:2203.08679, CIFAR: 20 of 240 epochs
    ("dkd", True): _Source(2.0, 1.0, 9.0, 1 / 12),
    ("cwtm", False): _Source(1.0, 0.0, 1.0, 0.0),  # arXiv:1805.04770
}
_HINT_WEIGHT = 100.0


class SoftTargetOptions(Options):
    """How a teacher's targets are learnt."""

    divergence: Literal["kl", "dist", "dkd", "cwtm"] = "kl"
    """How student and teacher are compared: KL, correlations (DIST), or the true class apart from the others (DKD, on rows with
    a label only). cwtm takes of the teacher only how sure it is, and weights each label's cross-entropy by that. dist, dkd and
    cwtm bring their sources' temperature, weights and warm-up, where none are said."""
    standardise: bool = False
    """Compare z-scores of both logits, so that the student need not match the teacher's scale."""
    permute_non_targets: bool = False
    """Permute all but the teacher's largest logit at random (DKPP): what is left when its other classes mean nothing."""
    temperature: float = Field(2.0, gt=0.0)
    """T of the softened teacher and student; T² keeps the gradient's size. By the source 4 for dist, and for dkd unless
    standardised; 1 for cwtm."""
    label_weight: float = Field(0.1, ge=0.0, le=1.0)
    """Weight of the cross-entropy with the true labels; by the source 1 for dist and dkd, 0 for cwtm."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the labels' cross-entropy by class: none, or balanced (the inverse of how many training pictures have the label,
    of mean 1 over pictures). The teacher's answers are not weighted."""
    divergence_weight: float | None = Field(None, ge=0.0)
    """Weight of the divergence. By default the rest, 1 - label_weight, for kl; 2 for dist; 1 for dkd and cwtm; 9 for kl and
    dkd if standardised."""
    divergence_warmup: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the training in which the divergence's weight rises straight from 0; by the source 1/12 for dkd."""
    non_target_weight: float = Field(8.0, ge=0.0)
    """dkd: weight of the classes that are not true among themselves, beside 1 for the true class against them. The source has
    2 to 8 on CIFAR, more for better teachers, and 0.5 on ImageNet."""
    distilled: Literal["logits", "representation", "both"] = "logits"
    """What the student learns from: the teacher's logits, its attended representation, or both."""
    representation_loss: Literal["cosine", "mse"] = "cosine"
    """How the representation is regressed: its direction, or each of its elements (hints)."""
    representation_weight: float = Field(1.0, gt=0.0)
    """Weight of the representation's regression, where it is distilled; 100 for mse where none is said."""
    alignment: AlignmentOptions = AlignmentOptions()
    """Words beside the targets."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_source_has_it(cls, settings: Any) -> Any:
        """Fill in what the chosen divergence was published with, unless it is said, here or by a recipe's own default."""
        if not isinstance(settings, dict):
            return settings
        source = _SOURCES.get((str(settings.get("divergence", "kl")), settings.get("standardise") is True), _SOURCES["kl", False])
        fitting = {name: getattr(source, name) for name in ("temperature", "label_weight", "divergence_warmup")}
        if settings.get("representation_loss") == "mse":
            fitting["representation_weight"] = _HINT_WEIGHT
        own = {name for name in fitting if cls.model_fields[name].default != SoftTargetOptions.model_fields[name].default}
        return {name: value for name, value in fitting.items() if name not in own} | settings

    @model_validator(mode="after")
    def _everything_takes_effect(self) -> "SoftTargetOptions":
        if self.divergence == "cwtm" and (self.standardise or self.permute_non_targets):
            raise ValueError("standardise and permute_non_targets take no effect with divergence = 'cwtm': remove them")
        untaught = self.label_weight == 0.0
        if self.distilled == "representation" and untaught:
            raise ValueError(
                "distilled = 'representation' with label_weight = 0 leaves the classifier untaught: raise label_weight"
            )
        if self.weight_of_divergence == 0.0 and untaught:
            raise ValueError("label_weight = 0 with divergence_weight = 0 leaves the classifier untaught: raise one of them")
        if self.class_weights != "none" and untaught and self.divergence != "cwtm":
            raise ValueError(f"class_weights = {self.class_weights!r} takes no effect with label_weight = 0: raise label_weight")
        idle: list[str] = []
        if self.distilled == "representation":
            idle += self._changed("divergence", "divergence_weight", "divergence_warmup", "standardise", "permute_non_targets")
        if self.distilled == "logits":
            idle += self._changed("representation_loss")
        if self.divergence != "dkd":
            idle += self._changed("non_target_weight")
        if idle:
            raise ValueError(
                f"{idle[0]} takes no effect with divergence = {self.divergence!r} and distilled = {self.distilled!r}: remove it"
            )
        return self

    def _changed(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name) != SoftTargetOptions.model_fields[name].default]

    def refuse_few_classes(self, num_classes: int) -> None:
        """Refuse what says nothing of so few classes.

        Raises:
            OptionError: two classes, whose z-scores are 1 and −1 and whose other answer has none to change places with.
        """
        if num_classes < 3 and (self.standardise or self.permute_non_targets):
            raise OptionError(
                "standardise and permute_non_targets need at least 3 classes: with 2 the student would learn nothing by them."
            )

    @property
    def weight_of_divergence(self) -> float:
        """`divergence_weight`, or what stands for it by default."""
        source = _SOURCES[self.divergence, self.standardise].divergence_weight
        weight = source if self.divergence_weight is None else self.divergence_weight
        return 1.0 - self.label_weight if weight is None else weight

    @property
    def with_representation(self) -> bool:
        return self.distilled != "logits"
