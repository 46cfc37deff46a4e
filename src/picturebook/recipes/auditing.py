"""The leak audit of a run's teacher: on out-of-fold training pictures where there are some, else on validation pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from picturebook.audit import Audit, AuditData, Kind, audit_teacher, headline, num_for_a_pass
from picturebook.data.counter import counter_uniforms
from picturebook.data.loaders import evaluation_batches
from picturebook.errors import DataError, OptionError
from picturebook.evaluate import groups_of
from picturebook.recipes.head_teacher import HeadParts, TrainedHead
from picturebook.recipes.references import fold_numbers_of, linear_probe
from picturebook.recipes.stages import Stages
from picturebook.recipes.words import Words
from picturebook.statistics import Interval
from picturebook.types import UNLABELLED, Batch, Queries
from picturebook.writing import write_json

_MAX_AUDITED = 3000
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
    stages: Stages,
    trained: TrainedHead,
    parts: HeadParts,
    words: Words,
    claims: Claims,
    *,
    wordless: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Audit:
    """Ask the probes of docs/audit.md, write RUN/audit.json and say the verdict.

    `wordless` teaches the same head with learned queries, which takes longer than all else, and asks it: (tokens [n, N, Dv],
    folds [n]) of the audited pictures → logits [n, K].

    Raises:
        DataError: no labelled picture is held out from the heads.
    """
    out_of_fold = len(trained.head.folds) > 1
    numbers = fold_numbers_of(stages, trained)
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

        known = {"linear probe": linear_probe(stages, parts.tokens, numbers, tokens, folds)}
        if wordless is not None:
            known["the head with learned queries"] = wordless(tokens, folds)
        found = audit_teacher(
            answer,
            _data(stages, parts, words, claims, rows=rows, tokens=tokens, numbers=numbers, references=known),
            kind=_kind(words),
            temperature=claims.temperature,
            seed=stages.options.seed,
            progress=progress,
        )
    if stages.accelerator.is_main_process:
        write_json(stages.folder.audit, found.to_dict())
    if not stages.folder.finished:  # who audits a finished run sees the whole table
        goes_on = " The run goes on." if found.verdict == "WARN" else ""
        stages.reporter.say(f"Audit of the teacher: {headline(found)}. {found.reasons[0]}{goes_on}")
    return found


def refuse_label_privileged(found: Audit, *, allowed: bool) -> None:
    """Stop before labelling where the words tell the answer and nobody said that this is meant.

    Raises:
        OptionError: the verdict is FAIL and `teacher.allow_label_privileged` is off.
    """
    if found.label_privileged and not allowed:
        raise OptionError(
            f"The audit FAILED: {found.reasons[0]} Its words may tell the teacher the answer, and then its targets teach little "
            f"more than labels do. {_INSTEAD.get(found.kind, _BLIND_OR_BANK)} To study it as it is, go on with --resume "
            "--set teacher.allow_label_privileged=true, and run the controls "
            f"{', '.join(found.required_controls)} (targets.control, docs/audit.md)."
        )


_BLIND_OR_BANK = (
    "If whoever wrote the words did not know the classes, say so: --set text.kind=label_blind --set out=NEW. If not, let class "
    "names ask, through which no label can come: --set text.source=classes --set text.mask_class_words=false --set "
    "teacher.head.mode=bank --set out=NEW."
)
_INSTEAD = {
    "label_blind": "Take the class words out: --set text.masked=false --set text.mask_class_words=true --set out=NEW. If they "
    "may stand there, do not say that they are out: --set text.masked=false --set out=NEW."
}


def _kind(words: Words) -> Kind:
    return "image_only" if words.kind == "none" else words.kind


def audited_rows(stages: Stages, folds: Int64[np.ndarray, " labelled"]) -> Int64[np.ndarray, " n"]:
    """The pictures that are audited: half of the folds or more, so that text probes can learn from the others; else validation.

    Raises:
        DataError: no labelled picture is held out from the heads.
    """
    pictures = stages.pictures
    if (folds >= 0).any():
        rows = _held_out(stages.labelled_rows, folds, num_for_a_pass(len(pictures.classes)))
    else:
        rows = pictures.rows["val"]
        rows = rows[pictures.labels[rows] != UNLABELLED]
    if not len(rows):
        raise DataError(
            "The teacher cannot be audited: no labelled picture was held out from it. Set data.split.val, or teacher.folds."
        )
    ids = pictures.ids[rows]
    draws = counter_uniforms(stages.options.seed, ids, np.zeros_like(ids), 1, stream=_STREAM)[:, 0]
    return np.sort(rows[np.argsort(draws, kind="stable")[: most_audited(len(pictures.classes))]])


def most_audited(num_classes: int) -> int:
    """Pictures that are audited: three times what a PASS needs at least, or what it needs; more would move no verdict."""
    return max(_MAX_AUDITED, num_for_a_pass(num_classes))


def _held_out(
    rows: Int64[np.ndarray, " labelled"], folds: Int64[np.ndarray, " labelled"], needed: int
) -> Int64[np.ndarray, " n"]:
    """The rows of half of the folds, or of more where that reaches `needed`; one fold stays for text probes at least."""
    last = int(folds.max())
    half = (last + 2) // 2
    num_folds = next((num for num in range(half, last + 1) if (folds < num).sum() >= needed), half)
    return rows[folds < num_folds]


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
        class_words=words.class_names,
        claims_masked=claims.masked,
        label_blindness="disproved" if words.goes_by_labels else "declared",
        targets_out_of_fold=out_of_fold,
        calibrated=claims.calibrated,
        controls=claims.controls,
    )


def _texts(stages: Stages, parts: HeadParts, rows: np.ndarray) -> Queries:
    assert parts.texts is not None
    ids, labels = torch.from_numpy(stages.pictures.ids[rows]), torch.from_numpy(stages.pictures.labels[rows])
    return parts.texts.of(Batch(ids, torch.zeros_like(ids), labels))


def _sentences(words: Words, rows: np.ndarray) -> tuple[str, ...] | None:
    return None if words.own_texts is None else tuple(" ".join(words.own_texts[row]) for row in rows.tolist())
