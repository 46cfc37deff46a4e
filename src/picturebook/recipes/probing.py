"""What a network has learnt without a classifier: neighbours, a linear probe, the same probe of random weights, fine-tuning.

A recipe that pretrains calls, in this order: `check_probe` before any training, `freeze_classifier` on what it trains,
`probe` and `finish_student` on what came out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from picturebook.data.loaders import TrainingBatches, evaluation_batches
from picturebook.errors import ModelError, OptionError
from picturebook.evaluate import Model
from picturebook.models.image_encoders import ImageEncoder, create_image_encoder, weights_fingerprint
from picturebook.objectives.soft_targets import Supervised, SupervisedOptions
from picturebook.options import Options
from picturebook.recipes.stages import Stages
from picturebook.types import UNLABELLED, Batch, Progress, no_progress
from picturebook.writing import npz, write_atomically

KNN, LINEAR, RANDOM = "k-NN", "linear probe", "linear probe of random features"
"""Names of the models that probing gives, as they stand in a run's results."""

_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Weight decays that are tried for a linear probe."""
_CHUNK = 1 << 16
"""Stored features that a batch is compared with at a time."""


class ProbeOptions(Options):
    """How a network that was pretrained without a classifier is asked, and what becomes of it."""

    finish: Literal["fine_tune", "linear_probe"] = "fine_tune"
    """The run's student: every weight fine-tuned on the labels with [train], or the frozen network under its linear probe."""
    neighbours: int = Field(20, ge=1)
    """k of k-NN; of those that DINO's source tries, 20 is best nearly always (arXiv:2104.14294, section 3.2)."""
    neighbour_temperature: float = Field(0.07, gt=0.0)
    """T of k-NN: a neighbour votes with exp(cosine / T)."""


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """A classifier of pooled features. The standardisation of the features is folded into it."""

    weight: Float[Tensor, "classes width"]
    bias: Float[Tensor, " classes"]

    def __call__(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch classes"]:
        return functional.linear(features.float(), self.weight.to(features.device), self.bias.to(features.device))


def check_probe(stages: Stages, options: ProbeOptions) -> None:
    """Refuse before any training what could not be probed after it.

    Raises:
        DataError: no training picture has a label.
        OptionError: k-NN would ask for more neighbours than there are pictures with a label, or [train] cannot run.
        ModelError: the student has no linear classifier on its pooled features.
    """
    rows, train = stages.labelled_rows, stages.options.train
    if options.neighbours > len(rows):
        raise OptionError(
            f"probe.neighbours = {options.neighbours}, but only {len(rows)} training pictures have a label: lower it."
        )
    classifier_of(_random_encoder(stages))
    if options.finish == "fine_tune":
        TrainingBatches(
            stages.maker,
            rows,
            batch_size=train.batch_size,
            epochs=train.epochs,
            num_views=train.distinct_views,
            seed=stages.options.seed,
            share=(stages.accelerator.process_index, stages.accelerator.num_processes),
        )


def classifier_of(encoder: ImageEncoder) -> nn.Linear:
    """The last layer, from pooled features to logits.

    Raises:
        ModelError: the encoder ends in something else.
    """
    classifier = encoder.model.get_classifier()
    if not isinstance(classifier, nn.Linear) or classifier.in_features != encoder.feature_width:
        raise ModelError(
            f"{encoder.name!r} does not end in one linear layer on its pooled features, which pretraining without labels needs: "
            "take a ResNet or a ViT."
        )
    return classifier


def freeze_classifier(encoder: ImageEncoder) -> ImageEncoder:
    """Keep the classifier out of a training that gives it no gradient; `finish_student` releases it."""
    classifier_of(encoder).requires_grad_(requires_grad=False)
    return encoder


def probe(stages: Stages, encoder: ImageEncoder, options: ProbeOptions) -> dict[str, Model]:
    """What the frozen features tell of the classes: k-NN, a linear probe, and the same probe of random weights.

    All learn from the centre views of the labelled training rows. The models hold the encoder itself: do not train it
    further. They are made in the first process, which evaluates; the others get none.
    """
    if not stages.accelerator.is_main_process:
        return {}
    encoder.eval()  # a fitted probe is read back without a look at the pictures, and batch statistics must rest all the same
    random = _random_encoder(stages).to(stages.device).eval()
    probes = {LINEAR: (encoder, _linear_probe(stages, encoder)), RANDOM: (random, _linear_probe(stages, random))}
    with stages.timed("probe"), stages.reporter.stage("storing features") as progress:
        rows = _labelled(stages)
        stored = functional.normalize(_features(stages, encoder, rows, progress), dim=1)
    labels = torch.from_numpy(stages.pictures.labels[rows]).to(stages.device)
    num_classes = len(stages.pictures.classes)

    def neighbours(batch: Batch) -> Tensor:
        return neighbour_votes(
            _pooled(encoder, batch),
            stored,
            labels,
            num_classes=num_classes,
            neighbours=options.neighbours,
            temperature=options.neighbour_temperature,
        )

    return {KNN: neighbours} | {name: _model(network, classifier) for name, (network, classifier) in probes.items()}


def finish_student(stages: Stages, encoder: ImageEncoder, options: ProbeOptions) -> ImageEncoder:
    """The run's student from pretrained weights, which stay as they are: fine-tuned on labels, or under its linear probe."""
    student = stages.new_student()
    student.load_state_dict(encoder.state_dict())
    if options.finish == "fine_tune":
        objective, rows = Supervised(student, SupervisedOptions()), stages.labelled_rows
        stages.train("student", objective, rows=rows, validate=stages.validation_of(student))
        return student
    if stages.accelerator.is_main_process:
        _linear_probe(stages, encoder.eval())
    stages.accelerator.wait_for_everyone()
    fitted = _linear_probe(stages, encoder)  # which the first process has written by now
    classifier = classifier_of(student)
    with torch.no_grad():
        classifier.weight.copy_(fitted.weight)
        assert classifier.bias is not None  # timm's classifiers have one
        classifier.bias.copy_(fitted.bias)
    return student


def neighbour_votes(
    features: Float[Tensor, "batch width"],
    stored: Float[Tensor, "pictures width"],
    labels: Int64[Tensor, " pictures"],
    *,
    num_classes: int,
    neighbours: int,
    temperature: float,
) -> Float[Tensor, "batch {num_classes}"]:
    """Log-probabilities by weighted k-NN: the k nearest by cosine vote with exp(cosine / T) (arXiv:1805.01978, section 3.4).

    One voter more, who spreads a vote over all classes, keeps a class without neighbours from a logarithm of 0.

    Args:
        features: of the pictures that are asked about.
        stored: of pictures whose class is known, of length 1; compared chunk by chunk, so that memory stays bounded.
        labels: class indices of the stored ones.
        num_classes: K.
        neighbours: k, at most the number of stored pictures.
        temperature: T > 0.
    """
    queries = functional.normalize(features.float(), dim=1)
    cosines, classes = queries.new_empty(len(queries), 0), labels.new_empty(len(queries), 0)
    for start in range(0, len(stored), _CHUNK):
        part = slice(start, start + _CHUNK)
        cosines = torch.cat([cosines, queries @ stored[part].T], dim=1)
        classes = torch.cat([classes, labels[part].expand(len(queries), -1)], dim=1)
        cosines, nearest = cosines.topk(min(neighbours, cosines.shape[1]), dim=1)
        classes = classes.gather(1, nearest)
    weights = (cosines / temperature).softmax(dim=1)
    votes = torch.zeros(len(queries), num_classes, device=queries.device).scatter_add_(1, classes, weights)
    return ((neighbours * votes + 1.0 / num_classes) / (neighbours + 1)).log()


def fit_linear_probe(
    features: Float[Tensor, "pictures width"],
    labels: Int64[Tensor, " pictures"],
    held_out: tuple[Float[Tensor, "others width"], Int64[Tensor, " others"]],
    *,
    num_classes: int,
) -> LinearProbe:
    """Logistic regression on standardised features; the weight decay with the least held-out loss of five.

    Solved over all pictures at once from zero (L-BFGS), so that it has no seed, no learning rate and no number of epochs.
    """
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
    scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    inputs = (features - mean) / scale
    candidates = []
    for penalty in _PENALTIES:
        weight, bias = _solve(inputs, labels, num_classes, penalty)
        folded = LinearProbe(weight / scale, bias - (weight / scale) @ mean)
        candidates.append((float(functional.cross_entropy(folded(held_out[0]), held_out[1])), penalty, folded))
    return min(candidates, key=lambda candidate: candidate[:2])[2]


def _solve(inputs: Tensor, labels: Tensor, num_classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(num_classes, inputs.shape[1], device=inputs.device, requires_grad=True)
    bias = torch.zeros(num_classes, device=inputs.device, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = functional.cross_entropy(functional.linear(inputs, weight, bias), labels)
        value = value + penalty / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]  # torch has no types here
    return weight.detach(), bias.detach()


def _linear_probe(stages: Stages, encoder: ImageEncoder) -> LinearProbe:
    """Fitted once, and read from the run folder after that, by a resumed run too."""
    file = stages.folder.stage("probe") / f"{weights_fingerprint(encoder)}.npz"
    if not file.is_file():
        _fit(stages, encoder, file)
    with np.load(file) as arrays:
        return LinearProbe(torch.from_numpy(arrays["weight"]), torch.from_numpy(arrays["bias"]))


def _fit(stages: Stages, encoder: ImageEncoder, file: Path) -> None:
    with stages.timed("probe"), stages.reporter.stage("fitting a linear probe") as progress:
        pictures, rows = stages.pictures, _labelled(stages)
        others = pictures.rows["val"][pictures.labels[pictures.rows["val"]] != UNLABELLED]
        if not len(others):  # a fifth of the training pictures chooses the weight decay
            order = np.random.default_rng(stages.options.seed).permutation(rows)
            others, rows = np.split(order, [max(1, len(order) // 5)])
        features, held = _features(stages, encoder, rows, progress), _features(stages, encoder, others, no_progress)
        labels, theirs = (torch.from_numpy(pictures.labels[part]).to(stages.device) for part in (rows, others))
        fitted = fit_linear_probe(features, labels, (held, theirs), num_classes=len(pictures.classes))
        write_atomically(file, npz({"weight": fitted.weight.cpu().numpy(), "bias": fitted.bias.cpu().numpy()}))


def _labelled(stages: Stages) -> Int64[np.ndarray, " rows"]:
    rows: np.ndarray = stages.train_rows[stages.pictures.labels[stages.train_rows] != UNLABELLED]
    return rows


def _random_encoder(stages: Stages) -> ImageEncoder:
    student = stages.options.student
    return create_image_encoder(
        student.model,
        num_classes=len(stages.pictures.classes),
        image_size=student.image_size,
        model_args=dict(student.model_args),
        seed=stages.part_seed("random features"),
    )


@torch.no_grad()
def _features(stages: Stages, encoder: ImageEncoder, rows: np.ndarray, progress: Progress) -> Float[Tensor, "rows width"]:
    """Pooled features of centre views, in the rows' order, on the device."""

    def parts() -> Iterator[Tensor]:
        done = 0
        size = stages.options.student.image_size
        for batch in evaluation_batches(stages.pictures, rows, image_size=size, device=stages.device):
            yield _pooled(encoder, batch)
            done += len(batch)
            progress(done, len(rows))

    return torch.cat(list(parts()))


def _pooled(encoder: ImageEncoder, batch: Batch) -> Float[Tensor, "batch width"]:
    assert batch.images is not None
    return encoder.forward_features(batch.images)[1].float()


def _model(encoder: ImageEncoder, classifier: LinearProbe) -> Model:
    return lambda batch: classifier(_pooled(encoder, batch))
