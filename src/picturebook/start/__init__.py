"""`picturebook init`: a first RUN.toml for somebody's data, with the reasons beside the settings (docs/small_folders.md)."""

from picturebook.start.found import Words, look_at_words
from picturebook.start.looking import FirstLook, inspect_target, look_at
from picturebook.start.toml_file import run_file, write_run_file

__all__ = ["FirstLook", "Words", "inspect_target", "look_at", "look_at_words", "run_file", "write_run_file"]
