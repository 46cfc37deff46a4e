"""A teacher in two parts: an image encoder that is never changed, and heads that are trained on its stored tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from picturebook.calibration import fit_weights
from picturebook.data.findings import sentence
from picturebook.data.folds import fold_findings, fold_numbers
from picturebook.data.loaders import evaluation_batches
from picturebook.data.text_table import TextTable
from picturebook.engine import TrainOptions, first_process_values
from picturebook.errors import DataError, OptionError
from picturebook.evaluate import Model
from picturebook.models.head_ensembles import Combination, Experts, FoldedHead
from picturebook.models.heads import HeadOptions
from picturebook.models.image_encoders import ImageEncoder, weights_fingerprint
from picturebook.models.saved_teacher import SavedTeacher, save_teacher
from picturebook.objectives.image_text import ClassExamples, HeadLossOptions, ImageText
from picturebook.recipes.encoders import TRAIN, teacher_logits
from picturebook.recipes.shared_heads import teach
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import EncoderOptions, held_out_tokens
from picturebook.runs import RunFolder
from picturebook.stores.packed import PackedArray
from picturebook.teachers import FoldTable, HeadTeacher, StoredTeacher, TokenTeacher, read_tokens
from picturebook.types import UNLABELLED, Batch, Progress


class HeadTrainOptions(TrainOptions):
    """The head's training, on stored tokens."""

    epochs: int = Field(10, ge=1)
    """Times each picture's tokens are seen."""
    keep: Literal["last"] = "last"
    """The last weights: heads are taught on stored tokens, and not validated."""


class HeadTeacherOptions(EncoderOptions):
    """The teacher: a frozen image encoder and the heads that answer on top of it."""

    loss: HeadLossOptions = HeadLossOptions()
    """How the head is taught."""
    train: HeadTrainOptions = HeadTrainOptions()
    """The head's training."""
    folds: int = Field(0, ge=0, le=20)
    """Out-of-fold targets: as many heads, each taught without one part of the pictures, which it then labels; 0 for one head."""
    calibrate: bool = False
    """Fit the targets' temperature on pictures that did not teach the head: out-of-fold ones, or without folds on validation."""


class ImageTextTeacherOptions(HeadTeacherOptions):
    """The teacher: a frozen image encoder, a frozen language model and the head that joins them."""

    text_encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers name or folder, or package:all-MiniLM-L6-v2 for the weights that come by pip."""
    head: HeadOptions = HeadOptions()
    """How words and picture meet."""
    partner: Literal["none", "linear", "text"] = "none"
    """A second expert beside the head: the image alone (linear), or the picture's own label-blind words alone (text)."""
    combination: Combination = "product"
    """What head and partner say together: the product of their probabilities, or the mean."""
    allow_label_privileged: bool = False
    """Let a teacher label although the audit found that its words tell the answer; its students need the controls S1 to S3."""

    @property
    def heads(self) -> list[HeadOptions]:
        """The head, and its partner if it has one."""
        return [self.head] if self.partner == "none" else [self.head, HeadOptions(mode=self.partner)]


@dataclass(frozen=True)
class HeadParts:
    """A frozen encoder with its stored tokens and, where pictures have words of their own, these."""

    encoder: ImageEncoder
    tokens: PackedArray
    texts: TextTable | None
    fingerprint: dict[str, str]
    """Of encoder, text encoder and words; the heads' weights come when they are trained."""
    examples: ClassExamples | None = None
    """Words of the classes, which teach heads that answer words."""


@dataclass(frozen=True)
class TrainedHead:
    """Heads that are done, and which training picture each may answer for."""

    head: FoldedHead
    folds: FoldTable

    @property
    def representation_width(self) -> int:
        """Width of the first expert's attended representation."""
        return self.head.folds[0].heads[0].representation_width


def check_heads(options: HeadTeacherOptions, *, with_representation: bool) -> None:
    """Refuse settings of heads that cannot go together.

    Raises:
        OptionError: one fold, a representation of several heads, or a setting without effect.
    """
    options.refuse_idle()
    if options.folds and options.image_encoder == TRAIN:
        raise OptionError(_NOTHING_HELD_OUT)
    if options.folds == 1:
        raise OptionError("teacher.folds: need 0 (one head that labels what taught it) or at least 2, got 1.")
    if options.folds and with_representation:
        raise OptionError(
            "teacher.folds makes several heads, whose representations have nothing in common: "
            "distil logits, or set teacher.folds = 0."
        )


def check_held_out(stages: Stages, options: HeadTeacherOptions, *, audited: bool) -> None:
    """Refuse, before anything is trained, what needs pictures that do not teach the heads where there will be none.

    Raises:
        DataError: no folds and no labelled validation picture, and the teacher is to be calibrated or audited.
    """
    labels = stages.pictures.labels[stages.pictures.rows["val"]]
    if (audited or options.calibrate) and not options.folds and not (labels != UNLABELLED).any():
        raise DataError(
            "To audit or calibrate it, no labelled picture is held out from the teacher: set data.split.val above 0, "
            "or teacher.folds."
        )


def train_heads(
    stages: Stages,
    make: Callable[[], Experts],
    parts: HeadParts,
    options: HeadTeacherOptions,
    *,
    saved: SavedTeacher,
    names: Sequence[str] = ("head",),
) -> TrainedHead:
    """Train each fold's experts on the labelled rows of the other folds, calibrate them and save them as `saved` says.

    Args:
        stages: the run.
        make: gives new experts, the same at each call.
        parts: encoder, tokens and words.
        options: folds, loss and training.
        saved: what is written beside the weights.
        names: of the experts, for stages and log.
    """
    rows = stages.labelled_rows
    if options.folds and taught_by(stages, options.image_encoder, rows):
        raise OptionError(_NOTHING_HELD_OUT)
    numbers = number_folds(stages, rows, options.folds)
    training = options.train.model_copy(update={"num_views": parts.tokens.num_views})
    folded = FoldedHead([make() for _ in range(max(1, options.folds))])
    for fold, experts in enumerate(folded.folds):
        suffix = f"-fold-{fold + 1}" if options.folds else ""
        for name, head, shape in zip(names, experts.heads, saved.heads, strict=True):
            examples = parts.examples if shape.answers_words else None
            objective = ImageText(head, parts.tokens, texts=parts.texts, options=options.loss, examples=examples)
            taught = rows[numbers != fold] if options.folds else rows
            if options.image_encoder == TRAIN:  # whose tokens are this run's alone
                stages.train(name + suffix, objective, rows=taught, options=training, on_tokens=True)
            else:
                inputs = _inputs(stages, shape, parts, options)
                teach(stages, name + suffix, objective, rows=taught, options=training, inputs=inputs)
    trained = TrainedHead(folded.to(stages.device).eval(), FoldTable(stages.pictures.ids[rows], numbers))
    if options.calibrate:
        _calibrate(stages, trained, parts, rows)
    if stages.accelerator.is_main_process:
        save_teacher(saved, folded, stages.folder.teacher)
    return trained


def _inputs(stages: Stages, shape: HeadOptions, parts: HeadParts, options: HeadTeacherOptions) -> dict[str, str]:
    """What a head is and learns from, but for its weights at the start, rows and order."""
    known, examples = stages.fingerprints, parts.examples
    return {
        "head": shape.model_dump_json(),
        "image encoder": known["image encoder"],
        "encoder size": str(parts.encoder.image_size),
        "words": "none" if parts.texts is None else known["words"],
        "class words": "none" if examples is None else f"{known['class words']} at {examples.weight!r}",
        "loss": options.loss.model_dump_json(),
    }


_NOTHING_HELD_OUT = (
    "teacher.folds holds nothing out here, since the image encoder was taught by these very pictures: a head that never saw a "
    "picture would still answer from what the encoder learnt of its label. Set teacher.folds = 0 (teacher.calibrate then goes by "
    "validation pictures), or take an encoder that learnt from other pictures."
)


def taught_by(stages: Stages, image_encoder: str, rows: np.ndarray) -> bool:
    """Whether the teacher's image encoder has learnt from any of these pictures."""
    if image_encoder == TRAIN:
        return True
    run = RunFolder(Path(image_encoder))
    return run.train_ids.is_file() and bool(np.isin(stages.pictures.ids[rows], np.load(run.train_ids)).any())


def number_folds(stages: Stages, rows: np.ndarray, num: int) -> np.ndarray:
    """The fold of each row, a function of the run's seed and data; -1 for all where there are no folds."""
    if not num:
        return np.full(len(rows), -1)
    numbers = fold_numbers(stages.pictures, rows, num=num, seed=stages.options.seed)
    for finding in fold_findings(stages.pictures, rows, numbers):
        stages.reporter.say(sentence(finding))
    return numbers


def live_teacher(trained: TrainedHead, parts: HeadParts) -> HeadTeacher:
    """The teacher for pictures whose tokens are not stored."""
    return HeadTeacher(parts.encoder, trained.head, texts=parts.texts, folds=trained.folds)


def evaluated_teacher(stages: Stages, trained: TrainedHead, parts: HeadParts, options: EncoderOptions) -> Model:
    """The teacher for validation and test pictures: over stored tokens where other runs ask the same encoder, else alive."""
    tokens = held_out_tokens(stages, parts.encoder, options, spent=parts.tokens.values.nbytes)
    if tokens is None:
        return teacher_logits(live_teacher(trained, parts))
    return teacher_logits(TokenTeacher(trained.head, tokens, texts=parts.texts, folds=trained.folds))


def label_with_heads(
    stages: Stages, trained: TrainedHead, parts: HeadParts, *, representation_width: int | None, shared: bool = False
) -> StoredTeacher:
    """Store the targets: from stored tokens when they hold every view that the student sees, else through the encoder."""
    fingerprint = {**parts.fingerprint, "head": weights_fingerprint(trained.head), "folds": trained.folds.fingerprint}
    on_tokens = parts.tokens.num_views >= stages.options.train.distinct_views
    teacher: TokenTeacher | HeadTeacher = live_teacher(trained, parts)
    if on_tokens:
        teacher = TokenTeacher(trained.head, parts.tokens, texts=parts.texts, folds=trained.folds)
    return stages.label(
        "targets", teacher, fingerprint=fingerprint, representation_width=representation_width, on_tokens=on_tokens, shared=shared
    )


def _calibrate(stages: Stages, trained: TrainedHead, parts: HeadParts, rows: np.ndarray) -> None:
    """Set the experts' weights, equal for all folds: they are alike, and one number fits on all rows where many would not."""
    bar = stages.reporter.stage("calibrating the teacher")
    with stages.timed("calibrate"), bar as progress, torch.no_grad(), stages.accelerator.autocast():
        if len(trained.head.folds) > 1:
            answers, labels = _out_of_fold_answers(stages, trained, parts, rows, progress)
        else:
            answers, labels = _validation_answers(stages, trained, parts, progress)
    first = trained.head.folds[0]
    if first.combination == "mean":
        answers = first.cpu().combine([torch.from_numpy(expert) for expert in answers]).double().numpy()[None]
    weights = first_process_values(torch.tensor(fit_weights(answers, labels)), stages.device)
    trained.head.to(stages.device)
    for experts in trained.head.folds:
        experts.weights.copy_(weights)
    shown = ", ".join(f"{1 / weight:.2f}" for weight in weights.tolist())
    stages.reporter.say(f"The teacher's temperature, fitted on {len(labels)} answers to pictures that did not teach it: {shown}.")


def _out_of_fold_answers(
    stages: Stages, trained: TrainedHead, parts: HeadParts, rows: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    ids = np.tile(stages.pictures.ids[rows], parts.tokens.num_views)
    views = np.repeat(np.arange(parts.tokens.num_views), len(rows))
    answers: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in stages.replay(ids, views, progress=progress, with_images=False):
        numbers = trained.folds.of(batch)
        for fold, experts in enumerate(trained.head.folds):
            some = batch[torch.nonzero(numbers == fold)[:, 0]]
            if len(some):
                answers.append(_expert_answers(experts, read_tokens(parts.tokens, some), parts, some))
                labels.append(some.labels.cpu())
    return torch.cat(answers, dim=1).double().numpy(), torch.cat(labels).numpy()


def _validation_answers(
    stages: Stages, trained: TrainedHead, parts: HeadParts, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    rows = stages.pictures.rows["val"]
    rows = rows[stages.pictures.labels[rows] != UNLABELLED]
    answers: list[Tensor] = []
    for batch in evaluation_batches(stages.pictures, rows, image_size=stages.options.student.image_size, device=stages.device):
        assert batch.images is not None
        answers.append(_expert_answers(trained.head.folds[0], parts.encoder.tokens(batch.images), parts, batch))
        progress(sum(part.shape[1] for part in answers), len(rows))
    return torch.cat(answers, dim=1).double().numpy(), stages.pictures.labels[rows]


def _expert_answers(experts: Experts, tokens: Tensor, parts: HeadParts, batch: Batch) -> Tensor:
    texts = None if parts.texts is None else parts.texts.of(batch)
    return torch.stack([head(tokens, texts).logits.float().cpu() for head in experts.heads])
