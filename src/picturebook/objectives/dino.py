"""DINO (Caron et al., 2021, arXiv:2104.14294): a student learns from the average of its own past what other crops show."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from picturebook.errors import TrainingError
from picturebook.losses import multi_crop_cross_entropy
from picturebook.losses.gathering import gather_rows
from picturebook.models.averaged import AveragedNetwork
from picturebook.models.image_encoders import ImageEncoder
from picturebook.models.projection_heads import PrototypeHead
from picturebook.objective import Loss, Objective
from picturebook.options import Options
from picturebook.types import Batch

_ALIKE = 5e-3
"""Share of log K nats that answers must tell of their pictures; below it they are all alike. Those of new networks tell 5 to 30 %
(ResNets and ViTs, 256 and 4096 prototypes), those of collapsed ones .1 to .3 %."""
_SETTLING = 50
"""Steps that it takes a centre to come to where the outputs are; until then one prototype may win without any harm."""
_LOOKS = 100
"""Times a training is looked at for collapse; each look makes the processor wait for the device."""


class DinoOptions(Options):
    """How the student follows the averaged teacher."""

    student_temperature: float = Field(0.1, gt=0.0)
    """T of the student."""
    teacher_temperature: tuple[float, float] = Field((0.04, 0.07), strict=False)
    """T of the teacher at the start and after its warm-up; smaller is sharper. The same number twice keeps it."""
    teacher_temperature_warmup: float = Field(0.3, ge=0.0, le=1.0)
    """Share of the training in which that temperature rises straight; the source has 30 epochs of 100 to 800."""
    momentum: float = Field(0.996, ge=0.0, lt=1.0)
    """How slowly the teacher follows at the start; half a cosine leads it to 1. Batches of 256 and fewer: 0.9995."""
    centre_momentum: float = Field(0.9, ge=0.0, le=1.0)
    """How slowly the centre follows the mean of the teacher's outputs; 1 keeps it at 0, which is no centring."""
    frozen_prototypes: float = Field(0.01, ge=0.0, lt=1.0)
    """Share of the training in which the head's last layer stays as it is; the source has the first epoch of 100."""
    collapse_after: float = Field(0.1, gt=0.0, le=1.0)
    """Share of the training in which the teacher's answers may all be alike, in a row, before it stops; at least 50 steps."""

    @field_validator("teacher_temperature")
    @classmethod
    def _temperatures_are_positive(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 < temperature < float("inf") for temperature in value):
            raise ValueError(f"teacher_temperature needs two positive numbers, got {list(value)}: write for example [0.04, 0.07]")
        return value


class ProjectedEncoder(nn.Module):
    """Images → pooled features [B, D] → the head's outputs [B, K]: what student and teacher are."""

    def __init__(self, encoder: ImageEncoder, head: PrototypeHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(
        self, images: Float[Tensor, "batch 3 _ _"], *, prototype_gradient: Float[Tensor, ""] | None = None
    ) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch prototypes"]]:
        features = self.encoder.pool(images)
        return features, self.head(features, prototype_gradient=prototype_gradient)


class Dino(Objective):
    """Mean over (global view v, other view u) of H(p_v, q_u), and what keeps p from becoming the same for all pictures.

    p_v = softmax((teacher(v) − centre) / t), q_u = softmax(student(u) / s). After each step
    teacher ← m teacher + (1 − m) student, centre ← 0.9 centre + 0.1 mean of teacher(v) over views, samples and processes.

    Terms beside the loss: `output_entropy`, the mean entropy of p; `mean_output_entropy`, the entropy of its mean, log K where
    prototypes are used evenly; `feature_spread`, the standard deviation of the teacher's features at length 1, over pictures
    and global crops (0 where all are alike). The entropies are equal where the teacher answers the same to every picture.

    Args:
        encoder: the network that is pretrained, with its classifier frozen.
        head: from its pooled features to prototypes.
        options: the loss.
    """

    centre: Tensor
    teacher_temperature: Tensor
    prototype_gradient: Tensor
    alike_steps: Tensor

    def __init__(self, encoder: ImageEncoder, head: PrototypeHead, options: DinoOptions) -> None:
        super().__init__()
        self._options = options
        self.student = ProjectedEncoder(encoder, head)
        self.teacher = AveragedNetwork(self.student)
        self.register_buffer("centre", torch.zeros(len(head.prototypes)))
        self.register_buffer("teacher_temperature", torch.tensor(_teacher_temperature(options, 0.0)))
        self.register_buffer("prototype_gradient", torch.tensor(float(options.frozen_prototypes == 0.0)))
        self.register_buffer("alike_steps", torch.zeros(()))
        self._seen: list[_Sums] = []

    @property
    def teacher_encoder(self) -> ImageEncoder:
        """The averaged network, which is what the training is for."""
        network = self.teacher.network
        assert isinstance(network, ProjectedEncoder)
        return network.encoder

    def forward(self, batch: Batch) -> Loss:
        assert batch.images is not None
        assert batch.crops, "MultiCropMaker makes the batches of this objective"
        views = (batch.images, *batch.crops)
        features, outputs = self.teacher(torch.cat(views[:2]))
        loss = multi_crop_cross_entropy(
            torch.cat([self._learn(group) for group in _of_one_size(views)]),
            outputs.view(2, len(batch), -1),
            centre=self.centre,
            teacher_temperature=self.teacher_temperature,
            student_temperature=self._options.student_temperature,
        )
        return Loss(loss, {"multi_crop_cross_entropy": loss.detach(), **self._watch(features.float(), outputs)})

    def after_step(self, step: int, num_steps: int) -> None:
        options, done = self._options, (step + 1) / num_steps
        momentum = 1.0 - (1.0 - options.momentum) * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
        self.teacher.follow(self.student, momentum=momentum)
        self._take_in(self._seen)
        self._seen = []
        self.teacher_temperature.fill_(_teacher_temperature(options, done))
        self.prototype_gradient.fill_(float(done >= options.frozen_prototypes))
        if (step + 1) % max(1, num_steps // _LOOKS) == 0 or step + 1 == num_steps:
            self._refuse_collapse(num_steps)

    def _learn(self, views: Sequence[Tensor]) -> Tensor:
        """The student's outputs [views, B, K]."""
        outputs: Tensor = self.student(torch.cat(tuple(views)), prototype_gradient=self.prototype_gradient)[1]
        return outputs.view(len(views), -1, outputs.shape[1])

    @torch.no_grad()
    def _watch(self, features: Tensor, outputs: Tensor) -> dict[str, Tensor]:
        """Numbers of collapse; what they are made of is kept for the end of the step."""
        log_probs = ((outputs - self.centre) / self.teacher_temperature).log_softmax(dim=1)
        entropies = -(log_probs.exp() * log_probs).sum(dim=1)
        sums = _Sums.over_processes(outputs, log_probs.exp(), functional.normalize(features, dim=1), entropies)
        if self.training:
            self._seen.append(sums)
        spread = (1.0 - (sums.directions / sums.samples).square().sum()).clamp(min=0.0).sqrt()
        return {
            "output_entropy": entropies.mean(),
            "mean_output_entropy": _entropy(sums.probs / sums.samples),
            "feature_spread": spread,
        }

    @torch.no_grad()
    def _take_in(self, parts: list["_Sums"]) -> None:
        """Move the centre by the step's outputs, and count the steps in a row in which all answers were alike."""
        if not parts:
            return
        count = torch.stack([part.samples for part in parts]).sum()
        outputs, probs, entropies = (
            torch.stack([getattr(part, name) for part in parts]).sum(dim=0) / count for name in ("outputs", "probs", "entropies")
        )
        # A step that was not finite is left out here too.
        outputs = torch.where(outputs.isfinite(), outputs, self.centre)
        self.centre.lerp_(outputs, 1.0 - self._options.centre_momentum)
        told = _entropy(probs) - entropies
        alike = told < _ALIKE * math.log(len(self.centre))
        self.alike_steps.copy_(torch.where(alike, self.alike_steps + 1.0, 0.0))

    def _refuse_collapse(self, num_steps: int) -> None:
        if self.alike_steps < max(_SETTLING, self._options.collapse_after * num_steps):
            return
        raise TrainingError(
            f"DINO has collapsed: for {int(self.alike_steps)} of {num_steps} steps the teacher's answers to all pictures were "
            "alike, so that there is nothing to learn from them (output_entropy and mean_output_entropy in metrics.jsonl). "
            "Sharpen more (loss.teacher_temperature below student_temperature), centre faster (loss.centre_momentum near 0.9), "
            "or lower pretrain.learning_rate."
        )


class _Sums(NamedTuple):
    """Sums over the views, samples and processes of one pass."""

    outputs: Tensor
    probs: Tensor
    directions: Tensor
    entropies: Tensor
    samples: Tensor

    @classmethod
    def over_processes(cls, outputs: Tensor, probs: Tensor, directions: Tensor, entropies: Tensor) -> "_Sums":
        own = [outputs.sum(dim=0), probs.sum(dim=0), directions.sum(dim=0), entropies.sum(dim=0, keepdim=True)]
        own.append(torch.full_like(own[-1], len(outputs)))
        total = torch.split(gather_rows(torch.cat(own)[None])[0].sum(dim=0), [len(part) for part in own])
        return cls(total[0], total[1], total[2], total[3][0], total[4][0])


def _of_one_size(views: Sequence[Tensor]) -> list[list[Tensor]]:
    """Views that follow each other and are equally large, which go through the network at once."""
    return [list(group) for _, group in groupby(views, key=lambda view: view.shape[-2:])]


def _entropy(probs: Tensor) -> Tensor:
    return -torch.xlogy(probs, probs).sum()


def _teacher_temperature(options: DinoOptions, done: float) -> float:
    start, end = options.teacher_temperature
    warmup = options.teacher_temperature_warmup
    return end if done >= warmup else start + (end - start) * done / warmup
