"""Where a view looks: crop, flip, rotation and shear as one affine map, and the sampling of canvases through it.

A canvas is the whole original squeezed to a square, so its normalised coordinates, x and y in [-1, 1] from edge to edge, are
those of the original, and a shape that is right in the original's pixels stays right. An affine map, float64 [2, 3], takes
the view's normalised (x, y, 1) to the canvas's (x, y).

Maps are made in float64 by numpy. Pixels see only operations whose result for one image cannot depend on its neighbours in
the batch: single additions and multiplications, and `grid_sample`, which walks image by image. Matrix products and
reductions are avoided, since the order of their sums changes with the batch's size and the number of threads.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from picturebook.types import to_device

Affines = Float64[np.ndarray, "batch 2 3"]
Boxes = Float64[np.ndarray, "batch 4"]
"""(left, top, width, height) in pixels of the original, not rounded."""

_COARSEST = 1.5
"""Canvas pixels per view pixel up to which bilinear sampling is left alone: its two taps reach no further without aliasing."""
_IDENTITY = -1


def random_boxes(
    uniforms: Float64[np.ndarray, "batch 4"],
    sizes: Int[np.ndarray, "batch 2"],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Boxes:
    """Draw crops that lie inside their originals: the area uniform, the aspect log-uniform, the place uniform.

    Differs from the usual random resized crop (arXiv:1409.4842, section 6; torchvision), which draws again until a crop
    fits: here the aspect is drawn among those that fit with the drawn area, which needs no loop and leaves the area uniform.
    Where none fits (a panorama), the crop takes the nearest aspect of `ratio` and the largest area that has room.

    Args:
        uniforms: [B, 4] in [0, 1): area, aspect, left, top.
        sizes: [B, 2], (height, width) of the originals in pixels.
        scale: least and greatest share of the original's area.
        ratio: least and greatest width / height, in pixels of the original.
    """
    height, width = sizes.T.astype(np.float64)
    shape = width / height
    share = scale[0] + (scale[1] - scale[0]) * uniforms[:, 0]
    least, greatest = np.clip(share * shape, *ratio), np.clip(shape / share, *ratio)
    aspect = least * (greatest / least) ** uniforms[:, 1]
    area = np.minimum(share, np.minimum(aspect / shape, shape / aspect)) * height * width
    box_width, box_height = np.sqrt(area * aspect), np.sqrt(area / aspect)
    left, top = (width - box_width) * uniforms[:, 2], (height - box_height) * uniforms[:, 3]
    return np.stack((left, top, box_width, box_height), axis=1)


def centre_boxes(sizes: Int[np.ndarray, "batch 2"], crop_fraction: float) -> Boxes:
    """Place a square in each original's middle, its side `crop_fraction` (0 < fraction ≤ 1) of the shorter side."""
    height, width = sizes.T.astype(np.float64)
    side = np.minimum(height, width) * crop_fraction
    return np.stack(((width - side) / 2, (height - side) / 2, side, side), axis=1)


def box_affines(
    boxes: Boxes,
    sizes: Int[np.ndarray, "batch 2"],
    *,
    flips: Bool[np.ndarray, " batch"] | None = None,
    degrees: Float64[np.ndarray, " batch"] | None = None,
    shears: Float64[np.ndarray, "batch 2"] | None = None,
) -> Affines:
    """Make the maps that fill a view with its box, mirrored, then sheared, then rotated about the box's middle.

    Shear and rotation act in pixels of the original: a right angle there stays one under rotation, whatever the canvas's
    squeeze. The box's own aspect is squeezed to the square view, as a random resized crop does.

    Args:
        boxes: [B, 4], see `Boxes`.
        sizes: [B, 2], (height, width) of the originals in pixels.
        flips: [B], true where left and right change places; None for nowhere.
        degrees: [B], angle by which the sampling frame turns clockwise (so the content turns counter-clockwise); None for 0.
        shears: [B, 2], angles in degrees, in (-45, 45), by which the frame's vertical and horizontal lean; None for 0.
    """
    height, width = sizes.T.astype(np.float64)
    left, top, box_width, box_height = boxes.T
    frame = np.zeros((len(boxes), 2, 2))
    frame[:, 0, 0], frame[:, 1, 1] = box_width, box_height
    if flips is not None:
        frame[:, 0, 0] *= np.where(flips, -1.0, 1.0)
    if shears is not None:
        slopes = np.tan(np.radians(shears))
        lean = np.stack((slopes[:, 0, None] * frame[:, 1], slopes[:, 1, None] * frame[:, 0]), axis=1)
        frame = frame + lean
    if degrees is not None:
        cosine, sine = np.cos(np.radians(degrees))[:, None], np.sin(np.radians(degrees))[:, None]
        x, y = frame[:, 0], frame[:, 1]
        frame = np.stack((cosine * x - sine * y, sine * x + cosine * y), axis=1)
    extent = np.stack((width, height), axis=1)
    middle = np.stack((left + box_width / 2, top + box_height / 2), axis=1)
    return np.concatenate((frame / extent[:, :, None], (middle * 2 / extent - 1)[:, :, None]), axis=2)


def sample_affines(
    canvases: UInt8[Tensor, "batch side side 3"], affines: Affines, *, image_size: int
) -> Float[Tensor, "batch 3 {image_size} {image_size}"]:
    """Sample each canvas through its map, bilinearly, without aliasing.

    Where a step between view pixels spans more than 1.5 canvas pixels along an axis, the canvas is first halved along that
    axis by averaging pairs, until it does not (a pyramid for each axis: Williams, "Pyramidal parametrics", 1983). How often
    depends on the image's own map alone. An image whose map is the identity on equal sizes is its canvas / 255, exactly.

    Outside the original, pictures are reflected at their edge: rotation and shear then show more of the same texture,
    where repeating the edge would draw streaks and a constant would draw a frame that tells the angle.

    Returns:
        RGB in [0, 1], float32, on the device of `canvases`.
    """
    halvings = _halvings(affines, canvases.shape[1] / image_size)
    groups = halvings[:, 0] * 64 + halvings[:, 1]
    if canvases.shape[1] == image_size:
        groups[(affines == np.eye(2, 3)).all(axis=(1, 2))] = _IDENTITY
    kinds = np.unique(groups)
    if len(kinds) == 1:
        return _sample_group(canvases, affines, int(kinds[0]), image_size)
    images = canvases.new_empty((len(canvases), 3, image_size, image_size), dtype=torch.float32)
    for kind in kinds:
        rows = np.flatnonzero(groups == kind)
        chosen = to_device(rows, canvases.device)
        images[chosen] = _sample_group(canvases[chosen], affines[rows], int(kind), image_size)
    return images


def _halvings(affines: Affines, canvas_pixels_per_view_pixel: float) -> Int64[np.ndarray, "batch 2"]:
    """Count how often each canvas is halved along (x, y)."""
    steps = np.hypot(affines[:, :, 0], affines[:, :, 1]) * canvas_pixels_per_view_pixel
    halvings: Int64[np.ndarray, "batch 2"] = np.searchsorted(_COARSEST * 2.0 ** np.arange(32), steps).astype(np.int64)
    return halvings


def _sample_group(
    canvases: UInt8[Tensor, "batch side side 3"], affines: Affines, group: int, image_size: int
) -> Float[Tensor, "batch 3 {image_size} {image_size}"]:
    pixels = canvases.to(torch.float32)
    if group == _IDENTITY:
        return pixels.permute(0, 3, 1, 2).contiguous().div_(255)
    affines = affines.copy()
    for axis, halvings in enumerate(divmod(group, 64)):
        for _ in range(halvings):
            pixels = _halve(pixels, affines, axis)
    grid = _grid(affines, image_size, canvases.device)
    images = grid_sample(pixels.permute(0, 3, 1, 2), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    # Bilinear weights may sum to a little more than 1.
    return images.div_(255).clamp_(0, 1)


def _halve(pixels: Float[Tensor, "batch rows columns 3"], affines: Affines, axis: int) -> Float[Tensor, "batch _ _ 3"]:
    """Average pairs along x (axis 0) or y (axis 1). An odd last line is doubled, and `affines` follow in place."""
    dimension = 2 - axis
    length = pixels.shape[dimension]
    if length % 2:
        pixels = torch.cat((pixels, pixels.narrow(dimension, length - 1, 1)), dimension)
        kept = length / (length + 1)
        affines[:, axis] *= kept
        affines[:, axis, 2] += kept - 1
    lines = pixels.movedim(dimension, 0)
    return (lines[::2] + lines[1::2]).mul_(0.5).movedim(0, dimension)


def _grid(affines: Affines, image_size: int, device: torch.device) -> Float[Tensor, "batch {image_size} {image_size} 2"]:
    """What `torch.nn.functional.affine_grid` gives, by one addition a coordinate in place of its matrix product."""
    centres = (2 * np.arange(image_size) + 1) / image_size - 1
    along_row = affines[:, :, 0, None] * centres + affines[:, :, 2, None]
    along_column = affines[:, :, 1, None] * centres
    parts = to_device(np.stack((along_row, along_column)).astype(np.float32), device)
    grid = parts.new_empty((len(affines), image_size, image_size, 2))
    for axis in (0, 1):
        torch.add(parts[0, :, axis, None, :], parts[1, :, axis, :, None], out=grid[..., axis])
    return grid
