"""The student's features beside its pictures' words: one more term for objectives that train a student."""

from collections.abc import Callable
from math import log
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from picturebook.data.text_table import TextTable
from picturebook.errors import ModelError, OptionError
from picturebook.losses import contrastive_alignment, feature_regression
from picturebook.models.image_encoders import ImageEncoder
from picturebook.objective import Loss
from picturebook.options import Options
from picturebook.types import Batch

LEAST_TEMPERATURE = 0.01
"""Where a learnt temperature stops (arXiv:2103.00020, section 2.5: the logits' scale is clipped at 100)."""

_Features = Float[Tensor, "batch width"]
_Logits = Float[Tensor, "batch classes"]


class AlignmentOptions(Options):
    """How the student's features are drawn to the vectors of the pictures' own texts."""

    weight: float = Field(0.0, ge=0.0)
    """Weight beside the rest of the loss; 0 leaves words out. With `balanced`, 1 is TextTeacher's even mix of the two."""
    loss: Literal["contrastive", "cosine"] = "contrastive"
    """Tell a picture's text from the others of the batch, or turn towards it alone."""
    temperature: float = Field(0.07, gt=0.0)
    """T of the contrast, or what it starts from where it is learnt."""
    learned_temperature: bool = True
    """Learn the contrast's temperature with the student, down to 0.01."""
    balanced: bool = True
    """Scale the term so that it pulls at the pooled features as hard as the rest of the loss does, batch by batch."""
    until: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the training after which words are left out."""

    @model_validator(mode="after")
    def _temperature_takes_effect(self) -> "AlignmentOptions":
        plain = AlignmentOptions.model_fields
        for name in ("temperature", "learned_temperature"):
            if self.loss == "cosine" and getattr(self, name) != plain[name].default:
                raise ValueError(f"{name} takes no effect with loss = 'cosine': remove it")
        if self.learned_temperature and self.temperature < LEAST_TEMPERATURE:
            raise ValueError(
                f"temperature: a learnt one stops at {LEAST_TEMPERATURE}, got {self.temperature}: "
                "raise it or say learned_temperature = false"
            )
        return self

    @property
    def is_on(self) -> bool:
        return self.weight > 0.0


class Alignment(nn.Module):
    """w a R(projected features, the texts' vectors): R is the contrast or the cosine, a balances the gradients.

    a = ‖dM/dz‖ / ‖dR/dz‖ over the batch's pooled features z, detached, where M is the rest of the loss as far as it goes
    through the logits (arXiv:2605.22098; there M is the cross-entropy). Without it a = 1. A text that asks by several
    vectors stands for their mean. Contrast and a look at this process's share of the batch alone.

    Args:
        options: with a weight above 0.
        texts: the pictures' own texts; centred or whitened vectors, since those of one language model are nearly collinear.
        projector: from the student's features to the texts' width; trained with the student and thrown away after it.
        final_layer: the student's, from pooled features to logits; with `balanced` alone.
    """

    gate: Tensor

    def __init__(
        self, options: AlignmentOptions, texts: TextTable, projector: nn.Linear, *, final_layer: nn.Module | None
    ) -> None:
        super().__init__()
        assert options.is_on
        assert (final_layer is not None) == options.balanced
        # Not a child: the layer is the student's already.
        self._final_layer = (final_layer,)
        self.projector = projector
        self._texts = texts
        self._options = options
        self.log_temperature: nn.Parameter | None = None
        if options.loss == "contrastive" and options.learned_temperature:
            self.log_temperature = nn.Parameter(torch.tensor(log(options.temperature)))
        # A factor and no branch: every parameter keeps a gradient, as DDP asks for, and a resumed training finds it in its state.
        self.register_buffer("gate", torch.ones(()))

    def forward(self, rest: Loss, features: _Features, batch: Batch, *, of_logits: Callable[[_Logits], Tensor]) -> Loss:
        """The rest of the loss with words beside it.

        Args:
            rest: what the student learns without words.
            features: [B, D], the student's pooled features.
            batch: whose texts are read.
            of_logits: M as a function of the logits.

        Raises:
            TextError: a picture of the batch has no text.
        """
        vectors = self._texts.of(batch).mean()
        value = self._loss(features, vectors)
        terms = {**rest.terms, "alignment": value.detach()}
        weight = self._options.weight * self.gate
        if (layer := self._final_layer[0]) is not None:
            balance = gradient_ratio(features, lambda z: of_logits(layer(z)), lambda z: self._loss(z, vectors))
            terms["alignment_balance"] = balance
            weight = weight * balance
        return Loss(rest.total + weight * value, terms)

    def after_step(self, step: int, num_steps: int) -> None:
        """Keep the learnt temperature in its range, and switch off when `until` is over."""
        if self.log_temperature is not None:
            with torch.no_grad():
                self.log_temperature.clamp_(min=log(LEAST_TEMPERATURE))
        if step + 1 >= self._options.until * num_steps:
            self.gate.zero_()

    def _loss(self, features: Tensor, vectors: Tensor) -> Tensor:
        projected = self.projector(features).float()
        if self._options.loss == "cosine":
            return feature_regression(projected, vectors)
        if self.log_temperature is None:
            return contrastive_alignment(projected, vectors, temperature=self._options.temperature)
        return contrastive_alignment(projected, vectors, temperature=self.log_temperature.exp())


def build_alignment(
    options: AlignmentOptions, student: ImageEncoder, texts: TextTable | None, projector: nn.Linear | None
) -> Alignment | None:
    """The term, or None where words have no weight.

    Raises:
        ModelError: it is to be balanced, and there is more than one layer between the student's features and logits.
        OptionError: words have a weight, and there are none.
    """
    if not options.is_on:
        assert texts is None
        assert projector is None
        return None
    if texts is None:
        raise OptionError(
            f"alignment.weight = {options.weight} needs a text for each training picture, and none is read here: "
            "name the pictures' own texts, or leave alignment.weight at 0."
        )
    assert projector is not None
    return Alignment(options, texts, projector, final_layer=_final_layer(student) if options.balanced else None)


def gradient_ratio(
    features: _Features, numerator: Callable[[_Features], Tensor], denominator: Callable[[_Features], Tensor]
) -> Float[Tensor, ""]:
    """‖d numerator/dz‖ / ‖d denominator/dz‖ at z = features over the whole [B, D], detached; 0 where the latter is 0."""
    z = features.detach().float().requires_grad_()
    over, under = (torch.autograd.grad(loss(z), z)[0].norm() for loss in (numerator, denominator))
    return torch.where(under > 0.0, over / under, 0.0)


@torch.no_grad()
def _final_layer(student: ImageEncoder) -> nn.Module:
    """The one layer between the student's pooled features and its logits."""
    layer = student.model.get_classifier()
    was_training = student.training
    student.eval()  # a look must not move batch statistics
    side = student.image_size
    logits, features = student.forward_features(torch.full((1, 3, side, side), 0.5, device=student.mean.device))
    student.train(was_training)
    if not isinstance(layer, nn.Module) or not torch.allclose(layer(features), logits, rtol=1e-3, atol=1e-4):
        raise ModelError(
            f"alignment.balanced needs a student with one layer between pooled features and logits; {student.architecture} has "
            "another head: choose another student.model, or say alignment.balanced = false."
        )
    return layer
