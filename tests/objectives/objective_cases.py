"""Every objective and every variant of it, at toy size, and some steps of training."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coca_cases import COCA_BUILDERS
from contrastive_cases import CONTRASTIVE_BUILDERS
from dino_cases import DINO_BUILDERS
from own_teacher_cases import OWN_TEACHER_BUILDERS
from torch import Tensor, nn

from picturebook.data.text_table import TextTable
from picturebook.models.heads import HeadOptions, build_head
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder
from picturebook.objective import Objective
from picturebook.objectives.image_text import ClassExamples, HeadLossOptions, ImageText
from picturebook.objectives.soft_targets import SoftTargetOptions, SoftTargets, Supervised, SupervisedOptions
from picturebook.stores.packed import PackedArray, PackedWriter
from picturebook.teachers import ClassifierTeacher, TableTeacher, one_hot_logits
from picturebook.types import UNLABELLED, Batch, Mixed, Queries
from toy_runs import VIT

NUM = 12
LABELS = torch.arange(NUM) % 3
PARTNERS = torch.where(torch.arange(NUM) % 4 == 0, UNLABELLED, (LABELS + 1) % 3)
SHARE = torch.linspace(0.0, 1.0, NUM)
"""What a mixed batch holds beside its own pictures, and the share of the latter."""
TEXT_WIDTH = 6


@dataclass
class Built:
    """An objective, and what in it must not move."""

    objective: Objective
    trained: set[str]
    """First parts of the names of its parameters."""
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    counters: set[str] = field(default_factory=set)
    """First parts of the names of what its state has beside them, of which weights are made."""
    carried: frozenset[str] = frozenset()
    """First parts of the names of what else its state has: averages, and what a schedule or a running mean writes."""
    within_a_batch: frozenset[str] = frozenset()
    """Terms that relate the images of one batch, or draw numbers, so that parts of a batch do not add up to it."""


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(NUM, 3, 16, 16, generator=generator) * 0.5
    for row, label in enumerate(LABELS.tolist()):
        pictures[row, label] += 0.5
    return pictures


def batch(labels: Tensor = LABELS) -> Batch:
    whole = images()
    crops = (whole.flip(3), whole[..., 4:12, 4:12])  # for objectives of several crops; others do not look at them
    return Batch(torch.arange(NUM) * 7 - 20, torch.zeros(NUM, dtype=torch.long), labels, whole, crops)


def mixed_batch() -> Batch:
    return replace(batch(), mixed=Mixed(PARTNERS, SHARE))


def encoder(seed: int, num_classes: int = 3) -> ImageEncoder:
    return create_image_encoder(VIT["model"], num_classes=num_classes, image_size=16, model_args=VIT["model_args"], seed=seed)


def teaching_encoder() -> ImageEncoder:
    """One with something to say."""
    teacher = encoder(2)
    with torch.no_grad():
        teacher.model.head.weight.mul_(30)
    return teacher


def linear(width: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(32, width)


def soft_objective(settings: dict[str, Any]) -> SoftTargets:
    """Student 1 and the teaching encoder, without dropout."""
    options = SoftTargetOptions.model_validate(settings)
    teacher = teaching_encoder()
    projector = linear(teacher.feature_width) if options.with_representation else None
    return SoftTargets(encoder(1), ClassifierTeacher(teacher), options, projector=projector).eval()


def both_logits() -> tuple[Tensor, Tensor]:
    """Of that student and of its teacher."""
    return encoder(1).eval()(images()), teaching_encoder().eval()(images())


def texts() -> TextTable:
    """Two vectors a picture, of which pictures 0 and 3 share theirs and some have one alone."""
    vectors = torch.randn(NUM, 2, TEXT_WIDTH, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(NUM, 2, dtype=torch.bool)
    vectors[3] = vectors[0]
    mask[5:8, 1] = False
    return TextTable(batch().ids.numpy(), Queries(vectors, mask))


def supervised(folder: Path, **settings: Any) -> Built:
    options = SupervisedOptions.model_validate(settings)
    if not options.alignment.is_on:
        return Built(Supervised(encoder(1), options), {"student"})
    objective = Supervised(encoder(1), options, texts=texts(), text_projector=linear(TEXT_WIDTH))
    return Built(objective, {"student", "alignment"}, within_a_batch=_within_a_batch(settings))


def soft_targets(folder: Path, **settings: Any) -> Built:
    options = SoftTargetOptions.model_validate(settings)
    teacher = teaching_encoder()
    words = {"texts": texts(), "text_projector": linear(TEXT_WIDTH)} if options.alignment.is_on else {}
    projector = linear(teacher.feature_width) if options.with_representation else None
    objective = SoftTargets(encoder(1), ClassifierTeacher(teacher), options, projector=projector, **words)
    trained = {"student"} | ({"projector"} if projector else set()) | ({"alignment"} if words else set())
    counters = {"warmth"} if options.divergence_warmup else set()
    return Built(objective, trained, {"teacher": teacher}, counters, within_a_batch=_within_a_batch(settings))


def pseudo_labels(folder: Path) -> Built:
    """Labels and pseudo-labels as noisy_student gives them."""
    rows = torch.arange(NUM)
    targets = torch.where((rows % 2 == 0)[:, None], one_hot_logits(LABELS, 3), 4.0 * images().mean(dim=(2, 3)))
    options = SoftTargetOptions(temperature=1.0, label_weight=0.0)
    objective = SoftTargets(encoder(1), TableTeacher(batch().ids.numpy(), targets), options, projector=None)
    return Built(objective, {"student"})


def _within_a_batch(settings: dict[str, Any]) -> frozenset[str]:
    names = set()
    alignment = settings.get("alignment", {})
    if alignment.get("balanced", True) and alignment:
        names.add("alignment_balance")
    if alignment and alignment.get("loss") != "cosine":
        names.add("alignment")
    if settings.get("divergence") == "cwtm":
        names.add("confidence_weighted_cross_entropy")
    if settings.get("divergence") == "dist":
        names.add("correlation_distillation")
    if settings.get("permute_non_targets"):
        names.add("distillation_kl")
    return frozenset(names)


def image_text(folder: Path, *, residual: bool = False) -> Built:
    whole = batch()
    writer = PackedWriter.start(folder, ids=whole.ids.numpy(), num_views=1, record=(16, 32), dtype=np.float16, fingerprint={})
    with torch.no_grad():
        writer.write(whole.ids.numpy(), whole.views.numpy(), encoder(2).eval().tokens(images()).numpy())
    writer.finish()
    options = HeadOptions(mode="own", width=16, num_heads=2, dropout=0.0, residual=residual)
    head = build_head(options, token_width=32, num_tokens=16, text_width=TEXT_WIDTH, num_classes=3, seed=0)
    vectors = torch.randn(5, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))
    examples = ClassExamples(vectors, torch.arange(5) % 3, 0.5) if residual else None
    loss = HeadLossOptions(label_smoothing=0.1)
    objective = ImageText(head, PackedArray.open(folder, {}), texts=texts(), options=loss, examples=examples)
    return Built(objective, {"head"})


CONTRAST, COSINE = {"weight": 0.5}, {"weight": 0.5, "loss": "cosine"}

BUILDERS: dict[str, Callable[[Path], Built]] = {
    **COCA_BUILDERS,
    **CONTRASTIVE_BUILDERS,
    **DINO_BUILDERS,
    **OWN_TEACHER_BUILDERS,
    "image_text": image_text,
    "image_text/class text": partial(image_text, residual=True),
    "soft_targets": partial(soft_targets, distilled="both", label_weight=0.3),
    "soft_targets/alignment": partial(soft_targets, alignment=CONTRAST, distilled="both"),
    "soft_targets/alignment without labels": partial(soft_targets, alignment=COSINE, label_weight=0.0),
    "soft_targets/cwtm": partial(soft_targets, divergence="cwtm"),
    "soft_targets/dist": partial(soft_targets, divergence="dist"),
    "soft_targets/dkd": partial(soft_targets, divergence="dkd"),
    "soft_targets/dkpp": partial(soft_targets, permute_non_targets=True),
    "soft_targets/hints": partial(soft_targets, distilled="both", representation_loss="mse", representation_weight=1.0),
    "soft_targets/pseudo-labels": pseudo_labels,
    "soft_targets/standardised": partial(soft_targets, standardise=True),
    "soft_targets/standardised dkd": partial(soft_targets, divergence="dkd", standardise=True),
    "supervised": partial(supervised, label_smoothing=0.1),
    "supervised/contrast": partial(supervised, alignment={**CONTRAST, "balanced": False, "learned_temperature": False}),
    "supervised/contrast, balanced": partial(supervised, alignment=CONTRAST),
    "supervised/cosine": partial(supervised, alignment={**COSINE, "balanced": False}),
    "supervised/cosine, balanced, early": partial(supervised, alignment={**COSINE, "until": 0.5}),
    "supervised/virtual teacher": partial(supervised, virtual_teacher_weight=0.1),
}


def train(objective: Objective, steps: int, labels: Tensor = LABELS) -> list[float]:
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)  # as the engine does, for what is drawn
        loss = objective(batch(labels))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        objective.after_step(step, steps)
        losses.append(loss.total.item())
    return losses
