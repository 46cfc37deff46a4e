"""Where words come from, what they may know, and the controls that tell what they are worth."""

from picturebook.data.texts.options import Role, TextOptions, check_texts, refuse_unaudited
from picturebook.data.texts.sources import Texts, check_files, class_texts, own_texts
from picturebook.data.texts.synonyms import naming

__all__ = ["Role", "TextOptions", "Texts", "check_files", "check_texts", "class_texts", "naming", "own_texts", "refuse_unaudited"]
