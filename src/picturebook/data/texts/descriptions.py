"""Sentences about classes, from a file, checked against the classes."""

import json
import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from picturebook.data.findings import first_names, quantity
from picturebook.errors import TextError

_NUM_NAMED = 20


def read_descriptions(path: str, classes: Sequence[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Read class name → list of sentences.

    Args:
        path: JSON file, UTF-8.
        classes: names that must all be there.

    Returns:
        The sentences of each class in class order, each once, and what was noticed, in sentences.

    Raises:
        TextError: the file cannot be read or is of another form, names a class twice, leaves a class out, or has an empty list
            or an empty sentence.
    """
    described = parse_by_class(path, "text.descriptions")
    unknown = sorted(set(described) - set(classes))
    _refuse_missing(path, [name for name in classes if name not in described], unknown, len(classes))
    notes = note_unknown(path, unknown, classes)
    sentences, repeated = [], []
    for name in classes:
        found = tuple(dict.fromkeys(_checked(path, name, described[name])))
        repeated += [name] * (len(found) < len(described[name]))
        sentences.append(found)
    if repeated:
        notes.append(
            f"{path}: {quantity(len(repeated), 'class')} ({first_names(repeated)}) with a sentence twice: it is used once."
        )
    return sentences, notes


def parse_by_class(path: str, setting: str) -> dict[str, Any]:
    """Read a JSON object of class name → anything.

    Raises:
        TextError: the file cannot be read, is of another form, or names a class twice; the message names the setting.
    """
    try:
        pairs = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=list)
    except OSError as error:
        raise TextError(f"{setting} = {path!r} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        beside = Path(path).with_suffix(".json")
        hint = f" Is {str(beside)!r} meant?" if path.endswith(".jsonl") and beside.is_file() else ""
        raise TextError(f"{setting} = {path!r} is no JSON in UTF-8: {error}.{hint}") from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise TextError(f"{path}: need one JSON object of class name → list of texts.")
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TextError(f"{path} names {quantity(len(twice), 'class')} twice ({first_names(twice)}): join their sentences.")
    return dict(pairs)


def note_unknown(path: str, unknown: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Say which entries of a file belong to no class."""
    if not unknown:
        return []
    return [f"{path}: {_entries(len(unknown))} of no class: {first_names(_with_nearest(name, classes) for name in unknown)}."]


def _refuse_missing(path: str, missing: list[str], unknown: list[str], num_classes: int) -> None:
    if not missing:
        return
    named = ", ".join(_with_nearest(name, unknown) for name in missing[:_NUM_NAMED])
    more = f" and {len(missing) - _NUM_NAMED:,} more" if len(missing) > _NUM_NAMED else ""
    raise TextError(
        f"{path} leaves out {len(missing):,} of {quantity(num_classes, 'class')}: {named}{more}. Write sentences for each, under "
        "the class's exact name, or take text.source = 'classes'."
    )


def _with_nearest(name: str, names: Sequence[str]) -> str:
    # Names are most often written another way; of several that are then alike the nearest letter by letter is meant.
    plain = [_plain(other) for other in names]
    nearest = get_close_matches(_plain(name), plain, n=1, cutoff=0.6)
    alike = [other for other, short in zip(names, plain, strict=True) if short in nearest]
    return f"{name} (perhaps {get_close_matches(name, alike, n=1, cutoff=0.0)[0]})" if alike else name


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip() or name


def _checked(path: str, name: str, sentences: Any) -> list[str]:
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise TextError(f"{path}: class {name!r}: need a list of sentences, got {json.dumps(sentences)[:60]}.")
    if not sentences:
        raise TextError(f"{path}: class {name!r} has an empty list: write one sentence at least.")
    stripped = [sentence.strip() for sentence in sentences]
    if not all(stripped):
        raise TextError(f"{path}: class {name!r} has an empty sentence: write or remove it.")
    return stripped


def _entries(count: int) -> str:
    return "1 entry is" if count == 1 else f"{count:,} entries are"
