"""What takes the words' place to tell what they are worth.

All are functions of (seed, key, texts), where a key is the hash of a class's name or a picture's sample id, never a position:
another order of the rows gives each row the same. Words are what blanks part.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from picturebook.data.counter import counter_uniforms
from picturebook.data.rows import sample_ids
from picturebook.data.texts.random_words import WORDS
from picturebook.errors import TextError

Keys = Int64[np.ndarray, " texts"]
_WORD_STREAM, _ORDER_STREAM, _PARTNER_STREAM, _CLASS_STREAM, _NAME_STREAM = 110, 111, 112, 113, 114
_NUM_ATTEMPTS = 100


def class_keys(classes: Sequence[str]) -> Int64[np.ndarray, " classes"]:
    """One key a class, from its name."""
    return sample_ids(classes)


def random_words(texts: Sequence[tuple[str, ...]], keys: Keys, *, seed: int) -> list[tuple[str, ...]]:
    """As many sentences of as many words, each word drawn from all words of all texts.

    After WaffleCLIP (arXiv:2306.07282), in the words of these very texts. A word that stands often is drawn often; upper and
    lower case and punctuation are part of a word.
    """
    vocabulary = sorted(word for text in texts for sentence in text for word in sentence.split())
    return [_redrawn(text, int(key), vocabulary, seed) for text, key in zip(texts, keys, strict=True)]


def random_names(classes: Sequence[str], *, seed: int) -> list[str]:
    """A name of as many words for each class, drawn from words that describe no picture; no two classes get the same.

    Raises:
        TextError: there are more classes than different names.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(classes):
        key, num = sample_ids([name]), len(name.replace("_", " ").split())
        for attempt in range(_NUM_ATTEMPTS):
            draws = counter_uniforms(seed, key, np.array([attempt]), num, stream=_NAME_STREAM)[0]
            names[name] = " ".join(WORDS[place] for place in (draws * len(WORDS)).astype(int).tolist())
            if names[name] not in taken:
                break
        else:
            raise TextError(
                f"text.control = 'random_words' found no name that is still free for class {name!r}: {len(classes):,} classes "
                f"are too many for names drawn from {len(WORDS)} words. Take text.source = 'descriptions', or 'permuted_bank'."
            )
        taken.add(names[name])
    return [names[name] for name in classes]


def scramble(texts: Sequence[tuple[str, ...]], keys: Keys, *, seed: int) -> list[tuple[str, ...]]:
    """The words of each sentence in a random order."""
    return [
        tuple(_reordered(sentence, int(key), number, seed) for number, sentence in enumerate(text))
        for text, key in zip(texts, keys, strict=True)
    ]


def partners(keys: Keys, *, seed: int) -> Int64[np.ndarray, " texts"]:
    """For each text the place of another's, so that each is taken once and none keeps its own: the next in the order of a hash.

    Raises:
        TextError: there are fewer than two.
    """
    if len(keys) < 2:
        raise TextError(f"To give a text's place to another there have to be two at least, got {len(keys)}.")
    order = np.lexsort((keys, counter_uniforms(seed, keys, np.zeros_like(keys), 1, stream=_PARTNER_STREAM)[:, 0]))
    places = np.empty_like(keys)
    places[order] = np.roll(order, -1)
    return places


def other_classes(
    labels: Int64[np.ndarray, " pictures"], ids: Int64[np.ndarray, " pictures"], *, num_classes: int, seed: int
) -> Int64[np.ndarray, " pictures"]:
    """For each picture one of the other classes, all equally likely."""
    draws = counter_uniforms(seed, ids, np.zeros_like(ids), 1, stream=_CLASS_STREAM)[:, 0]
    others = (draws * (num_classes - 1)).astype(np.int64)
    return others + (others >= labels)


def _redrawn(text: tuple[str, ...], key: int, vocabulary: list[str], seed: int) -> tuple[str, ...]:
    sentences = []
    for number, sentence in enumerate(text):
        draws = _draws(key, number, len(sentence.split()), seed, _WORD_STREAM)
        sentences.append(" ".join(vocabulary[place] for place in (draws * len(vocabulary)).astype(int).tolist()))
    return tuple(sentences)


def _reordered(sentence: str, key: int, number: int, seed: int) -> str:
    words = sentence.split()
    order = np.argsort(_draws(key, number, len(words), seed, _ORDER_STREAM), kind="stable")
    return " ".join(words[place] for place in order.tolist())


def _draws(key: int, number: int, num: int, seed: int, stream: int) -> Float64[np.ndarray, " {num}"]:
    draws: Float64[np.ndarray, " {num}"] = counter_uniforms(seed, np.array([key]), np.array([number]), num, stream=stream)[0]
    return draws
