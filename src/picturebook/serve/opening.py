"""A run folder made ready to answer: what it has, and sentences for what it lacks."""

import tomllib
from pathlib import Path
from typing import Any

from picturebook.data.pictures import load_pictures
from picturebook.data.texts import TextOptions
from picturebook.errors import ModelError, PicturebookError
from picturebook.evaluate import Classifier, open_classifier
from picturebook.models.device import named_device
from picturebook.options import validate
from picturebook.predict.onnx_model import ENDING
from picturebook.runs import RunFolder
from picturebook.serve.answers import Answers
from picturebook.serve.neighbours import Neighbours, find_neighbours
from picturebook.serve.typed_words import TypedWords, open_typed_words
from picturebook.types import Reporter
from picturebook.writing import read_json

_PRIVILEGED = (
    "This teacher's words were made from the labels (privileged), so where they look may tell more of the label than of the "
    "picture."
)


def open_answers(path: Path, *, device: str = "auto", cache: Path, reporter: Reporter) -> Answers:
    """Open a finished run, or a student folder alone, which has neither training pictures nor words.

    What is missing beside the student is said in a sentence, here and on the page, and the rest goes on without it.

    Args:
        path: the folder.
        device: where models compute.
        cache: where canvases, features of the training pictures and text vectors are kept.
        reporter: where it tells how it goes.

    Raises:
        OptionError: there is no such device.
        RunError, ModelError: there is no student, or the run is half written, or it is an ONNX file.
    """
    place = named_device(device)
    if path.suffix.lower() == ENDING and path.is_file():
        raise ModelError(
            f"{path} is an ONNX file, which tells names and nothing else: where a model looks and which pictures are near needs "
            f"its weights. Serve its run, or ask the file: picturebook predict {path} PICTURES."
        )
    classifier = open_classifier(path).to(place)
    name = path.resolve().name
    if classifier.data is None:
        return Answers(name, classifier, None, None, "A student folder alone does not know its training pictures.", None, "")
    run = RunFolder.open(path)
    settings = tomllib.loads(run.settings.read_text(encoding="utf-8"))
    neighbours, no_neighbours = _open_neighbours(classifier, cache, reporter)
    words, no_words = _open_words(run, settings, classifier, cache)
    for sentence in (no_neighbours, no_words):
        if sentence:
            reporter.say(sentence)
    note = _PRIVILEGED if words is not None and settings.get("text", {}).get("kind") == "privileged" else ""
    numbers = read_json(run.results)["models"].get("student", {}).get("test")
    return Answers(name, classifier, numbers, neighbours, no_neighbours, words, no_words, note)


def _open_neighbours(classifier: Classifier, cache: Path, reporter: Reporter) -> tuple[Neighbours | None, str]:
    assert classifier.data is not None
    try:
        with reporter.stage("decoding pictures") as progress:
            pictures = load_pictures(classifier.data, cache=cache, progress=progress)
        with reporter.stage("looking at training pictures") as progress:
            neighbours = find_neighbours(classifier.encoder, pictures, classifier.train_ids, cache=cache, progress=progress)
    except (PicturebookError, OSError) as error:
        return None, f"The nearest training pictures cannot be shown: {error}"
    if not len(neighbours):
        return None, f"The nearest training pictures cannot be shown: none of them is in {classifier.data.root} any more."
    return neighbours, ""


def _open_words(run: RunFolder, settings: dict[str, Any], classifier: Classifier, cache: Path) -> tuple[TypedWords | None, str]:
    if not (run.teacher / "teacher.json").is_file() or "text" not in settings:
        return None, ""
    if settings["text"].get("source") == "none":
        return None, ""
    try:
        text = validate(TextOptions, settings["text"], source=str(run.settings))
        return open_typed_words(
            run, text, classifier.classes, seed=settings.get("seed", 0), device=classifier.device, cache=cache
        ), ""
    except PicturebookError as error:
        return None, f"Typed words cannot be asked: {error}"
