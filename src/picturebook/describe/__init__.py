"""Texts written by other models: a caption a picture, or short visual phrases a class, one JSONL line each."""

from picturebook.describe.command import describe, read_settings
from picturebook.describe.settings import DescribeOptions

__all__ = ["DescribeOptions", "describe", "read_settings"]
