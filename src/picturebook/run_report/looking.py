"""What a run's page shows of pictures: mistakes, where the words look, where the student looks."""

import base64
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from picturebook.attention import WordsInPicture, look, student_looks
from picturebook.data.loaders import evaluation_batches
from picturebook.data.pictures import Pictures, load_pictures
from picturebook.data.tables import DataOptions
from picturebook.data.texts import TextOptions
from picturebook.data.thumbnails import thumbnail
from picturebook.errors import PicturebookError
from picturebook.models.artefact import load_student
from picturebook.options import validate
from picturebook.report.confusion import ConfusedPair
from picturebook.report.content import Attention
from picturebook.run_report.numbers import probabilities
from picturebook.run_report.run_files import SPLITS, Answers, RunFiles
from picturebook.types import Reporter

NUM_SHOWN = 3
"""Hits, and as many misses."""
_NUM_ASKED = 96
"""Pictures about which the teacher is asked, so that there are hits and misses among them."""
_EXAMPLES = 3
"""Pictures a pair of classes."""
_THUMBNAIL = 96
"""Pixels of an example's longer side; twice what the page gives it."""


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Pictures with maps, and what has to be said with them, or instead of them."""

    shown: tuple[Attention, ...] = ()
    note: str = ""


def open_pictures(run: RunFiles, cache: Path, reporter: Reporter) -> tuple[Pictures | None, str]:
    """The pictures that the run was trained on, or why they cannot be shown; or a warning that they have changed."""
    text = run.settings.get("text", {})
    column = text.get("column") if text.get("source") == "column" else None
    try:
        options = validate(DataOptions, run.settings["data"], source=str(run.folder.settings))
        with reporter.stage("decoding pictures") as progress:
            pictures = load_pictures(options, cache=cache, text_column=column, progress=progress)
    except (PicturebookError, OSError) as error:
        return None, f"No pictures are shown: {error}"
    if run.provenance.get("fingerprints", {}).get("data") not in (None, pictures.fingerprint):
        return pictures, "The pictures or their labels are not what they were when this was trained."
    return pictures, ""


def with_examples(pairs: tuple[ConfusedPair, ...], run: RunFiles, pictures: Pictures) -> tuple[ConfusedPair, ...]:
    """The pairs with pictures of the mistakes that the student was surest of."""
    answers, places = run.answers[run.split], {name: number for number, name in enumerate(run.classes)}
    rows = _rows(answers, pictures)
    probs = probabilities(answers)
    predictions = probs.argmax(axis=1)
    shown = []
    for pair in pairs:
        inside = (answers.labels == places[pair.label]) & (predictions == places[pair.prediction]) & (rows >= 0)
        found = np.flatnonzero(inside)
        surest = found[np.argsort(-probs[found, places[pair.prediction]], kind="stable")][:_EXAMPLES]
        shown.append(replace(pair, pictures=tuple(_example(pictures, row) for row in rows[surest].tolist())))
    return tuple(shown)


def where_words_look(run: RunFiles, pictures: Pictures, *, cache: Path) -> Gallery:
    """Ask the saved teacher about some pictures; nothing where the run's teacher reads no words."""
    text = run.settings.get("text", {})
    if not (run.folder.teacher / "teacher.json").is_file() or text.get("source", "none") == "none":
        return Gallery()
    answers = run.answers[run.split]
    rows = _rows(answers, pictures)
    asked = _there(answers, rows)[:_NUM_ASKED]
    if not len(asked):
        return Gallery(note="None of the pictures that the student was asked about is there any more.")
    try:
        looked = look(
            run.folder.teacher,
            pictures,
            rows[asked],
            validate(TextOptions, text, source=str(run.folder.settings)),
            image_size=run.settings["student"]["image_size"],
            cache=cache,
            seed=run.settings.get("seed", 0),
        )
    except (PicturebookError, OSError) as error:
        return Gallery(note=f"This cannot be shown: {error}")
    said = np.array([one.prediction for one in looked])
    chosen = _hits_and_misses(said == answers.labels[asked])
    note = (
        f"The attention that words pay to {SPLITS[run.split]} pictures in the teacher, for some that it names rightly and some "
        "that it names wrongly. An even tint means that they look everywhere alike."
    )
    if text.get("kind") == "privileged":
        note += (
            " These words were made from the labels (privileged), so where they look may tell more of the label than of the "
            "picture."
        )
    return Gallery(tuple(shown_attention(pictures, looked[place]) for place in chosen), note)


def where_the_student_looks(run: RunFiles, pictures: Pictures) -> Gallery:
    """Class activation maps of the student's answers."""
    answers = run.answers[run.split]
    rows, probs = _rows(answers, pictures), probabilities(answers)
    known = _there(answers, rows)
    chosen = known[_hits_and_misses(answers.right[known])]
    if not len(chosen):
        return Gallery(note="None of the pictures that the student was asked about is there any more.")
    try:
        encoder, _ = load_student(run.folder.student)
    except PicturebookError as error:
        return Gallery(note=f"This cannot be shown: {error}")
    predictions = probs[chosen].argmax(axis=1)
    batch = next(
        evaluation_batches(
            pictures, rows[chosen], image_size=encoder.image_size, device=torch.device("cpu"), batch_size=len(chosen)
        )
    )
    assert batch.images is not None
    maps, reason = student_looks(encoder, batch.images, torch.from_numpy(predictions))
    if maps is None:
        return Gallery(note=f"Not shown: {reason}")
    shown = tuple(
        Attention(
            image=np.asarray(pictures.canvases[rows[place]]),
            text="",
            weights=maps[number],
            label=run.classes[answers.labels[place]],
            prediction=run.classes[predictions[number]],
            probability=float(probs[place].max()),
        )
        for number, place in enumerate(chosen.tolist())
        if maps[number].any()
    )
    if not shown:
        return Gallery(note="Not shown: in none of the looked at pictures does any place speak for the student's answer.")
    return Gallery(
        shown,
        f"What in the last map of {encoder.grid[0]} × {encoder.grid[1]} places spoke for the answer (class activation), for some "
        f"{SPLITS[run.split]} pictures named rightly and some named wrongly.",
    )


def _hits_and_misses(right: np.ndarray) -> np.ndarray:
    """The first of both."""
    return np.concatenate([np.flatnonzero(right)[:NUM_SHOWN], np.flatnonzero(~right)[:NUM_SHOWN]])


def _there(answers: Answers, rows: np.ndarray) -> np.ndarray:
    """Places of the answers whose pictures are there, ordered by id: ids are hashes, so the choice is nobody's."""
    order = np.argsort(answers.ids, kind="stable")
    return np.asarray(order[rows[order] >= 0])


def _rows(answers: Answers, pictures: Pictures) -> np.ndarray:
    """The row of each answered picture, or −1 where it is gone."""
    found = {number: row for row, number in enumerate(pictures.ids.tolist())}
    return np.array([found.get(number, -1) for number in answers.ids.tolist()])


def _example(pictures: Pictures, row: int) -> str:
    height, width = pictures.sizes[row].tolist()
    png = thumbnail(np.asarray(pictures.canvases[row]), height=height, width=width, longer=_THUMBNAIL)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def shown_attention(pictures: Pictures, answer: WordsInPicture) -> Attention:
    """Give a picture, its words and where they look, as reports show them."""
    return Attention(
        image=np.asarray(pictures.canvases[answer.row]),
        text=answer.text,
        weights=answer.weights,
        label=pictures.classes[pictures.labels[answer.row]],
        prediction=pictures.classes[answer.prediction],
        probability=answer.probability,
    )
