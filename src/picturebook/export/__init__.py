"""A finished run's student as a file or a folder for others: ONNX, timm, or a folder to push to the hub."""

from picturebook.export.command import KINDS, Exported, export_run

__all__ = ["KINDS", "Exported", "export_run"]
