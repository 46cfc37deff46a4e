"""A local page and JSON API that try a finished run on pictures (docs/serve.md)."""

from picturebook.serve.command import serve

__all__ = ["serve"]
