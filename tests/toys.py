"""Toy pictures that tests share."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("apple", "leaf", "sky")
COLOURS = ((0,), (1,), (2,), (0, 1), (1, 2), (0, 2))
"""Channels in which a class's square is bright."""


def toy_picture(label: int, index: int) -> Image.Image:
    """A square in the class's colour at a place of its own, on noise."""
    generator = np.random.default_rng(1000 * label + index)
    pixels = generator.integers(40, 140, (16, 16, 3), dtype=np.uint8)
    top, left = generator.integers(0, 9, 2)
    pixels[top : top + 8, left : left + 8, list(COLOURS[label])] = 250
    return Image.fromarray(pixels)


def noise_png(seed: int, height: int = 12, width: int = 10) -> bytes:
    """A PNG file of noise, another for each seed."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_apes_and_bats(root: Path) -> Path:
    """Two class folders of 10 files: `noise_png` of 0 … 9 for apes, 100 … 109 for bats."""
    for label, name in enumerate(("ape", "bat")):
        (root / name).mkdir(parents=True)
        for index in range(10):
            (root / name / f"{index}.png").write_bytes(noise_png(100 * label + index))
    return root
