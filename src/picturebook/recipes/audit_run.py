"""The audit of a finished run: its teacher is loaded, image-only references are taught beside it, and controls are read."""

import tempfile
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from picturebook.audit import Audit
from picturebook.errors import DataError, RunError, TextError
from picturebook.models.saved_teacher import load_teacher
from picturebook.recipes.auditing import Claims, audit
from picturebook.recipes.head_teacher import HeadParts, HeadTeacherOptions, TrainedHead, number_folds
from picturebook.recipes.references import learned_queries
from picturebook.recipes.stages import Stages
from picturebook.recipes.tokens import store_tokens
from picturebook.recipes.words import Words
from picturebook.runs import RunFolder, Settings
from picturebook.statistics import Interval, bootstrap_interval
from picturebook.teachers import FoldTable
from picturebook.writing import read_json


def audit_finished(stages: Stages, options: HeadTeacherOptions, words: Words, claims: Claims) -> Audit:
    """Audit the teacher that a finished run keeps, with image-only references beside it.

    Raises:
        ModelError: the run keeps no teacher with a head.
        DataError: no labelled picture is held out from the heads, or the data are not those of the run.
        TextError: the words are not.
    """
    _refuse_other_inputs(stages)
    encoder, head, saved = load_teacher(stages.folder.teacher)
    encoder, head = encoder.to(stages.device), head.to(stages.device)
    rows = stages.labelled_rows
    with tempfile.TemporaryDirectory() as scratch:
        beside = stages.in_folder(RunFolder(Path(scratch)))
        tokens = store_tokens(beside, encoder, options.model_copy(update={"token_views": 1}))
        trained = TrainedHead(head, FoldTable(stages.pictures.ids[rows], number_folds(stages, rows, options.folds)))
        parts = HeadParts(encoder, tokens, words.own, {})

        if saved.heads[0].mode in ("learned", "linear"):
            return audit(stages, trained, parts, words, claims)
        return audit(stages, trained, parts, words, claims, wordless=partial(learned_queries, beside, options, parts, saved))


def _refuse_other_inputs(stages: Stages) -> None:
    """Folds are dealt anew by the data: of other data, heads would be asked about pictures that taught them."""
    known = read_json(stages.folder.provenance)["fingerprints"]
    if known.get("data") != stages.fingerprints["data"]:
        raise DataError(
            f"The pictures in {stages.options.data.root} are not those that {stages.folder.path} was trained on, so which of "
            "them taught its heads is not known. Bring them back as they were, or train again."
        )
    if stages.fingerprints.get("words") not in (None, known.get("words")):
        raise TextError(f"The words are not those that {stages.folder.path} was trained on. Bring them back, or train again.")


def control_interval(
    full: RunFolder, control: RunFolder, *, kind: str, completed: Callable[[Settings], Settings] = dict
) -> Interval:
    """Test accuracy of the full method minus the control's, with the interval over groups or pictures of the paired difference.

    Args:
        full: the run that is audited.
        control: a run of the same settings but for `targets.control` and `out`.
        kind: what that setting must be.
        completed: gives settings that were written earlier the defaults of those that came since.

    Raises:
        RunError: one of them is not finished, the second is no such control, or they were tested on other pictures.
    """
    texts = [RunFolder.open(run.path).settings.read_text(encoding="utf-8") for run in (full, control)]
    settings = [completed(tomllib.loads(text)) for text in texts]
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
