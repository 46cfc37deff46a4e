"""`picturebook init`: a first RUN.toml for somebody's data, with the reasons beside the settings (docs/small_folders.md)."""

from picturebook.start.found import Words
from picturebook.start.looking import inspect_target, look_at
from picturebook.start.toml_file import run_file, write_run_file

__all__ = ["Words", "inspect_target", "look_at", "run_file", "write_run_file"]
