"""The settings of a teacher's words, and which of them go together."""

from typing import Literal

from pydantic import Field, model_validator

from picturebook.errors import OptionError
from picturebook.options import Options
from picturebook.stores.texts import Asking

Control = Literal["none", "random_words", "scramble", "other_class", "other_row", "permuted_bank", "empty"]
Role = Literal["bank", "own"]
"""Whose texts: of the classes, the same for every picture; or each picture's own."""


class TextOptions(Options):
    """The teacher's words."""

    source: Literal["classes", "descriptions", "column", "none"] = "classes"
    """Class names in a template, sentences about each class from a file, a column of the table, or no words."""
    column: str | None = None
    """The table's column of words, for source = "column"; by default the one that data.columns.text names."""
    template: str | list[str] = "a photo of a {}."
    """Sentence with a class name, or a list of such; {} stands for the name, its underscores as blanks."""
    template_file: str | None = None
    """File of templates, one a line, in place of `template`."""
    descriptions: str | None = None
    """JSON file for source = "descriptions": an object of class name → list of sentences."""
    with_names: bool = False
    """descriptions: the class name in its template is a sentence beside them."""
    mask_class_words: bool = False
    """column and descriptions: "…" in place of every word of any class's name, so that the mask does not know the label."""
    masked: bool = False
    """column: the texts are said to hold no class words already, which the audit's R14 looks into."""
    synonyms: str | None = None
    """JSON file: an object of class name → list of other words for it, which mask_class_words takes out too (of a phrase
    each word, wherever it stands) and the audit's R14 looks for; a class may be left out."""
    queries: Asking = "text"
    """A text asks by one vector (text; the mean of its sentences), by each of its sentences, or by each of its tokens."""
    control: Control = "none"
    """What takes the words' place to tell what they are worth: random words, scrambled order, another class's text, another
    row's text, all class texts permuted, nothing (empty)."""
    kind: Literal["label_blind", "privileged", "unknown"] = Field(default="unknown")
    """What a picture's own text may know: label_blind (written without the label), privileged (made from it), unknown."""

    @model_validator(mode="after")
    def _templates_have_a_place_for_the_name(self) -> "TextOptions":
        templates = [self.template] if isinstance(self.template, str) else self.template
        if not templates:
            raise ValueError("template: need one at least, got an empty list")
        for template in templates:
            if "{}" not in template:
                raise ValueError(f"template: need a {{}} where the class name stands, got {template!r}")
        is_set = self.template != TextOptions.model_fields["template"].default
        if self.template_file is not None and is_set:
            raise ValueError("template_file takes the place of template: remove one of them")
        if (is_set or self.template_file is not None) and self.source != "classes" and not self.with_names:
            raise ValueError(
                f"template and template_file take effect with class names only, got source = {self.source!r}: "
                "take 'classes', or 'descriptions' with with_names = true"
            )
        return self

    @model_validator(mode="after")
    def _files_and_columns_take_effect(self) -> "TextOptions":
        if self.column is not None and self.source != "column":
            raise ValueError(f"column = {self.column!r} takes effect with source = 'column' only, got {self.source!r}")
        if self.source == "descriptions" and self.descriptions is None:
            raise ValueError(
                "source = 'descriptions' needs descriptions, the path of a JSON file of class name → list of sentences"
            )
        if self.descriptions is not None and self.source != "descriptions":
            raise ValueError(
                f"descriptions = {self.descriptions!r} takes effect with source = 'descriptions' only, got {self.source!r}"
            )
        if self.with_names and self.source != "descriptions":
            raise ValueError(f"with_names takes effect with source = 'descriptions' only, got {self.source!r}")
        if self.mask_class_words and self.source not in ("column", "descriptions"):
            raise ValueError(
                f"mask_class_words takes effect with source = 'column' or 'descriptions' only, got {self.source!r}: "
                "of a class name nothing would remain"
            )
        if self.masked and (self.source != "column" or self.mask_class_words):
            raise ValueError(
                "masked says of a column that its class words are out already: it takes effect with source = 'column' and "
                f"without mask_class_words, got {self.source!r} and {str(self.mask_class_words).lower()}"
            )
        if self.synonyms is not None and not self.mask_class_words and self.source != "column":
            raise ValueError(
                "synonyms take effect with mask_class_words, and with source = 'column', whose texts the audit searches; "
                f"got source = {self.source!r}"
            )
        return self

    @model_validator(mode="after")
    def _queries_and_control_take_effect(self) -> "TextOptions":
        if self.source == "none" and (self.queries, self.control) != ("text", "none"):
            raise ValueError("queries and control take effect with words only, got source = 'none'")
        if self.source == "column" and self.control == "other_class":
            raise ValueError("control = 'other_class' needs texts of classes: with source = 'column' take 'other_row'")
        return self


def refuse_unaudited(options: TextOptions, name: str) -> None:
    """Refuse what is there for an audit where none reads the texts: synonyms that no mask takes out, a claim to be masked.

    Raises:
        OptionError: it names the setting `name`.
    """
    if options.synonyms is not None and not options.mask_class_words:
        raise OptionError(f"{name}.synonyms take effect with {name}.mask_class_words = true only: no audit reads these texts.")
    if options.masked:
        raise OptionError(f"{name}.masked is for the audit, which does not read these texts: remove it.")


def check_texts(options: TextOptions, role: Role) -> None:
    """Refuse what these words cannot be in this role.

    Raises:
        OptionError: a bank of texts that are not the classes', or a control that belongs to the other role.
    """
    if role == "own":
        if options.control == "permuted_bank":
            raise OptionError(
                "text.control = 'permuted_bank' is a control of class texts that ask as a bank: take "
                f"{'other_row' if options.source == 'column' else 'other_class'!r}."
            )
        return
    if options.source not in ("classes", "descriptions"):
        raise OptionError(
            "teacher.head.mode = 'bank' asks with class texts: need text.source = 'classes' or 'descriptions', "
            f"got {options.source!r}."
        )
    if options.control == "other_row":
        raise OptionError("text.control = 'other_row' is a control of pictures' own texts: for a bank take 'permuted_bank'.")
    if options.control == "empty":
        raise OptionError("text.control = 'empty' would give every class of a bank the same text: take 'random_words'.")
    if options.control == "other_class" and not options.with_names:
        raise OptionError(
            "text.control = 'other_class' keeps a class's name and takes another's descriptions: need source = 'descriptions' "
            "with with_names = true; without names take 'permuted_bank'."
        )
