"""RandAugment (arXiv:1909.13719): some operations a view, drawn at random from a list, all of one magnitude.

The list is the paper's 14 operations. Each view draws its own ones by hash; what moves pixels becomes part of the view's one
sampling (so it is sampled once, and reflected at the original's edge where the paper fills with grey), and what changes
colours follows in the order drawn, a few batched operations for all views. Both orders agree but for contrast, equalising
and sharpness, which look at what the move brought in or took away.

Ranges at magnitude 1, as in the usual implementations at their greatest level: rotation 30°, shear .3, translation .45 of
the side, 4 bits, threshold 0, factors 1 ± .9. The magnitude is a share of them; signs are drawn.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from picturebook.data.view_colour import adjust_colour, equalise, posterise, solarise, stretch_contrast
from picturebook.data.view_filters import adjust_sharpness
from picturebook.types import to_device

Images = Float[Tensor, "batch 3 height width"]
Affines = Float64[np.ndarray, "batch 2 3"]

# Stored targets belong to these places: add new ones at the end, move none.
OPERATIONS = (
    "identity", "auto-contrast", "equalise", "rotate", "shear x", "shear y", "translate x", "translate y",
    "posterise", "solarise", "brightness", "contrast", "saturation", "sharpness",
)  # fmt: skip
"""What is drawn from, each as likely."""

_DEGREES, _SLOPE, _SHIFT, _BITS, _FACTOR = 30.0, 0.3, 0.45, 4, 0.9


@dataclass(frozen=True, slots=True)
class Operations:
    """What each view of a batch undergoes, in order."""

    kinds: Int64[np.ndarray, "batch operations"]
    """Places in OPERATIONS."""
    amounts: Float64[np.ndarray, "batch operations"]
    """The magnitude, of either sign."""


def draw_operations(uniforms: Float64[np.ndarray, "batch _"], magnitude: float) -> Operations:
    """Draw operations and signs; the magnitude is in [0, 1], and a view has half as many operations as uniform numbers."""
    signs = np.where(uniforms[:, 1::2] < 0.5, -1.0, 1.0)
    return Operations(np.floor(uniforms[:, ::2] * len(OPERATIONS)).astype(np.int64), signs * magnitude)


def move(affines: Affines, operations: Operations) -> Affines:
    """Turn, lean and shift the views: their maps to the canvas, with the operations' moves before them.

    A view whose operations move nothing keeps its map, bit for bit.
    """
    affines = affines.copy()
    for kinds, amounts in zip(operations.kinds.T, operations.amounts.T, strict=True):
        for name, matrices in _moves(amounts).items():
            rows = np.flatnonzero(kinds == OPERATIONS.index(name))
            affines[rows] = _compose(affines[rows], matrices[rows])
    return affines


def _moves(amounts: Float64[np.ndarray, " batch"]) -> dict[str, Affines]:
    still = np.tile(np.eye(2, 3), (len(amounts), 1, 1))
    angles = np.radians(_DEGREES * amounts)
    turned = still.copy()
    turned[:, 0, 0], turned[:, 0, 1] = np.cos(angles), -np.sin(angles)
    turned[:, 1, 0], turned[:, 1, 1] = np.sin(angles), np.cos(angles)
    moves = {"rotate": turned}
    # A view is 2 wide in its own coordinates.
    for name, row, column, greatest in (
        ("shear x", 0, 1, _SLOPE),
        ("shear y", 1, 0, _SLOPE),
        ("translate x", 0, 2, 2 * _SHIFT),
        ("translate y", 1, 2, 2 * _SHIFT),
    ):
        moves[name] = still.copy()
        moves[name][:, row, column] = greatest * amounts
    return moves


def _compose(outer: Affines, inner: Affines) -> Affines:
    composed: Affines = outer[:, :, 0, None] * inner[:, None, 0] + outer[:, :, 1, None] * inner[:, None, 1]
    composed[:, :, 2] += outer[:, :, 2]
    return composed


def recolour(images: Images, operations: Operations) -> Images:
    """Apply the operations that change colours, in each view's order; `images` [B, 3, H, W] are RGB in [0, 1], and stay."""
    images = images.clone()
    for kinds, amounts in zip(operations.kinds.T, operations.amounts.T, strict=True):
        for kind in np.unique(kinds):
            rows = np.flatnonzero(kinds == kind)
            chosen = to_device(rows, images.device)
            changed = _recolour_group(images[chosen], OPERATIONS[kind], amounts[rows])
            if changed is not None:
                images[chosen] = changed
    return images


def _recolour_group(images: Images, name: str, amounts: Float64[np.ndarray, " batch"]) -> Images | None:
    """The images after one operation, or None where it changes no colours."""
    device = images.device
    factors = to_device((1 + _FACTOR * amounts).astype(np.float32), device)
    if name in ("brightness", "contrast", "saturation"):
        ones = torch.ones_like(factors)
        return adjust_colour(images, **{"brightness": ones, "contrast": ones, "saturation": ones, name: factors})
    if name == "sharpness":
        return adjust_sharpness(images, factors)
    if name == "posterise":
        return posterise(images, to_device(8 - np.rint(_BITS * np.abs(amounts)).astype(np.int64), device))
    if name == "solarise":
        return solarise(images, to_device((1 - np.abs(amounts)).astype(np.float32), device))
    alone = {"auto-contrast": stretch_contrast, "equalise": equalise}
    return alone[name](images) if name in alone else None
