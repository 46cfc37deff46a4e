"""The words of a run as what asks the pictures."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from picturebook.caching import short_hash
from picturebook.data.findings import first_names, quantity
from picturebook.data.text_table import TextTable
from picturebook.data.texts import TextOptions, check_texts, class_texts, naming, own_texts
from picturebook.errors import OptionError
from picturebook.models.heads import HeadOptions
from picturebook.models.text_encoders import TextEncoder, load_text_encoder, whiten_queries
from picturebook.recipes.stages import Stages
from picturebook.stores.texts import encode_queries
from picturebook.types import Queries

_SHOWN = 40
"""Characters of a text in a remark on it."""
LEARNED_WIDTH = 384
"""Width of learned queries: that of all-MiniLM-L6-v2, so that heads with and without words have the same size."""


def check_words(text: TextOptions, head: HeadOptions, partner: str) -> None:
    """Refuse words that do not go with the heads that would read them.

    Args:
        text: the words.
        head: the first of the heads.
        partner: the mode of the second, or "none".

    Raises:
        OptionError: words that nobody reads, or too few, or ones that may know the label where they answer by themselves.
    """
    mode = head.mode
    if mode in ("learned", "linear") and text.source != "none":
        raise OptionError(f"teacher.head.mode = {mode!r} reads no words: need text.source = 'none', got {text.source!r}.")
    if mode in ("bank", "own", "text"):
        check_texts(text, "bank" if mode == "bank" else "own")
    if text.kind != "label_blind" and (head.answers_words or partner == "text"):
        setting = "head.residual" if head.residual else "head.mode = 'text'" if mode == "text" else "partner = 'text'"
        raise OptionError(
            f"teacher.{setting} lets the words answer by themselves: need text.kind = 'label_blind', got {text.kind!r}."
        )
    if partner == "text" and mode != "own":
        raise OptionError(f"teacher.partner = 'text' needs head.mode = 'own', whose words it reads, got {mode!r}.")
    if mode not in ("own", "text") and text.kind != "unknown":
        raise OptionError(f"text.kind says what a picture's own text may know, and head.mode = {mode!r} reads none: remove it.")
    if partner == mode:
        raise OptionError(f"teacher.partner = {partner!r} is what the head is already: take another, or 'none'.")


class Words:
    """The words of a run: a bank with one text a class, or a table with one a picture, or none.

    Attributes:
        bank: what the K classes ask with, whitened; for head mode "bank".
        bank_as_encoded: the same before whitening.
        own: what each picture asks with; for head modes "own" and "text".
        width: of a query; of learned queries where there are no words.
        kind: what the words know of the label: "bank", or text.kind of pictures' own texts, or "none".
        teacher_name: a name that says so.
        fingerprint: of text encoder, texts and how they ask; "none" without words.
        own_texts: the sentences of each picture, in row order, where pictures have texts of their own.
        sentences: how many there are, for the run's provenance.
        goes_by_labels: whether pictures' own texts change when the labels are permuted.
        class_names: what each class is called, its synonyms with it, where pictures have texts of their own.
        empty: what the encoder makes of an empty text, where pictures have texts of their own.
    """

    def __init__(self, stages: Stages, text: TextOptions, head: HeadOptions, *, text_encoder: str, name: str = "words") -> None:
        """Read, check and encode the words.

        Args:
            stages: the run.
            text: which words, and how they are read.
            head: the mode that says whether pictures or classes have them.
            text_encoder: its name, folder or package.
            name: what the run's provenance calls them.
        """
        self.bank: Queries | None = None
        self.bank_as_encoded: Queries | None = None
        self.own: TextTable | None = None
        self.width = LEARNED_WIDTH
        self.kind: Literal["bank", "label_blind", "privileged", "unknown", "none"] = "none"
        self.teacher_name = "teacher"
        self.fingerprint = "none"
        self.own_texts: tuple[tuple[str, ...], ...] | None = None
        self.class_names: tuple[tuple[str, ...], ...] | None = None
        self.sentences: dict[str, int] = {}
        self.empty: Queries | None = None
        self.goes_by_labels = False
        if head.mode in ("learned", "linear"):
            return
        self._stages, self._options = stages, text
        encoder = load_text_encoder(text_encoder)
        if head.mode == "bank":
            self._ask_with_classes(encoder)
        else:
            self._ask_with_own_texts(encoder, alone=head.mode == "text")
        self.empty = encode_queries(encoder, (("",),), asking="text", cache=stages.cache) if self.own is not None else None
        stages.fingerprints |= {name.replace("words", "text encoder"): encoder.fingerprint, name: self.fingerprint}
        stages.words[name] = {"source": text.source, **self.sentences}

    def _ask_with_classes(self, encoder: TextEncoder) -> None:
        texts = class_texts(self._options, self._stages.pictures.classes, seed=self._stages.options.seed)
        self.kind = "bank"
        self.bank_as_encoded = self._encode(encoder, texts.sentences, texts.notes)
        self.bank = whiten_queries(self.bank_as_encoded)

    def _ask_with_own_texts(self, encoder: TextEncoder, *, alone: bool) -> None:
        options, stages = self._options, self._stages
        texts = own_texts(options, stages.pictures, seed=stages.options.seed)
        self.kind, self.own_texts = options.kind, texts.sentences
        self.class_names = tuple(naming(options, stages.pictures.classes)[0])
        permuted = replace(stages.pictures, labels=stages.pictures.labels[::-1])
        self.goes_by_labels = own_texts(options, permuted, seed=stages.options.seed).sentences != texts.sentences
        self.teacher_name = f"teacher with the pictures' own words{' alone' if alone else ''} ({options.kind})"
        distinct = {text: row for row, text in enumerate(dict.fromkeys(texts.sentences))}
        queries = self._encode(encoder, tuple(distinct), texts.notes, of_pictures=options.source == "column")
        rows = np.array([distinct[text] for text in texts.sentences], dtype=np.int64)
        self.fingerprint = short_hash(f"{self.fingerprint}/{short_hash(rows.tobytes().hex())}")
        self.own = TextTable(stages.pictures.ids, queries, rows)

    def _encode(
        self, encoder: TextEncoder, texts: tuple[tuple[str, ...], ...], notes: tuple[str, ...], *, of_pictures: bool = False
    ) -> Queries:
        """Encode texts, say what was noticed about them, and keep what is known of them."""
        stages = self._stages
        distinct = sorted({sentence for text in texts for sentence in text})
        cut, unread = encoder.truncated(distinct), encoder.unread(distinct)
        for note in (*notes, *encoder_notes(encoder, len(distinct), cut=cut, unread=unread)):
            stages.reporter.say(note)
        self.sentences = {"texts": len(texts), "sentences": len(distinct), "cut off": len(cut), "unread": len(unread)}
        self.fingerprint = short_hash(json.dumps([encoder.fingerprint, self._options.queries, texts]))
        with stages.encoding_words(len(distinct), of_pictures=of_pictures) as progress:
            queries = encode_queries(encoder, texts, asking=self._options.queries, cache=stages.cache, progress=progress)
        self.width = queries.vectors.shape[2]
        return queries


def encoder_notes(encoder: TextEncoder, num: int, *, cut: Sequence[str], unread: Sequence[str]) -> list[str]:
    """What a text encoder leaves out of `num` texts, in sentences."""
    notes = []
    if cut:
        most = f"the text encoder's {encoder.max_length} tokens"
        notes.append(f"{quantity(len(cut), 'text')} longer than {most}: the rest is cut off ({_beginnings(cut)}).")
    if unread:
        notes.append(
            f"{quantity(len(unread), 'text')} of {num:,} in words or a script that the text encoder hardly knows: it sees "
            f"unknown tokens or single letters ({_beginnings(unread)}). Take a text encoder of the texts' language."
        )
    return notes


def _beginnings(texts: Sequence[str]) -> str:
    lines = (" ".join(text.split()) for text in texts)
    return first_names(f"{line[:_SHOWN].rstrip()}…" if len(line) > _SHOWN else line for line in lines)
