"""Encoders, heads and the student's folder: the only part that imports timm and sentence-transformers."""
