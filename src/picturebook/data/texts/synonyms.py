"""Words that name a class: its own name's, and those that a file adds."""

import json
from collections.abc import Sequence

from picturebook.data.texts.descriptions import note_unknown, parse_by_class
from picturebook.data.texts.options import TextOptions
from picturebook.errors import TextError


def naming(options: TextOptions, classes: Sequence[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """What each class is called.

    Returns:
        The name of each class and its synonyms, in class order, and what was noticed, in sentences.

    Raises:
        TextError: text.synonyms cannot be read or is of another form.
    """
    if options.synonyms is None:
        return [(name,) for name in classes], []
    path = options.synonyms
    given = parse_by_class(path, "text.synonyms")
    for name, words in given.items():
        if not isinstance(words, list) or not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise TextError(
                f"{path}: class {name!r}: need a list of words, one at least and none empty, got {json.dumps(words)[:60]}."
            )
    names = [tuple(dict.fromkeys((name, *given.get(name, ())))) for name in classes]
    return names, note_unknown(path, sorted(set(given) - set(classes)), classes)
