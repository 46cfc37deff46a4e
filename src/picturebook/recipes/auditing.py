"""The leak audit of a run's teacher: on out-of-fold training pictures where there are some, else on validation pictures."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.audit import Audit, AuditData, Kind, audit_teacher, headline
from picturebook.audit.text_probe import text_probe
from picturebook.data.counter import counter_uniforms
from picturebook.data.loaders import evaluation_batches
from picturebook.data.texts.masking import class_words
from picturebook.errors import DataError, OptionError, RunError
from picturebook.evaluate import groups_of
from picturebook.models.saved_teacher import load_teacher
from picturebook.recipes.head_teacher import HeadParts, HeadTeacherOptions, TrainedHead, number_folds
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import store_tokens
from picturebook.recipes.words import Words
from picturebook.runs import RunFolder, write_json
from picturebook.statistics import Interval, bootstrap_interval
from picturebook.teachers import FoldTable
from picturebook.types import UNLABELLED, Batch, Queries

MAX_AUDITED = 3000
"""Pictures that are audited: three times what a PASS needs at least; the rest would move no verdict."""
_MAX_TRAINING_TEXTS = 5000
_STREAM = 307
"""Keeps the choice of audited pictures apart from other draws."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What is said of words and targets, and what else was measured."""

    masked: bool
    """The words are said to hold no class words."""
    calibrated: bool
    temperature: float
    """At which the student learns."""
    controls: Mapping[str, Interval] = field(default_factory=dict)
    """Accuracy of the full method minus that of a student of the control "S1" or "S2", as fractions."""


def audit(
    stages: Stages, trained: TrainedHead, parts: HeadParts, words: Words, claims: Claims, *, with_references: bool = False
) -> Audit:
    """Ask the probes of docs/audit.md, write RUN/audit.json and say the verdict.

    `with_references` also fits an image-only classifier on the tokens' means (R1), which takes longer than all else.

    Raises:
        DataError: no labelled picture is held out from the heads.
    """
    out_of_fold = len(trained.head.folds) > 1
    numbers = _fold_numbers(stages, trained)
    rows = audited_rows(stages, numbers)
    with stages.timed("audit"), stages.reporter.stage("auditing the teacher") as progress, torch.no_grad():
        batch, tokens = _encode(stages, parts, rows, training_views=out_of_fold)
        folds = trained.folds.of(batch).cpu()

        def answer(positions: Tensor, some: Tensor, texts: Queries | None) -> Tensor:
            device = stages.device
            given = None if texts is None else texts.to(device)
            with stages.accelerator.autocast():  # as when it labels
                logits: Tensor = trained.head(some.to(device), given, folds=folds[positions].to(device)).logits
            return logits.float()

        references = _linear_probe(stages, trained, parts, tokens, folds) if with_references else {}
        found = audit_teacher(
            answer,
            _data(stages, parts, words, claims, rows=rows, tokens=tokens, numbers=numbers, references=references),
            kind=_kind(words),
            temperature=claims.temperature,
            seed=stages.options.seed,
            progress=progress,
        )
    if stages.accelerator.is_main_process:
        write_json(stages.folder.audit, found.to_dict())
    stages.reporter.say(f"Audit of the teacher: {headline(found)}. {found.reasons[0]}")
    return found


def audit_finished(stages: Stages, options: HeadTeacherOptions, words: Words, claims: Claims) -> Audit:
    """Audit the teacher that a finished run keeps, with image-only references beside it.

    Raises:
        ModelError: the run keeps no teacher with a head.
        DataError: no labelled picture is held out from the heads.
    """
    encoder, head, _ = load_teacher(stages.folder.teacher)
    encoder, head = encoder.to(stages.device), head.to(stages.device)
    rows = stages.labelled_rows
    try:
        tokens = store_tokens(stages, encoder, options.model_copy(update={"token_views": 1}))
        trained = TrainedHead(head, FoldTable(stages.pictures.ids[rows], number_folds(stages, rows, options.folds)))
        return audit(stages, trained, HeadParts(encoder, tokens, words.own, {}), words, claims, with_references=True)
    finally:
        stages.folder.discard_stages()


def control_interval(full: RunFolder, control: RunFolder, *, kind: str) -> Interval:
    """Test accuracy of the full method minus the control's, with the interval over groups or pictures of the paired difference.

    Args:
        full: the run that is audited.
        control: a run of the same settings but for `targets.control` and `out`.
        kind: what that setting must be.

    Raises:
        RunError: one of them is not finished, the second is no such control, or they were tested on other pictures.
    """
    settings = [tomllib.loads(RunFolder.open(run.path).settings.read_text(encoding="utf-8")) for run in (full, control)]
    controls = [one.pop("targets", {}).get("control", "none") for one in settings]
    for one in settings:
        one.pop("out")
    if controls != ["none", kind] or settings[0] != settings[1]:
        raise RunError(
            f"{control.path} is not the control of {full.path}: need the same settings, but "
            f"targets.control = {kind!r} and another out."
        )
    ours, theirs = (np.load(RunFolder.open(run.path).predictions) for run in (full, control))
    if "test_ids" not in ours or not np.array_equal(ours["test_ids"], theirs.get("test_ids")):
        raise RunError(f"{full.path} and {control.path} were not tested on the same pictures: they cannot be compared.")
    right = [(kept["test_logits"].argmax(axis=1) == kept["test_labels"]).astype(float) for kept in (ours, theirs)]
    return bootstrap_interval(right[0] - right[1], clusters=ours.get("test_groups"))


def refuse_label_privileged(found: Audit, *, allowed: bool) -> None:
    """Stop before labelling where the words tell the answer and nobody said that this is meant.

    Raises:
        OptionError: the verdict is FAIL and `teacher.allow_label_privileged` is off.
    """
    if found.label_privileged and not allowed:
        raise OptionError(
            f"The audit FAILED: {found.reasons[0]} Such targets are little more than the labels. Take class texts as a bank "
            "(teacher.head.mode = 'bank') or words written without the label; or, to study it, take another out, say "
            f"teacher.allow_label_privileged = true and run the controls {', '.join(found.required_controls)} (targets.control)."
        )


def _kind(words: Words) -> Kind:
    return "image_only" if words.kind == "none" else words.kind


def audited_rows(stages: Stages, folds: Int64[np.ndarray, " labelled"]) -> Int64[np.ndarray, " n"]:
    """The pictures that are audited: of half of the folds, so that text probes can learn from the others; else validation.

    Raises:
        DataError: no labelled picture is held out from the heads.
    """
    pictures = stages.pictures
    if (folds >= 0).any():
        rows = stages.labelled_rows[folds < (folds.max() + 2) // 2]
    else:
        rows = pictures.rows["val"]
        rows = rows[pictures.labels[rows] != UNLABELLED]
    if not len(rows):
        raise DataError(
            "The teacher cannot be audited: no labelled picture was held out from it. Set data.split.val, or teacher.folds."
        )
    ids = pictures.ids[rows]
    draws = counter_uniforms(stages.options.seed, ids, np.zeros_like(ids), 1, stream=_STREAM)[:, 0]
    return np.sort(rows[np.argsort(draws, kind="stable")[:MAX_AUDITED]])


def _encode(
    stages: Stages, parts: HeadParts, rows: Int64[np.ndarray, " n"], *, training_views: bool
) -> tuple[Batch, Float[Tensor, "n tokens width"]]:
    """The pictures' ids and tokens: the first training view, as heads know it, or the centre crop of held-out pictures."""
    ids, zeros = stages.pictures.ids[rows], np.zeros(len(rows), dtype=np.int64)
    if training_views:
        tokens = torch.from_numpy(np.ascontiguousarray(parts.tokens.read(ids, zeros)))
    else:
        size, device = stages.options.student.image_size, stages.device
        batches = evaluation_batches(stages.pictures, rows, image_size=size, device=device)
        with stages.accelerator.autocast():
            encoded = [parts.encoder.tokens(_images(batch)).cpu() for batch in batches]
        tokens = torch.cat(encoded).half()
    labels = torch.from_numpy(stages.pictures.labels[rows])
    return Batch(torch.from_numpy(ids), torch.from_numpy(zeros), labels), tokens


def _images(batch: Batch) -> Tensor:
    assert batch.images is not None
    return batch.images


def _data(
    stages: Stages,
    parts: HeadParts,
    words: Words,
    claims: Claims,
    *,
    rows: Int64[np.ndarray, " n"],
    tokens: Tensor,
    numbers: Int64[np.ndarray, " labelled"],
    references: Mapping[str, Tensor],
) -> AuditData:
    pictures = stages.pictures
    out_of_fold = bool((numbers >= 0).any())
    taught = stages.labelled_rows
    commonest = np.bincount(pictures.labels[taught]).argmax()
    # Folds keep groups whole, so that no text that is probed stands among those that the probe learns from.
    training = taught[numbers > numbers[np.isin(taught, rows)].max()] if out_of_fold else taught
    training = training[:: max(1, len(training) // _MAX_TRAINING_TEXTS)]
    own = parts.texts is not None
    return AuditData(
        tokens=tokens,
        labels=pictures.labels[rows],
        classes=pictures.classes,
        own=_texts(stages, parts, rows) if own else None,
        own_sentences=_sentences(words, rows),
        empty_text=words.empty,
        groups=groups_of(pictures, rows),
        majority_rate=float((pictures.labels[rows] == commonest).mean()),
        image_only=references,
        training_texts=_texts(stages, parts, training) if own else None,
        training_labels=pictures.labels[training] if own else None,
        training_sentences=_sentences(words, training) if own else None,
        class_words=tuple(tuple(sorted(class_words((name,)))) for name in pictures.classes) if claims.masked else None,
        claims_masked=claims.masked,
        label_blindness="disproved" if words.goes_by_labels else "declared",
        targets_out_of_fold=out_of_fold,
        calibrated=claims.calibrated,
        controls=claims.controls,
    )


def _fold_numbers(stages: Stages, trained: TrainedHead) -> Int64[np.ndarray, " labelled"]:
    rows = stages.labelled_rows
    ids = torch.from_numpy(stages.pictures.ids[rows])
    return trained.folds.of(Batch(ids, torch.zeros_like(ids), torch.from_numpy(stages.pictures.labels[rows]))).cpu().numpy()


def _texts(stages: Stages, parts: HeadParts, rows: np.ndarray) -> Queries:
    assert parts.texts is not None
    ids, labels = torch.from_numpy(stages.pictures.ids[rows]), torch.from_numpy(stages.pictures.labels[rows])
    return parts.texts.of(Batch(ids, torch.zeros_like(ids), labels))


def _sentences(words: Words, rows: np.ndarray) -> tuple[str, ...] | None:
    return None if words.own_texts is None else tuple(" ".join(words.own_texts[row]) for row in rows.tolist())


def _linear_probe(
    stages: Stages, trained: TrainedHead, parts: HeadParts, tokens: Tensor, folds: Tensor
) -> dict[str, Float[Tensor, "n classes"]]:
    """Logistic regression on the mean token, taught as the heads were: without the fold that it answers for."""
    rows = stages.labelled_rows
    ids, zeros = stages.pictures.ids[rows], np.zeros(len(rows), dtype=np.int64)
    training = torch.from_numpy(np.ascontiguousarray(parts.tokens.read(ids, zeros))).float().mean(dim=1)
    labels = stages.pictures.labels[rows]
    numbers = _fold_numbers(stages, trained)
    means, classes = tokens.float().mean(dim=1), len(stages.pictures.classes)
    logits = torch.empty(len(tokens), classes)
    for fold in torch.unique(folds).tolist():
        asked, taught = folds == fold, numbers != fold if fold >= 0 else np.ones(len(rows), dtype=bool)
        learnt = training[torch.from_numpy(taught)]
        answers = text_probe(learnt, labels[taught], means[asked], num_classes=classes, seed=stages.options.seed)
        logits[asked] = torch.from_numpy(answers).float()
    return {"linear probe": logits}
