"""Where words come from, and what they may know.

classes        class names in templates
descriptions   sentences about each class, from a file
column         one text per picture, from the table
none           no words

Texts of classes are a bank that is the same for every picture, so no label reaches the teacher; as a picture's own text they
*are* the label, and must be declared privileged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from picturebook.data.findings import first_names, quantity
from picturebook.data.pictures import Pictures
from picturebook.data.texts import controls
from picturebook.data.texts.descriptions import read_descriptions
from picturebook.data.texts.masking import class_words, mask_words
from picturebook.data.texts.options import TextOptions, check_texts
from picturebook.data.texts.synonyms import naming
from picturebook.errors import TextError
from picturebook.types import UNLABELLED

_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of classes or of pictures."""

    sentences: tuple[tuple[str, ...], ...]
    """One tuple a class in class order, or one a picture in row order; each holds one sentence at least, which may be ""."""
    notes: tuple[str, ...]
    """What was noticed, in sentences."""


def class_texts(options: TextOptions, classes: Sequence[str], *, seed: int = 0) -> Texts:
    """The texts of a bank.

    Args:
        options: the words; source "classes" or "descriptions".
        classes: names, in class order.
        seed: of the controls.

    Raises:
        OptionError: these words are no bank.
        TextError: a file of templates or descriptions cannot be used.
    """
    check_texts(options, "bank")
    return _class_texts(options, classes, seed)


def own_texts(options: TextOptions, pictures: Pictures, *, seed: int = 0) -> Texts:
    """Each picture's own text; an empty one stays empty.

    Raises:
        OptionError: the control is not one of pictures' own texts.
        TextError: there are none, or they are made from the label and are not declared so.
    """
    check_texts(options, "own")
    if options.source == "none":
        raise TextError("A head with each picture's own words needs text.source = 'column' or 'classes', got 'none'.")
    notes: list[str] = []
    if options.source == "column":
        texts, notes = _column_texts(options, pictures)
        if options.control in ("random_words", "scramble"):
            change = controls.random_words if options.control == "random_words" else controls.scramble
            texts = change(texts, pictures.ids, seed=seed)
    else:
        texts, notes = _texts_of_labels(options, pictures, seed)
    if options.control == "other_row":
        texts = [texts[place] for place in controls.partners(pictures.ids, seed=seed).tolist()]
    if options.control == "empty":
        texts = [("",) * len(text) for text in texts]
    return Texts(tuple(texts), tuple(notes))


def check_files(options: TextOptions, classes: Sequence[str]) -> None:
    """Read the files that these words need, descriptions, templates and synonyms, and leave it at that.

    Raises:
        TextError: one of them cannot be used for these classes.
    """
    naming(options, classes)
    if options.source in ("classes", "descriptions"):
        _class_texts(options.model_copy(update={"control": "none"}), classes, seed=0)


def _class_texts(options: TextOptions, classes: Sequence[str], seed: int) -> Texts:
    notes: list[str] = []
    if options.source == "classes":
        names = controls.random_names(classes, seed=seed) if options.control == "random_words" else classes
        texts = _named(options, names)
        if options.control == "scramble":
            texts = controls.scramble(texts, controls.class_keys(classes), seed=seed)
    else:
        assert options.descriptions is not None
        texts, notes = read_descriptions(options.descriptions, classes)
        texts, unknown = _masked(options, texts, classes)
        notes += unknown
        texts = _controlled(options, texts, classes, seed)
        if options.with_names:
            texts = [name + text for name, text in zip(_named(options, classes), texts, strict=True)]
    if options.control == "permuted_bank":
        texts = [texts[place] for place in controls.partners(controls.class_keys(classes), seed=seed).tolist()]
    return Texts(tuple(texts), (*notes, *_shared(texts)))


def _controlled(options: TextOptions, texts: list[tuple[str, ...]], classes: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Descriptions under a control that leaves the names beside them as they are."""
    keys = controls.class_keys(classes)
    if options.control == "random_words":
        return controls.random_words(texts, keys, seed=seed)
    if options.control == "scramble":
        return controls.scramble(texts, keys, seed=seed)
    if options.control == "other_class":
        return [texts[place] for place in controls.partners(keys, seed=seed).tolist()]
    return texts


def _named(options: TextOptions, names: Sequence[str]) -> list[tuple[str, ...]]:
    templates = _templates(options)
    return [tuple(template.replace("{}", name.replace("_", " ")) for template in templates) for name in names]


def _templates(options: TextOptions) -> list[str]:
    if options.template_file is None:
        return [options.template] if isinstance(options.template, str) else options.template
    path = options.template_file
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"text.template_file = {path!r} cannot be read as UTF-8: {error}.") from None
    templates = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not templates:
        raise TextError(f"text.template_file = {path!r} has no template: write one a line, with {{}} for the class name.")
    for template in templates:
        if "{}" not in template:
            raise TextError(f"{path}: need a {{}} where the class name stands, got {template!r}.")
    return templates


def _masked(
    options: TextOptions, texts: list[tuple[str, ...]], classes: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Texts without the words of any class, where that is asked for, and what was noticed of the synonyms."""
    names, notes = naming(options, classes)
    if not options.mask_class_words:
        return texts, notes
    words = class_words(word for name in names for word in name)
    return [tuple(mask_words(sentence, words) for sentence in text) for text in texts], notes


def _shared(texts: Sequence[tuple[str, ...]]) -> list[str]:
    """Say which sentences stand at several classes."""
    counts: dict[str, int] = {}
    for text in texts:
        for sentence in set(text):
            counts[sentence] = counts.get(sentence, 0) + 1
    shared = [repr(sentence) for sentence, count in counts.items() if count > 1]
    return [f"{quantity(len(shared), 'sentence')} the same for two classes or more: {first_names(shared)}."] if shared else []


def _column_texts(options: TextOptions, pictures: Pictures) -> tuple[list[tuple[str, ...]], list[str]]:
    if pictures.texts is None:
        raise TextError(
            "The data have no words beside the pictures: give a metadata file with a text column, or text.source = 'classes'."
        )
    if options.kind == "label_blind":
        _refuse_privileged(pictures)
    texts, notes = _masked(options, [(text,) for text in pictures.texts], pictures.classes)
    if options.queries == "sentences":
        texts = [tuple(part for part in _SENTENCE_ENDS.split(text) if part.strip()) or ("",) for (text,) in texts]
    return texts, notes


def _refuse_privileged(pictures: Pictures) -> None:
    """Believe whoever made the texts: what was asked for with the label in the question is not written without it."""
    names = [name for name, kind in zip(pictures.names, pictures.kinds or (), strict=False) if kind == "privileged"]
    if names:
        raise TextError(
            f"text.kind = 'label_blind', but the data's column of kinds (data.columns.kind) says 'privileged' of "
            f"{quantity(len(names), 'text')}: {first_names(names)}. Say text.kind = 'privileged', take texts that were "
            "written without the label, or where that column speaks of something else say data.columns.kind = ''."
        )


def _texts_of_labels(options: TextOptions, pictures: Pictures, seed: int) -> tuple[list[tuple[str, ...]], list[str]]:
    if options.kind != "privileged":
        raise TextError(
            f"text.source = {options.source!r} as each picture's own text tells the teacher the label: "
            "say text.kind = 'privileged', or take teacher.head.mode = 'bank'."
        )
    labels = pictures.labels
    if (labels == UNLABELLED).any():
        count = int(np.sum(labels == UNLABELLED))
        raise TextError(
            f"{count} pictures have no label, so no class text can be theirs: label them, or take teacher.head.mode = 'bank'."
        )
    # Another class's text is drawn anew for each picture: one other class for all of a class would still name it.
    drawn_anew = options.control == "other_class"
    of_class = _class_texts(options.model_copy(update={"control": "none"}) if drawn_anew else options, pictures.classes, seed)
    if drawn_anew:
        labels = controls.other_classes(labels, pictures.ids, num_classes=len(pictures.classes), seed=seed)
    return [of_class.sentences[label] for label in labels.tolist()], list(of_class.notes)
