"""Where words come from, and what they may know.

classes   one text per class, from a template: as a bank it is the same for every picture, so no label reaches the
          teacher; as a picture's own text it *is* the label, and must be declared privileged
column    one text per picture, from the table
none      no words
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from picturebook.data.pictures import Pictures
from picturebook.errors import TextError
from picturebook.options import Options
from picturebook.types import UNLABELLED


class TextOptions(Options):
    """The teacher's words."""

    source: Literal["classes", "column", "none"] = "classes"
    """Class names in a template, a column of the table, or no words."""
    column: str | None = None
    """The table's column of words, for source = "column"; by default the one that data.columns.text names."""
    template: str = "a photo of a {}."
    """Sentence for source = "classes"; {} stands for the class name, its underscores as blanks."""
    kind: Literal["label_blind", "privileged", "unknown"] = Field(default="unknown")
    """What a picture's own text may know: label_blind (written without the label), privileged (made from it), unknown."""

    @model_validator(mode="after")
    def _settings_take_effect(self) -> "TextOptions":
        if "{}" not in self.template:
            raise ValueError(f"template: need a {{}} where the class name stands, got {self.template!r}")
        if self.column is not None and self.source != "column":
            raise ValueError(f"column = {self.column!r} takes effect with source = 'column' only, got {self.source!r}")
        return self


def class_texts(options: TextOptions, classes: Sequence[str]) -> list[str]:
    """One sentence per class, in class order."""
    return [options.template.replace("{}", name.replace("_", " ")) for name in classes]


def own_texts(options: TextOptions, pictures: Pictures) -> list[str]:
    """One text per picture, in row order; an empty one stays empty.

    Raises:
        TextError: there are none, or they are made from the label and are not declared so.
    """
    if options.source == "none":
        raise TextError("A head with each picture's own words needs text.source = 'column' or 'classes', got 'none'.")
    if options.source == "column":
        if pictures.texts is None:
            raise TextError(
                "The data have no words beside the pictures: give a metadata file with a text column, or text.source = 'classes'."
            )
        return list(pictures.texts)
    if options.kind != "privileged":
        raise TextError(
            "text.source = 'classes' as each picture's own text tells the teacher the label: "
            "say text.kind = 'privileged', or take teacher.head.mode = 'bank'."
        )
    if (pictures.labels == UNLABELLED).any():
        count = int(np.sum(pictures.labels == UNLABELLED))
        raise TextError(
            f"{count} pictures have no label, so no class text can be theirs: label them, or take teacher.head.mode = 'bank'."
        )
    sentences = class_texts(options, pictures.classes)
    return [sentences[label] for label in pictures.labels]
