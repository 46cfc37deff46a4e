"""The audit of a finished run: its teacher is loaded, image-only references are taught beside it, and controls are read."""

import tempfile
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from picturebook.audit import Audit
from picturebook.audit.text_probe import text_probe
from picturebook.errors import DataError, RunError
from picturebook.models.heads import HeadOptions
from picturebook.models.saved_teacher import SavedTeacher, build_experts, load_teacher
from picturebook.recipes.auditing import Claims, audit, fold_numbers_of
from picturebook.recipes.head_teacher import HeadParts, HeadTeacherOptions, TrainedHead, number_folds, train_heads
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import store_tokens
from picturebook.recipes.words import Words
from picturebook.runs import RunFolder
from picturebook.statistics import Interval, bootstrap_interval
from picturebook.teachers import FoldTable
from picturebook.writing import read_json


def audit_finished(stages: Stages, options: HeadTeacherOptions, words: Words, claims: Claims) -> Audit:
    """Audit the teacher that a finished run keeps, with image-only references beside it.

    Raises:
        ModelError: the run keeps no teacher with a head.
        DataError: no labelled picture is held out from the heads, or the data are not those of the run.
    """
    _refuse_other_data(stages)
    encoder, head, saved = load_teacher(stages.folder.teacher)
    encoder, head = encoder.to(stages.device), head.to(stages.device)
    rows = stages.labelled_rows
    with tempfile.TemporaryDirectory() as scratch:
        beside = stages.in_folder(RunFolder(Path(scratch)))
        tokens = store_tokens(beside, encoder, options.model_copy(update={"token_views": 1}))
        trained = TrainedHead(head, FoldTable(stages.pictures.ids[rows], number_folds(stages, rows, options.folds)))
        parts = HeadParts(encoder, tokens, words.own, {})

        def references(audited: Tensor, folds: Tensor) -> dict[str, Tensor]:
            found = {"linear probe": linear_probe(stages, trained, parts, audited, folds)}
            if saved.heads[0].mode not in ("learned", "linear"):
                found["the head with learned queries"] = learned_queries(beside, options, parts, saved, audited, folds)
            return found

        return audit(stages, trained, parts, words, claims, references=references)


def _refuse_other_data(stages: Stages) -> None:
    """Folds are dealt anew by the data: of other data, heads would be asked about pictures that taught them."""
    known = read_json(stages.folder.provenance)["fingerprints"].get("data")
    if known != stages.fingerprints["data"]:
        raise DataError(
            f"The pictures in {stages.options.data.root} are not those that {stages.folder.path} was trained on, so which of "
            "them taught its heads is not known. Bring them back as they were, or train again."
        )


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


def learned_queries(
    stages: Stages, options: HeadTeacherOptions, parts: HeadParts, saved: SavedTeacher, tokens: Tensor, folds: Tensor
) -> Float[Tensor, "n classes"]:
    """The head that asks without words, taught as the teacher's was: without the fold that it answers for."""
    first = saved.heads[0]
    head = HeadOptions(mode="learned", width=first.width, num_heads=first.num_heads, dropout=first.dropout)
    asking = saved.model_copy(update={"heads": [head], "combination": "product"})
    make = partial(build_experts, asking, parts.encoder, bank=None, seed=stages.part_seed("head"))
    wordless = HeadParts(parts.encoder, parts.tokens, None, {})
    with torch.enable_grad():
        trained = train_heads(stages, make, wordless, options.model_copy(update={"calibrate": False}), saved=asking)
    device = stages.device
    logits: Tensor = trained.head(tokens.float().to(device), folds=folds.to(device)).logits
    return logits.float().cpu()


def linear_probe(
    stages: Stages, trained: TrainedHead, parts: HeadParts, tokens: Tensor, folds: Tensor
) -> Float[Tensor, "n classes"]:
    """Logistic regression on the mean token, taught as the heads were: without the fold that it answers for."""
    rows = stages.labelled_rows
    ids, zeros = stages.pictures.ids[rows], np.zeros(len(rows), dtype=np.int64)
    training = torch.from_numpy(np.ascontiguousarray(parts.tokens.read(ids, zeros))).float().mean(dim=1)
    labels = stages.pictures.labels[rows]
    numbers = fold_numbers_of(stages, trained)
    means, classes = tokens.float().mean(dim=1), len(stages.pictures.classes)
    logits = torch.empty(len(tokens), classes)
    for fold in torch.unique(folds).tolist():
        asked, taught = folds == fold, numbers != fold if fold >= 0 else np.ones(len(rows), dtype=bool)
        learnt = training[torch.from_numpy(taught)]
        answers = text_probe(learnt, labels[taught], means[asked], num_classes=classes, seed=stages.options.seed)
        logits[asked] = torch.from_numpy(answers).float()
    return logits
